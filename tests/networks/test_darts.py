"""The networks of the DARTS space: parameters and FLOPs as counted, cells written out, drop-path, auxiliary head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xnas_ray.errors import SpecError
from xnas_ray.messages import Candidate, Genotype
from xnas_ray.networks.darts import Cell, DARTSNetwork, build
from xnas_ray.networks.darts_operations import (
    AuxiliaryHead,
    DropPath,
    FactorizedReduction,
    make_operation,
    preprocessing,
)
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.darts import DARTS, OPERATIONS
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

torch.set_num_threads(1)
DIGITS = DataShape(((1, 8, 8),), 10)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)


def drawn(count: int, seed: int = 0) -> list[Genotype]:
    space, rng = DARTS(), np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def multiply_accumulates(network: nn.Module, x: Tensor) -> int:
    """Counts by hooks on what is really computed: outputs x the weights behind each."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()  # type: ignore[index, operator, union-attr]

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network(x)
    return total


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({"layers": 1, "channels": 4}, DIGITS),
        ({"layers": 2, "channels": 3}, DataShape(((3, 9, 7),), 3)),
        ({"layers": 6, "channels": 2}, DataShape(((2, 8, 5),), 1, "regression")),
        ({"layers": 5, "channels": 1}, DataShape(((1, 2, 1),), 2)),
    ],
)
def test_parameters_and_flops_are_as_counted(params: dict[str, int], shape: DataShape):
    space = DARTS(**params)
    for genotype in drawn(3):
        network = space.build(genotype, shape).eval()
        cost = space.cost(genotype, shape)
        assert sum(p.numel() for p in network.parameters()) == cost.params
        with torch.no_grad():
            assert multiply_accumulates(network, torch.randn(1, *shape.inputs[0])) == cost.flops


def test_the_official_size_has_the_published_parameters():
    """3.349342 M is what the official code logs for DARTS_V2."""
    space = DARTS()
    network = space.build(space.parse(DARTS_V2), DataShape(((3, 32, 32),), 10))
    assert sum(p.numel() for p in network.parameters()) == 3_349_342


def test_a_cell_joins_its_nodes():
    """Written out node by node, through the space's own reading of the genotype."""
    torch.manual_seed(0)
    for genotype in drawn(6, seed=3):
        for reduces, nodes in enumerate(DARTS().cells(genotype)):
            cell = Cell(nodes, 5, 6, 4, reduces=bool(reduces), halved=False).eval()
            before, last = torch.randn(2, 5, 6, 5), torch.randn(2, 6, 6, 5)
            states = [cell.before(before), cell.last(last)]
            made = iter(cell.operations)
            for (one, _), (other, _) in nodes:
                states.append(next(made)(states[one]) + next(made)(states[other]))
            expected = torch.cat(states[2:], dim=1)
            assert torch.equal(cell(before, last), expected)
            assert expected.shape == ((2, 16, 3, 3) if reduces else (2, 16, 6, 5))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1), (2, 3)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_or_halve_the_size(name: str, size: tuple[int, int]):
    x = torch.randn(2, 4, *size)
    for stride in (1, 2):
        operation = make_operation(name, 4, stride)
        assert operation is not None
        assert operation.eval()(x).shape == (2, 4, -(-size[0] // stride), -(-size[1] // stride))
    assert make_operation("none", 4) is None


def test_a_dilated_kernel_of_three_sees_five():
    operation = make_operation("dil_conv_3x3", 1)
    assert operation is not None
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    reached = (operation.eval()(x)[0, 0] != operation(torch.zeros_like(x))[0, 0]).nonzero()
    assert {tuple(place) for place in reached.tolist()} == {(r, c) for r in (2, 4, 6) for c in (2, 4, 6)}


def test_a_factorized_reduction_reads_every_pixel_of_a_diagonal():
    """Even pixels by one half, odd ones by the other, as ``conv_2(x[:, :, 1:, 1:])`` officially."""
    block = FactorizedReduction(2, 4).eval()
    x = torch.rand(1, 2, 6, 6)
    expected = torch.cat([block.even(x), block.odd(x[:, :, 1:, 1:])], dim=1)
    assert torch.allclose(block(x), block.norm(expected))
    assert FactorizedReduction(2, 5).eval()(torch.rand(1, 2, 7, 5)).shape == (1, 5, 4, 3)


def test_what_comes_before_a_cell_is_brought_to_its_size():
    first, second = preprocessing(6, 8, 4, True)
    assert first(torch.randn(2, 6, 7, 4)).shape == second(torch.randn(2, 8, 4, 2)).shape == (2, 4, 4, 2)


# ---- regularisation --------------------------------------------------------------------------------------------------


def test_dropped_paths_are_whole_samples():
    drop = DropPath()
    x = torch.ones(4000, 2, 3)
    assert torch.equal(drop(x), x)
    drop.probability = 0.25
    torch.manual_seed(0)
    kept = drop(x)
    assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(kept.amax(dim=(1, 2)), kept.amin(dim=(1, 2)))
    assert kept.mean() == pytest.approx(1, abs=0.04)
    assert torch.equal(drop.eval()(x), x)


def test_the_probability_of_dropping_grows_with_the_epochs():
    network = DARTS(layers=3, channels=2, drop_path=0.2).build(drawn(1)[0], DIGITS)
    assert isinstance(network, DARTSNetwork)
    probabilities = []
    for epoch in range(5):
        network.start_epoch(epoch, 10)
        (probability,) = {m.probability for m in network.modules() if isinstance(m, DropPath)}
        probabilities.append(probability)
    assert probabilities == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08])


def test_identities_are_never_dropped():
    space = DARTS(layers=1, channels=2)
    skips = ", ".join(f"('skip_connect', {i % 2})" for i in range(8))
    text = f"Genotype(normal=[{skips}], normal_concat=range(2, 6), reduce=[{skips}], reduce_concat=range(2, 6))"
    nodes, _ = space.cells(space.parse(text))
    cell = Cell(nodes, 2, 2, 2, reduces=False, halved=False)
    before, last = torch.randn(8, 2, 3, 3), torch.randn(8, 2, 3, 3)
    expected = cell(before, last)
    cell.drop_path.probability = 0.9
    assert torch.equal(cell(before, last), expected)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (2, 5), (1, 1), (1, 4), (14, 3)])
def test_the_auxiliary_head_fits_any_size(size: tuple[int, int]):
    assert AuxiliaryHead(6, 3, size)(torch.randn(2, 6, *size)).shape == (2, 3)


@pytest.mark.parametrize(("size", "stride"), [(8, 3), (7, 2)])
def test_its_pooling_is_the_official_one(size: int, stride: int):
    """Windows of 5 and a stride of 3 on CIFAR's 8 pixels, of 2 on ImageNet's 7."""
    pool = AuxiliaryHead(1, 2, (size, size)).features[1]
    x = torch.randn(1, 1, size, size)
    assert torch.allclose(pool(x), nn.functional.avg_pool2d(x, 5, stride))


def test_the_auxiliary_head_serves_training_alone():
    shape = DataShape(((3, 32, 32),), 10)
    plain, aided = DARTS(layers=3, channels=4), DARTS(layers=3, channels=4, auxiliary_weight=0.4)
    genotype = drawn(1)[0]
    network = aided.build(genotype, shape)
    assert isinstance(network, DARTSNetwork) and network.auxiliary_weight == 0.4
    outputs, auxiliary = network(torch.randn(2, 3, 32, 32))
    assert outputs.shape == auxiliary.shape == (2, 10)
    x = torch.randn(2, 3, 32, 32)
    assert network.eval()(x).shape == (2, 10)
    assert torch.equal(network.head(network.features(x)), network(x))
    own = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary"))
    assert own == plain.cost(genotype, shape).params == aided.cost(genotype, shape).params


def stripes(samples: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(2, (samples,), generator=generator)
    bars = (torch.arange(8) % 2).float()
    shown = torch.stack([bars.expand(8, 8), bars.expand(8, 8).T])
    return Split(shown[targets][:, None] + 0.1 * torch.randn(samples, 1, 8, 8, generator=generator), targets)


def train(auxiliary_weight: float = 0.0, drop_path: float = 0.0, **recipe: Any) -> Any:
    space = DARTS(layers=2, channels=2, auxiliary_weight=auxiliary_weight, drop_path=drop_path)
    terms = ", ".join(f"('sep_conv_3x3', {i % 2})" for i in range(8))
    genotype = space.parse(
        f"Genotype(normal=[{terms}], normal_concat=range(2, 6), reduce=[{terms}], reduce_concat=range(2, 6))"
    )
    return train_candidate(
        space=space,
        problem=Problem(space=space),
        data=Data(stripes(64, 0), stripes(32, 1), stripes(8, 2), classes=("rows", "columns")),
        candidate=Candidate(0, genotype, fidelity=4, schedule_epochs=8),
        recipe=Recipe(batch_size=16, lr=0.1, **recipe),
        seed=1,
        context=LocalContext(),
    )


def test_the_training_loop_trains_all_of_it():
    plain, aided, dropped = train(), train(auxiliary_weight=0.4), train(drop_path=0.5)
    assert aided.curve[0]["train_loss"] > plain.curve[0]["train_loss"], "the second head's loss is added"
    assert all(parameter.grad is None for parameter in aided.model.parameters())
    assert all(one.curve[3]["train_loss"] < 0.9 * one.curve[0]["train_loss"] for one in (plain, aided, dropped))
    assert dropped.curve[0] | {"elapsed_s": 0} == plain.curve[0] | {"elapsed_s": 0}, "nothing is dropped at first"
    assert dropped.curve[3]["train_loss"] != plain.curve[3]["train_loss"]
    probabilities = {m.probability for m in dropped.model.modules() if isinstance(m, DropPath)}
    assert probabilities == {0.5 * 3 / 8}, "the schedule's epochs count, not those that are trained"
    mixed = train(auxiliary_weight=0.4, augment=("mixup",))
    assert np.isfinite(mixed.metrics["train_loss"])


def test_other_spaces_and_inputs_are_refused():
    whole = DARTS(layers=1, channels=2)
    genotype = whole.canonical(drawn(1)[0])
    assert isinstance(build(RestrictedSpace(whole, [genotype]), genotype, DIGITS), DARTSNetwork)
    with pytest.raises(SpecError, match="nasbench201"):
        build(NASBench201(), (0,) * 6, DIGITS)
    with pytest.raises(SpecError, match="one image"):
        build(whole, genotype, DataShape(((4,),), 2))
