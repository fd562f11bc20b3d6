"""Torchvision's classifiers for the images and the outputs of a task, and what they cost."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xnas_ray.errors import SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.torchvision_classifiers import TorchvisionClassifiers

Image = tuple[int, int, int]
"""Channels, height and width."""

_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""What some need beside the number of outputs: without auxiliary heads they give a tensor, as the others do."""


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The classifier of a genotype, untrained; see ``TorchvisionClassifiers``.

    Raises:
        SpecError: the space is another one, torchvision has no such classifier, or it does not take the task's images.
    """
    whole = space.unwrapped
    if not isinstance(whole, TorchvisionClassifiers):
        raise SpecError(f"builds torchvision's classifiers, not space {whole.name!r}.", field="space.name")
    image, name = image_input(shape, whole.name), whole.format(space.check(genotype))
    cost(name, image, shape.outputs)  # tells images that it does not take from those that it does
    return classifier(name, image[0], shape.outputs)


def classifier(name: str, inputs: int, outputs: int) -> nn.Module:
    """A classifier of torchvision with random weights, and with places for dropout and stochastic depth.

    Args:
        name: as ``torchvision.models.get_model`` knows it.
        inputs: channels of the images; where they are not 3, the first convolution is made anew.
        outputs: of the last layer.

    Raises:
        SpecError: there is none of that name.
    """
    from torchvision import models

    from xnas_ray.networks.regularisable import make_regularisable

    valid = models.list_models(module=models)
    if name not in valid:
        raise SpecError(
            f"torchvision has no classifier {name!r}.", field="space.params.names", got=name, valid=sorted(valid)
        )
    network: nn.Module = models.get_model(name, weights=None, num_classes=outputs, **_ARGUMENTS.get(name, {}))
    if inputs != 3:
        _set_inputs(network, inputs)
    make_regularisable(network, outputs)
    return network


@functools.lru_cache(maxsize=256)
def cost(name: str, image: Image, outputs: int) -> Cost:
    """FLOPs of convolutions and linear layers for one image, and parameters, without weights or arithmetic.

    Linear layers are counted as the matrix products that they are, so that the projections of attention, which have no
    module of their own, count too; its products of queries, keys and values do not. Random numbers are left as they
    were: a network starts with the same weights whether or not it was counted before.

    Raises:
        SpecError: torchvision has no such classifier, or it does not take images of that shape.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.random.fork_rng(devices=[]):
        network = _weightless(name, image[0], outputs)
    sample = torch.empty(1, *image, device="meta")
    params = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    try:
        with FlopCounterMode(display=False) as counter:
            result = network(sample)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise SpecError(
            f"{name} does not take images of {image[1]} x {image[2]}: {error}",
            field="space.params.names",
            fix="Use larger images or another network.",
        ) from error
    if not isinstance(result, Tensor) or result.shape != (1, outputs):
        raise SpecError(f"{name} gives no tensor of one sample's outputs.", field="space.params.names")
    counts = counter.get_flop_counts()["Global"]
    layers = (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm)
    # The counter's FLOPs are two for one multiply-accumulate.
    return Cost(flops=int(sum(counts.get(layer, 0) for layer in layers)) // 2, params=params)


def _weightless(name: str, inputs: int, outputs: int) -> nn.Module:
    try:
        with torch.device("meta"):
            return classifier(name, inputs, outputs).eval()
    except NotImplementedError:  # RegNets compute their widths with tensors, which need values
        return classifier(name, inputs, outputs).to("meta").eval()


def _set_inputs(network: nn.Module, inputs: int) -> None:
    """The same network for images of other channels: its first convolution, the only one that reads them, made anew."""
    for owner in network.modules():
        for name, module in owner.named_children():
            if isinstance(module, nn.Conv2d):
                made = nn.Conv2d(
                    inputs,
                    module.out_channels,
                    module.kernel_size,  # type: ignore[arg-type]
                    module.stride,  # type: ignore[arg-type]
                    module.padding,  # type: ignore[arg-type]
                    bias=module.bias is not None,
                )
                nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
                setattr(owner, name, made)
                return
