"""Dropout and stochastic depth set from outside: where they go, what they leave alone, and who refuses them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.networks.darts_operations import DropPath as CellDropPath
from xnas_ray.networks.inverted_residual import InvertedResidual, InvertedResidualNetwork
from xnas_ray.networks.regularisable import DroppedLinear
from xnas_ray.networks.regularisation import accepted, regularise, spaces_that_accept
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.inverted_residuals import Block, Definition, Head, Stem
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.testing.tiny import TinySpace

torch.set_num_threads(1)

SHAPE = DataShape(((3, 16, 16),), 5)
TRUNK = (Block(8), Block(16, stride=2), Block(16), Block(16, kernel=0), Block(16))
SPACES = [
    NASBench201(cells_per_stage=1, channels=4, stages=2),
    NASBench101(stacks=1, modules_per_stack=1, channels=8),
    DARTS(layers=3, channels=2),
]


def small(**rates: float) -> InvertedResidualNetwork:
    torch.manual_seed(0)
    return InvertedResidualNetwork(Definition(16, Stem(8), TRUNK, Head(20)), 3, 5, **rates)


def drawn(space: Space) -> nn.Module:
    torch.manual_seed(0)
    return space.build(space.sample(np.random.default_rng(0)), SHAPE)


def assert_equal(first: nn.Module, second: nn.Module) -> None:
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_it_is_what_the_constructor_would_have_made():
    made, asked = small(), small(dropout=0.3, drop_path=0.5)
    state = torch.get_rng_state()
    regularise(made, {"dropout": 0.3, "drop_path": 0.5}, "any")
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn"
    assert_equal(made, asked)
    assert repr(made) == repr(asked) and made.dropout.p == 0.3
    x = torch.randn(4, 3, 16, 16)
    for network in (made, asked):
        torch.manual_seed(1)
        network.outputs = network(x)
    assert torch.equal(made.outputs, asked.outputs)


def test_stochastic_depth_grows_from_the_first_block_to_the_last():
    network = small()
    regularise(network, {"drop_path": 0.5}, "any")
    rates = {i: block.drop_path.rate for i, block in enumerate(network.blocks) if isinstance(block, InvertedResidual)}
    assert rates == {0: pytest.approx(0.1), 1: 0.0, 2: pytest.approx(0.3), 4: pytest.approx(0.5)}, "1 has no shortcut"


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_dropout_reaches_every_space_and_changes_no_weight(space: Space):
    plain, dropped = drawn(space), drawn(space)
    regularise(dropped, {"dropout": 0.5, "drop_path": 0.0}, space.name)
    assert_equal(plain, dropped)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), dropped.eval()(x))
        dropped.dropout.train()
        kept = dropped.dropout(torch.ones(20_000)) > 0
        outputs = dropped(x)
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(plain(x), outputs[0] if isinstance(outputs, tuple) else outputs)


def test_in_cells_of_darts_it_grows_with_the_epochs():
    network = drawn(SPACES[2])
    regularise(network, {"drop_path": 0.4}, "darts")
    paths = [module for module in network.modules() if isinstance(module, CellDropPath)]
    network.start_epoch(3, 4)
    assert paths and all(path.probability == pytest.approx(0.3) for path in paths)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_who_has_no_place_for_it_says_so_and_names_who_has(space: Space):
    network = drawn(space)
    assert "dropout" in accepted(network)
    assert ("drop_path" in accepted(network)) == (space.name in spaces_that_accept("drop_path"))
    if "drop_path" in accepted(network):
        return
    with pytest.raises(SpecError, match=r"recipe\.drop_path: .*'nasbench.*Set it to 0.*darts, .*fbnetv2") as caught:
        regularise(network, {"drop_path": 0.1}, space.name)
    assert caught.value.field == "recipe.drop_path"
    regularise(network, {"drop_path": 0.0}, space.name)


def test_spaces_are_listed_by_what_their_networks_can():
    assert {"darts", "fbnetv2"} <= set(spaces_that_accept("drop_path"))
    assert {"darts", "fbnetv2", "nasbench101", "nasbench1shot1", "nasbench201"} <= set(spaces_that_accept("dropout"))


def test_a_network_that_says_nothing_is_taken_by_its_modules():
    network = drawn(TinySpace())
    assert accepted(network) == ("dropout",)
    regularise(network, {"dropout": 0.25}, "tiny")
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.25]
    assert accepted(nn.Linear(2, 2)) == ()
    with pytest.raises(SpecError, match=r"recipe\.dropout"):
        regularise(nn.Linear(2, 2), {"dropout": 0.25}, "mine")


@pytest.mark.parametrize(
    ("name", "own"), [("resnet18", 0), ("mobilenet_v3_small", 1), ("alexnet", 2), ("googlenet", 1), ("vit_b_32", 0)]
)
def test_classifiers_of_torchvision_drop_what_their_last_layer_reads(name: str, own: int):
    from torchvision.models import get_model

    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        network = get_model(name, num_classes=5, **options)
    before = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    names = list(network.state_dict())
    regularise(network, {"dropout": 0.25}, "torchvision")
    after = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    assert after.count(0.25) - before.count(0.25) == (own or 1), "not within blocks of attention"
    assert list(network.state_dict()) == names
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    assert isinstance(last, DroppedLinear) == (own == 0)


def test_dropout_of_a_network_without_a_module_for_it_is_for_training_and_survives_a_copy():
    from torchvision.models import get_model

    torch.manual_seed(0)
    network = get_model("resnet18", num_classes=5)
    regularise(network, {"dropout": 0.5}, "torchvision")
    network = copy.deepcopy(network)
    nn.init.ones_(network.fc.weight)
    nn.init.zeros_(network.fc.bias)
    x = torch.ones(2000, 512)
    kept = network.train().fc(x)
    assert kept.mean().item() == pytest.approx(512, rel=0.01)
    assert kept[:, 0].std().item() == pytest.approx(512**0.5, rel=0.1), "of sums of halves that count twice"
    assert torch.equal(network.eval().fc(x), torch.full((2000, 5), 512.0))


def test_stochastic_depth_of_torchvision():
    from torchvision.ops import StochasticDepth

    network = nn.Sequential(*(StochasticDepth(0.0, "row") for _ in range(4)))
    assert accepted(network) == ("drop_path",)
    regularise(network, {"drop_path": 0.2}, "mine")
    assert [block.p for block in network] == pytest.approx([0.05, 0.1, 0.15, 0.2])
