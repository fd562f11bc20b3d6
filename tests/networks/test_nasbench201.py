"""The networks of NAS-Bench-201 cells: parameters and FLOPs as counted, shapes, gradients, layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.cells import ReluConvNorm, ResidualReduction
from xnas_ray.networks.nasbench201 import Cell, build
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import EDGES, OPERATIONS, NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace

torch.set_num_threads(1)
DIGITS = DataShape(inputs=((1, 8, 8),), outputs=10)
NONE, SKIP, ALL_3X3 = (0,) * 6, (1,) * 6, (3,) * 6


def drawn(count: int, seed: int = 0) -> list[Genotype]:
    space, rng = NASBench201(), np.random.default_rng(seed)
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
        ({"cells_per_stage": 1, "channels": 8, "stages": 1}, DIGITS),
        ({"cells_per_stage": 2, "channels": 4, "stages": 2}, DataShape(((3, 9, 7),), 3)),
        ({"cells_per_stage": 1, "channels": 3, "stages": 3}, DataShape(((2, 5, 5),), 1, "regression")),
        ({"cells_per_stage": 1, "channels": 2, "stages": 4}, DataShape(((1, 3, 2),), 2)),
    ],
)
def test_parameters_and_flops_are_as_counted(params: dict[str, int], shape: DataShape):
    space = NASBench201(**params)
    for genotype in (*drawn(6), NONE, SKIP, ALL_3X3):
        network = space.build(genotype, shape).eval()
        cost = space.cost(genotype, shape)
        assert sum(p.numel() for p in network.parameters()) == cost.params
        with torch.no_grad():
            assert multiply_accumulates(network, torch.randn(1, *shape.inputs[0])) == cost.flops


def test_the_official_size_has_the_published_parameters():
    network = NASBench201().build(ALL_3X3, DataShape(((3, 32, 32),), 10))
    assert sum(p.numel() for p in network.parameters()) == 1_531_546


def reference_cell(cell: Cell, genotype: Genotype, x: torch.Tensor) -> torch.Tensor:
    """The cell written out edge by edge, zeros included, on the same operations."""
    operations = iter(cell.edges)
    nodes: dict[int, torch.Tensor] = {0: x}
    for option, (source, target) in zip(genotype, EDGES, strict=True):
        term = nodes[source] * 0 if OPERATIONS[option] == "none" else next(operations)(nodes[source])
        nodes[target] = nodes[target] + term if target in nodes else term
    return nodes[3]


def test_a_cell_computes_the_sum_of_its_edges():
    torch.manual_seed(0)
    for genotype in drawn(10, seed=5):
        cell = Cell(genotype, 4).eval()
        x = torch.randn(2, 4, 6, 5)
        assert torch.allclose(cell(x), reference_cell(cell, genotype, x), atol=1e-6)


def test_average_pooling_ignores_the_border():
    cell = Cell((0, 0, 0, 4, 0, 0), 3)
    x = torch.ones(1, 3, 4, 4)
    assert torch.equal(cell(x), x)


def test_cells_of_nothing_and_of_skips():
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(Cell(NONE, 4)(x), torch.zeros_like(x))
    assert torch.allclose(Cell(SKIP, 4)(x), 4 * x)  # 0->3, 0->1->3, 0->2->3, 0->1->2->3
    space = NASBench201(cells_per_stage=1, channels=4, stages=2)
    for genotype in (NONE, SKIP):
        network = space.build(genotype, DIGITS)
        loss = network(torch.randn(3, 1, 8, 8)).square().sum()
        loss.backward()
        assert torch.isfinite(loss)


def test_gradients_reach_the_input_where_a_path_does():
    space = NASBench201(cells_per_stage=1, channels=4, stages=1)
    for genotype in (*drawn(12, seed=2), NONE, SKIP):
        x = torch.randn(4, 1, 8, 8, requires_grad=True)
        space.build(genotype, DIGITS)(x).square().sum().backward()
        reached = x.grad is not None and bool(x.grad.abs().sum() > 0)
        assert reached == bool(space.graphs(genotype)["cell"].edges)


def test_it_learns_to_tell_stripes():
    torch.manual_seed(0)
    network = NASBench201(cells_per_stage=1, channels=4, stages=1).build((3, 1, 2, 1, 4, 3), DataShape(((1, 8, 8),), 2))
    stripes = (torch.arange(8) % 2).float()
    images = torch.stack([stripes.expand(8, 8), stripes.expand(8, 8).T])
    y = torch.arange(32) % 2
    x = images[y][:, None] + 0.1 * torch.randn(32, 1, 8, 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network.eval()(x).argmax(dim=1).equal(y)


def test_channels_last_gives_the_same():
    torch.manual_seed(0)
    space = NASBench201(cells_per_stage=1, channels=4, stages=2)
    for genotype in (*drawn(3, seed=1), NONE):
        network = space.build(genotype, DataShape(((3, 8, 8),), 5)).eval()
        x = torch.randn(2, 3, 8, 8)
        expected = network(x)
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        assert network.body(network.stem(x)).is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(network(x), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1), (2, 3)])
def test_reductions_round_up(size: tuple[int, int]):
    block = ResidualReduction(3, 6).eval()
    y = block(torch.randn(2, 3, *size))
    assert y.shape == (2, 6, -(-size[0] // 2), -(-size[1] // 2))


def test_the_shortcut_of_a_reduction_averages_what_is_there():
    block = ResidualReduction(1, 1)
    pooled = block.downsample[0](torch.arange(9.0).reshape(1, 1, 3, 3))
    assert pooled.flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


def test_relu_conv_norm_shape():
    assert ReluConvNorm(2, 5, 3, stride=2)(torch.randn(2, 2, 7, 8)).shape == (2, 5, 4, 4)


def test_features_are_what_the_head_reads():
    network = NASBench201(cells_per_stage=1, channels=4, stages=3).build(SKIP, DIGITS).eval()
    x = torch.randn(2, 1, 8, 8)
    assert network.features(x).shape == (2, 16)
    assert torch.equal(network.head(network.features(x)), network(x))


def test_restrictions_build_their_members_only():
    whole = NASBench201(cells_per_stage=1, channels=4, stages=1)
    restricted = RestrictedSpace(whole, [ALL_3X3])
    assert sum(p.numel() for p in build(restricted, ALL_3X3, DIGITS).parameters()) == whole.cost(ALL_3X3, DIGITS).params
    with pytest.raises(GenotypeError):
        build(restricted, SKIP, DIGITS)


def test_other_spaces_and_inputs_are_refused():
    class Other(NASBench201.__base__):  # type: ignore[misc, name-defined]
        name = "other"
        key = graphs = cost = format = parse = None  # type: ignore[assignment]

    with pytest.raises(SpecError, match="other"):
        build(Other(), NONE, DIGITS)
    with pytest.raises(SpecError, match="one image"):
        build(NASBench201(), NONE, DataShape(((4,),), 2))
