"""Torchvision's classifiers: adapted to a task, and counted as their authors count them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from xnas_ray.errors import SpecError
from xnas_ray.networks.torchvision_classifiers import build, classifier, cost
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.torchvision_classifiers import TorchvisionClassifiers


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "regnet_x_400mf", "googlenet"])
def test_as_torchvision_s_own_figures(name: str):
    """Giga multiply-accumulates to three digits, and parameters, of the published weights at 224 x 224."""
    meta = models.get_model_weights(name).DEFAULT.meta  # type: ignore[attr-defined]
    found = cost(name, (3, 224, 224), 1000)
    assert round(found.flops / 1e9, 3) == meta["_ops"]
    assert found.params == meta["num_params"]


def test_attention_s_projections_count_and_its_products_do_not():
    found = cost("vit_b_16", (3, 224, 224), 1000)
    tokens, width, layers = 197, 768, 12
    patches = 196 * width * 3 * 16 * 16
    each = tokens * width * (3 * width + width + 2 * 4 * width)
    assert found.flops == patches + layers * each + width * 1000


def by_hooks(network: nn.Module, sample: torch.Tensor) -> int:
    """Multiply-accumulates from the shapes that modules of convolutions and linear layers give."""
    flops = 0

    def add(module: nn.Module, _: object, result: torch.Tensor) -> None:
        nonlocal flops
        if isinstance(module, nn.Conv2d):
            flops += result.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            flops += result.numel() * module.in_features

    for module in network.modules():
        module.register_forward_hook(add)
    network.eval()(sample)
    return flops


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_small_grey_images_and_few_outputs(name: str):
    space, shape = TorchvisionClassifiers(names=[name]), DataShape(((1, 28, 20),), 7)
    network = build(space, (0,), shape)
    images = torch.randn(2, 1, 28, 20)
    assert network(images).shape == (2, 7)
    counted = space.cost((0,), shape)
    assert counted.params == sum(p.numel() for p in network.parameters())
    assert counted.flops == by_hooks(network, images[:1])


def test_only_the_first_convolution_is_made_anew():
    grey, coloured = classifier("resnet18", 1, 10), classifier("resnet18", 3, 10)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (grey, coloured)]
    assert shapes[0].keys() == shapes[1].keys()
    assert [name for name in shapes[0] if shapes[0][name] != shapes[1][name]] == ["conv1.weight"]


@pytest.mark.parametrize("name", ["resnet18", "regnet_x_400mf"])
def test_counting_changes_no_weights(name: str):
    space, shape = TorchvisionClassifiers(names=[name]), DataShape(((3, 32, 32),), 7)
    weights = []
    for _ in range(2):  # counted in the first round only
        torch.manual_seed(3)
        weights.append(next(iter(build(space, (0,), shape).parameters())))
        torch.manual_seed(3)
        weights.append(next(iter(classifier(name, 3, 7).parameters())))
    assert all(torch.equal(weights[0], other) for other in weights[1:])


def test_networks_without_auxiliary_outputs():
    network = build(TorchvisionClassifiers(names=["googlenet"]), (0,), DataShape(((3, 32, 32),), 5))
    assert isinstance(network.train()(torch.randn(2, 3, 32, 32)), torch.Tensor)


def test_what_cannot_be_is_refused():
    with pytest.raises(SpecError, match=r"no classifier 'resnet19'.*Did you mean 'resnet18'"):
        cost("resnet19", (3, 32, 32), 10)
    with pytest.raises(SpecError, match="does not take images of 8 x 8"):
        cost("alexnet", (3, 8, 8), 10)
    with pytest.raises(SpecError, match="not space 'fbnetv3'"):
        build(FBNetV3(preset="digits"), (0,) * 18, DataShape(((1, 8, 8),), 10))
