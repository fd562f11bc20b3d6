"""Networks from definitions: parameters and FLOPs as counted, the published ones included, and what the blocks do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.networks.inverted_residual import (
    DropPath,
    InvertedResidual,
    InvertedResidualNetwork,
    SqueezeExcitation,
    build,
    make_block,
)
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnet_published import PUBLISHED
from xnas_ray.spaces.inverted_residuals import Block, Definition, Head, Placed, Stem, count, place
from xnas_ray.spaces.nasbench201 import NASBench201

torch.set_num_threads(1)

TRUNK = (
    Block(8, expansion=1.0, activation="hswish"),
    Block(16, stride=2, expansion=3.5, kernel=5, squeeze=0.25),
    Block(16, expansion=2.0, activation="hswish", squeeze=0.25),
    Block(16, kernel=0),
    Block(24, kernel=0, activation="hswish"),
    Block(24, kernel=0, stride=2),
    Block(24, stride=2, expansion=1.25, kernel=3, padding=0),
)
SMALL = Definition(32, Stem(8), TRUNK, Head(40))
EFFICIENT = Definition(32, Stem(8, activation="relu"), TRUNK, Head(40, expansion=2.0))


def multiply_accumulates(network: nn.Module, x: torch.Tensor) -> int:
    """Counts by hooks on what is really computed: outputs x the weights behind each."""
    total = 0

    def add(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()  # type: ignore[index, operator, union-attr]

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("definition", [SMALL, EFFICIENT], ids=["plain head", "pooled head"])
@pytest.mark.parametrize("size", [(32, 32), (31, 26)])
def test_parameters_and_flops_are_as_counted(definition: Definition, size: tuple[int, int]):
    network = InvertedResidualNetwork(definition, 1, 10, size=size).eval()
    counted = count(definition, inputs=1, outputs=10, size=size)
    assert sum(p.numel() for p in network.parameters()) == counted.cost.params
    weights = sum(m.weight.numel() for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    assert weights == counted.weights
    assert multiply_accumulates(network, torch.randn(1, 1, *size)) == counted.flops


@pytest.mark.parametrize(("name", "size"), [("fbnetv2_f1", (64, 64)), ("fbnetv3_a", (96, 96))])
def test_published_networks_have_the_counted_size(name: str, size: tuple[int, int]):
    definition = PUBLISHED[name].definition
    network = InvertedResidualNetwork(definition, 3, 1000, size=size).eval()
    counted = count(definition, size=size)
    assert sum(p.numel() for p in network.parameters()) == counted.cost.params
    assert multiply_accumulates(network, torch.randn(1, 3, *size)) == counted.flops
    if PUBLISHED[name].params_millions is not None:
        weights = sum(m.weight.numel() for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
        assert weights == round(PUBLISHED[name].params_millions * 1e6)


def test_larger_images_are_subsampled_first():
    torch.manual_seed(0)
    network = InvertedResidualNetwork(SMALL, 3, 5).eval()
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(network(x), network(x[:, :, ::2, ::2]))


def test_a_block_computes_what_is_written():
    torch.manual_seed(0)
    block = Block(8, expansion=2.0, kernel=3, activation="hswish", squeeze=0.5)
    module = make_block(Placed(block, 8, 16, 8, (5, 4), (5, 4))).eval()
    assert isinstance(module, InvertedResidual)
    x = torch.randn(2, 8, 5, 4)
    y = nn.functional.hardswish(module.expand.norm(module.expand.conv(x)))
    y = nn.functional.conv2d(y, module.depthwise.conv.weight, padding=1, groups=16)
    y = nn.functional.hardswish(module.depthwise.norm(y))
    gate = nn.functional.hardswish(module.se.squeeze(y.mean((2, 3), keepdim=True)))
    y = y * (nn.functional.relu6(module.se.excite(gate) + 3) / 6)
    assert torch.allclose(module(x), x + module.project.norm(module.project.conv(y)), atol=1e-6)


def test_only_blocks_that_keep_the_shape_have_a_shortcut():
    modules = [make_block(placed) for placed in place(SMALL)]
    kinds = [type(m).__name__ for m in modules]
    assert kinds == ["InvertedResidual"] * 3 + ["Identity", "ConvNorm", "ConvNorm", "InvertedResidual"]
    assert [m.shortcut for m in modules if isinstance(m, InvertedResidual)] == [True, False, True, False]
    assert [m.expand is None for m in modules if isinstance(m, InvertedResidual)] == [True, False, False, False]


def test_a_dead_gate_closes():
    module = SqueezeExcitation(4, 2, "relu")
    nn.init.zeros_(module.excite.weight)
    nn.init.constant_(module.excite.bias, -3.0)
    assert torch.equal(module(torch.randn(2, 4, 3, 3)), torch.zeros(2, 4, 3, 3))


def test_drop_path_keeps_the_mean_and_stops_outside_of_training():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(20_000, 1, 1, 1)
    values = drop(x).flatten()
    assert set(values.tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert values.mean().item() == pytest.approx(1.0, abs=0.02)
    assert drop.eval()(x) is x


def test_drop_path_and_dropout_act_in_training_alone():
    torch.manual_seed(0)
    network = InvertedResidualNetwork(SMALL, 3, 5, dropout=0.5, drop_path=0.5)
    rates = [m.rate for m in network.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.5 / 7, 0.0, 1.5 / 7, 0.0])
    x = torch.randn(4, 3, 32, 32)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    assert torch.equal(network.classifier(network.features(x)), network(x))


def test_gradients_reach_every_parameter():
    network = InvertedResidualNetwork(SMALL, 3, 5)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_spaces_without_definitions_are_refused():
    with pytest.raises(SpecError, match="nasbench201"):
        build(NASBench201(), (0,) * 6, DataShape(((3, 8, 8),), 10))
