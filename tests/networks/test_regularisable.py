"""Places for dropout and stochastic depth in torchvision's classifiers: off by default, found by recipes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

from xnas_ray.networks.regularisable import DroppedLinear, DroppedNorm, make_regularisable
from xnas_ray.networks.regularisation import accepted, regularise
from xnas_ray.networks.torchvision_classifiers import classifier

RESIDUAL = ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "regnet_x_400mf")


@pytest.mark.parametrize("name", [*RESIDUAL, "densenet121"])
def test_networks_compute_what_they_did(name: str):
    torch.manual_seed(0)
    plain = models.get_model(name, weights=None, num_classes=7)
    torch.manual_seed(0)
    ours = classifier(name, 3, 7)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True))
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    for network in (plain, ours):
        network.eval()
    with torch.no_grad():
        assert torch.equal(plain(images), ours(images))


@pytest.mark.parametrize("name", RESIDUAL)
def test_recipes_find_both(name: str):
    network = classifier(name, 3, 7)
    assert accepted(network) == ("dropout", "drop_path")
    regularise(network, {"dropout": 0.3, "drop_path": 0.4}, "torchvision")
    rates = [module.p for module in network.modules() if isinstance(module, StochasticDepth)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.3}


def test_one_place_a_block():
    blocks = {"resnet18": 8, "resnet50": 16, "mobilenet_v2": 10, "mobilenet_v3_small": 6}
    for name, number in blocks.items():
        assert sum(isinstance(module, DroppedNorm) for module in classifier(name, 3, 7).modules()) == number
    assert accepted(classifier("densenet121", 3, 7)) == ("dropout",)


def test_networks_that_have_their_own_keep_them():
    network = models.efficientnet_b0(weights=None)
    before = [type(module) for module in network.modules()]
    make_regularisable(network, 1000)
    assert [type(module) for module in network.modules()] == before


def test_a_branch_that_is_left_out_is_the_shortcut():
    network = classifier("resnet18", 3, 7).train()
    block = network.layer1[0]
    block.bn2.stochastic_depth.p = 1.0 - 1e-7
    x = torch.randn(4, 64, 8, 8)
    assert torch.equal(block(x), torch.relu(x))
    block.eval()
    assert not torch.equal(block(x), torch.relu(x))


def test_dropout_stands_before_the_classifier():
    layer = nn.Linear(200, 3)
    dropped = DroppedLinear(layer)
    x = torch.ones(1, 200)
    assert torch.equal(dropped(x), layer(x))
    dropped.dropout.p = 0.5
    assert not torch.equal(dropped(x), layer(x))
    assert torch.equal(dropped.eval()(x), layer(x))
    assert dropped.weight is layer.weight
