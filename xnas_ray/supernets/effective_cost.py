"""What a mixture of networks costs, differentiable by the weights of its options (FBNetV2, Eqs. 3.5 to 3.10).

Every layer has an effective shape, the mean of its options' shapes under their weights, and costs what a layer of that
shape would. With one-hot weights that is the network's analytic cost, to the last operation. Where the paper's text
does not say or cannot mean what it prints:

- Eq. 3.6 has the incoming height inside a sum over options; it is read as the mean of the options' own heights.
- The depthwise convolution's number of groups in Eq. 3.10 is its effective number of channels: it costs
  ``k^2 h w C``, not ``C^2`` over the number of all channels.
- A layer costs the mean over its block types; squeeze-and-excitation, skips that change the shape, normalisation and
  biases are counted, as in the networks that are trained in the end.
- Depthwise channels follow from two choices, the width before and the expansion: their mean has the product of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xnas_ray.supernets.masks import LayerChoices, LayerShapes

BlockForm = tuple[int, bool]
"""Kernel of a block type (0 for a skip), and whether it squeezes and excites."""


@dataclass(frozen=True)
class EffectiveCost:
    """Two scalars in double precision, in which whole numbers up to 2^53 are exact.

    Attributes:
        flops: multiply-accumulates of convolutions and linear layers for one image.
        params: all trainable parameters.
    """

    flops: Tensor
    params: Tensor

    def __add__(self, other: EffectiveCost) -> EffectiveCost:
        """Part by part."""
        return EffectiveCost(self.flops + other.flops, self.params + other.params)

    def times(self, weight: Tensor) -> EffectiveCost:
        """Both parts, weighted."""
        return EffectiveCost(self.flops * weight, self.params * weight)


def mean_area(sizes: Tensor, resolution: Tensor) -> Tensor:
    """Effective height times effective width.

    Args:
        sizes: height and width of a map at every resolution, one row each.
        resolution: weights of the resolutions.
    """
    height, width = resolution.double() @ sizes.double()
    return height * width


def convolution(inputs: Tensor, outputs: Tensor, area: Tensor, kernel: int = 1) -> EffectiveCost:
    """A convolution without bias, and its normalisation.

    Args:
        inputs: effective channels that it reads.
        outputs: effective channels that it gives.
        area: effective area of the map that it gives.
        kernel: its side.
    """
    weights = kernel**2 * inputs * outputs
    return EffectiveCost(weights * area, weights + 2 * outputs)


def layer_cost(
    shapes: LayerShapes, choices: LayerChoices, forms: Sequence[BlockForm], area: Tensor, result: Tensor
) -> EffectiveCost:
    """One layer: the mean over its block types.

    Args:
        shapes: of its options.
        choices: weights of its options.
        forms: of the block types, in the order of their weights.
        area: effective area of the map that it reads.
        result: effective area of the map that it gives.
    """
    incoming, expansion, width = (one.double() for one in (choices.inputs, choices.expansion, choices.width))
    joint = incoming[:, None] * expansion
    channels_in, channels_out = incoming @ shapes.inputs.double(), width @ shapes.widths.double()
    middle = (joint * shapes.middles).sum()
    expanded = (joint * shapes.middles * ~shapes.same).sum()
    squeezed = (joint * shapes.squeezed).sum()
    around = convolution(channels_in, expanded, area) + convolution(middle, channels_out, result)
    gate = EffectiveCost(2 * middle * squeezed, 2 * middle * squeezed + middle + squeezed)
    skip = _skip(shapes, incoming, width, result)
    total: EffectiveCost | None = None
    for weight, (kernel, squeezes) in zip(choices.block.double(), forms, strict=True):
        if kernel:
            weights = kernel**2 * middle
            one = around + EffectiveCost(weights * result, weights + 2 * middle)
            one = one + gate if squeezes else one
        else:
            one = skip
        total = one.times(weight) if total is None else total + one.times(weight)
    assert total is not None
    return total


def _skip(shapes: LayerShapes, incoming: Tensor, width: Tensor, result: Tensor) -> EffectiveCost:
    """A 1 x 1 convolution in the cases in which the shape changes, nothing in the others."""
    changing = incoming[:, None] * width * ~shapes.equal
    weights = (changing * shapes.inputs[:, None] * shapes.widths).sum()
    return EffectiveCost(weights * result, weights + 2 * (changing * shapes.widths).sum())
