"""The networks of NAS-Bench-101 cells: parameters and FLOPs as counted, what a cell computes, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.nasbench101 import Cell, ConvNormRelu, build
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench101_cell import PrunedCell
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace

torch.set_num_threads(1)
DIGITS = DataShape(inputs=((1, 8, 8),), outputs=10)
SPACE = NASBench101(stacks=2, modules_per_stack=2, channels=6)
THREE = PrunedCell((0, 1, 2), (0b11110, 0b10000, 0b10000, 0b10000, 0))  # three vertices side by side, and a short cut
CHAIN = PrunedCell((0, 2, 1), (0b00010, 0b10100, 0b01000, 0b10000, 0))  # 0-1-2-3-4 and 1-4


def drawn(space: NASBench101, count: int, seed: int = 0) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def multiply_accumulates(network: nn.Module, x: torch.Tensor) -> int:
    """Counts by hooks on what is really computed: outputs x the weights behind each."""
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * (module.weight[0].numel())  # type: ignore[index, operator, union-attr]

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network(x)
    return total


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({"stacks": 1, "modules_per_stack": 1, "channels": 7}, DIGITS),
        ({"stacks": 2, "modules_per_stack": 2, "channels": 5}, DataShape(((3, 9, 7),), 3)),
        ({"stacks": 3, "modules_per_stack": 1, "channels": 8}, DataShape(((2, 5, 5),), 1, "regression")),
    ],
)
def test_parameters_and_flops_are_as_counted(params: dict[str, int], shape: DataShape):
    space = NASBench101(**params)
    for genotype in drawn(space, 10):
        network = space.build(genotype, shape).eval()
        cost = space.cost(genotype, shape)
        assert sum(p.numel() for p in network.parameters()) == cost.params
        with torch.no_grad():
            assert multiply_accumulates(network, torch.randn(1, *shape.inputs[0])) == cost.flops


def test_the_benchmark_s_example_has_its_parameters():
    matrix = "0111010000000100000010000100000000100000010000000"
    operations = "input,conv1x1-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,maxpool3x3,output"
    space = NASBench101()
    network = space.build(space.parse(f"{matrix} {operations}"), DataShape(((3, 32, 32),), 10))
    assert sum(p.numel() for p in network.parameters()) == 2_694_282


def test_vertices_side_by_side_are_joined_and_the_input_is_added():
    torch.manual_seed(0)
    cell, x = Cell(THREE, 4, 8).eval(), torch.randn(2, 4, 5, 6)
    assert cell.channels == (4, 3, 3, 2, 8)
    projected = [cell.projections[str(v)](x) for v in (1, 2, 3, 4)]
    parts = [operation(p) for operation, p in zip(cell.operations, projected, strict=False)]
    assert torch.allclose(cell(x), torch.cat(parts, dim=1) + projected[3], atol=1e-6)


def test_a_vertex_reads_the_channels_that_it_has():
    """Vertex 1 feeds the output too and has one channel more than vertex 2, which drops it."""
    torch.manual_seed(0)
    cell, x = Cell(CHAIN, 4, 5).eval(), torch.randn(2, 4, 5, 6)
    assert cell.channels == (4, 3, 2, 2, 5)
    first = cell.operations[0](cell.projections["1"](x))
    third = cell.operations[2](cell.operations[1](first[:, :2]))
    assert torch.allclose(cell(x), torch.cat([first, third], dim=1), atol=1e-6)
    assert cell.operations[1](first[:, :2]).shape == (2, 2, 5, 6)


def test_a_cell_without_operations_is_a_projection():
    cell, x = Cell(PrunedCell((), (0b10, 0)), 3, 6).eval(), torch.randn(1, 3, 4, 4)
    assert torch.equal(cell(x), cell.projections["1"](x))


def test_weights_start_with_the_variance_of_the_fan_in():
    torch.manual_seed(0)
    weight = ConvNormRelu(64, 64, 3)[0].weight
    assert weight.std().item() == pytest.approx((1 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.abs().max().item() <= 2.28 * (1 / (64 * 9)) ** 0.5
    head = SPACE.build(drawn(SPACE, 1)[0], DIGITS).head
    assert not head.bias.any()


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    for genotype in drawn(SPACE, 8, seed=2):
        network = SPACE.build(genotype, DIGITS)
        x = torch.randn(16, 1, 8, 8, requires_grad=True)
        network(x).square().sum().backward()
        assert x.grad is not None and x.grad.abs().sum() > 0
        assert all(p.grad is not None for p in network.parameters())


def test_it_learns_to_tell_stripes():
    torch.manual_seed(0)
    space = NASBench101(stacks=1, modules_per_stack=1, channels=6)
    network = space.build(space.parse("011001000 input,conv3x3-bn-relu,output"), DataShape(((1, 8, 8),), 2))
    stripes = (torch.arange(8) % 2).float()
    images = torch.stack([stripes.expand(8, 8), stripes.expand(8, 8).T])
    y = torch.arange(32) % 2
    x = images[y][:, None] + 0.1 * torch.randn(32, 1, 8, 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network.eval()(x).argmax(dim=1).equal(y)


def test_features_are_what_the_head_reads():
    network = SPACE.build(drawn(SPACE, 1)[0], DIGITS).eval()
    x = torch.randn(2, 1, 8, 8)
    assert network.features(x).shape == (2, 12)
    assert torch.equal(network.head(network.features(x)), network(x))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_poolings_round_up(size: tuple[int, int]):
    network = NASBench101(stacks=3, modules_per_stack=1, channels=5).build(drawn(SPACE, 1)[0], DIGITS).eval()
    body = network.body(network.stem(torch.randn(1, 1, *size)))
    assert body.shape[2:] == tuple(math.ceil(math.ceil(side / 2) / 2) for side in size)


def test_parts_of_the_space_build_their_members_only_and_others_nothing():
    one, other = SPACE.parse("0100 input,output"), SPACE.parse("011001000 input,maxpool3x3,output")
    restricted = RestrictedSpace(SPACE, [one])
    assert sum(p.numel() for p in build(restricted, one, DIGITS).parameters()) == SPACE.cost(one, DIGITS).params
    with pytest.raises(GenotypeError):
        build(restricted, other, DIGITS)
    with pytest.raises(SpecError, match="nasbench201"):
        build(NASBench201(), (0,) * 6, DIGITS)
    with pytest.raises(SpecError, match="one image"):
        build(SPACE, one, DataShape(((4,),), 2))
