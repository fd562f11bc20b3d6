"""The last layer of all sorts of classifiers."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from xnas_ray.errors import HierarchyError
from xnas_ray.networks.final_layer import final_layer, final_layer_of_state
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201


class Odd(nn.Module):
    """Registers an auxiliary head after the classifier, calls the classifier first of all linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Linear(6, 5)
        self.features = nn.Linear(4, 6)
        self.auxiliary = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        if self.training:
            return self.answer(x) + self.auxiliary(x)
        return self.answer(x)


def test_a_cell_network_of_a_space():
    network = NASBench201(channels=4, cells_per_stage=1).build((1, 1, 0, 2, 3, 4), DataShape(((3, 8, 8),), 7))
    found = final_layer(network, classes=7)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    assert dict(network.named_modules())[found.name] is linear
    assert torch.equal(found.weight, linear.weight) and not found.weight.requires_grad


@pytest.mark.parametrize(
    ("model", "name", "width"),
    [
        ("squeezenet1_1", "classifier.1", 512),  # a convolution of one pixel, and no linear layer
        ("mobilenet_v3_small", "classifier.3", 1024),
        ("shufflenet_v2_x0_5", "fc", 1024),
    ],
)
def test_networks_of_torchvision(model, name, width):
    with torch.device("meta"):
        network = torchvision.models.get_model(model, weights=None, num_classes=11)
    found = final_layer(network, classes=11)
    assert (found.name, tuple(found.weight.shape)) == (name, (11, width))
    of_state = final_layer_of_state(network.state_dict(), classes=11)
    assert (of_state.name, tuple(of_state.weight.shape)) == (name, (11, width))


def test_samples_show_which_layer_is_called_last():
    network = Odd()
    assert final_layer(network, classes=5).name == "auxiliary", "the last that was registered"
    x = torch.ones(2, 4)
    found = final_layer(network, classes=5, inputs=(x,))
    assert found.name == "answer" and torch.equal(found.weight, network.answer.weight)
    assert network.training and not any(module._forward_hooks for module in network.modules())
    assert final_layer(network, inputs=(x,)).name == "answer"
    assert final_layer(network, layer="features").name == "features"


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv1d(3, 2, 1)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.head(a + b).mean(-1)

    assert final_layer(Two(), classes=2, inputs=(torch.ones(1, 3, 4), torch.ones(1, 3, 4))).name == "head"


def test_convolutions_of_more_pixels_or_groups_are_none():
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, groups=2), nn.LazyLinear(4))
    assert final_layer(network, classes=4).name == "0"


def test_a_wrapped_state_dictionary():
    state = {f"module.{name}": value for name, value in Odd().state_dict().items()}
    assert final_layer_of_state(state, layer="module.answer.weight").name == "module.answer"
    assert final_layer_of_state({**state, "steps": torch.tensor(3)}, classes=6).name == "module.features"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": 3}, "no linear layer or convolution of one pixel with 3 outputs.*Valid: answer, features"),
        ({"layer": "anser"}, "Did you mean 'answer'"),
        ({"layer": "features", "classes": 5}, "'features' has 6 outputs, not 5.*Valid: answer, auxiliary"),
    ],
)
def test_what_is_not_there_is_named(given, message):
    with pytest.raises(HierarchyError, match=message):
        final_layer(Odd(), **given)
    with pytest.raises(HierarchyError, match=message):
        final_layer_of_state(Odd().state_dict(), **given)


def test_a_network_without_any():
    with pytest.raises(HierarchyError, match="a Sequential, has no linear layer"):
        final_layer(nn.Sequential(nn.Conv2d(3, 3, 3)))
