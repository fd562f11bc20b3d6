"""Blocks whose channels are masked, and a layer that mixes all its block types at all resolutions (FBNetV2, section 3).

Normalisation and biases would fill channels that a mask has emptied, so that masks come after them: after the
activation of every convolution inside a block, and after the normalisation of its last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xnas_ray.networks.inverted_residual import ConvNorm, SqueezeExcitation
from xnas_ray.networks.resolution import scatter, subsample
from xnas_ray.spaces.fbnetv2 import BLOCKS
from xnas_ray.spaces.inverted_residuals import Size
from xnas_ray.supernets.masks import LayerMasks, LayerShapes


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """Every channel times its share: ``n x c x h x w`` by ``c``."""
    return x * mask.to(x.dtype)[None, :, None, None]


def with_channels(x: Tensor, channels: int) -> Tensor:
    """The first channels, or zeros behind the last ones, so that there are as many as asked for."""
    missing = channels - x.shape[1]
    return nn.functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing > 0 else x[:, :channels]


class MaskedInvertedResidual(nn.Module):
    """An inverted residual with the most channels that its layer may have; its shortcut is the layer's.

    Args:
        shapes: of the layer's options.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        act: name of the activation.
        squeezes: whether it has squeeze-and-excitation.
    """

    def __init__(self, shapes: LayerShapes, kernel: int, stride: int, act: str, *, squeezes: bool) -> None:
        """Make the layers; attributes are those of ``networks.inverted_residual.InvertedResidual``."""
        super().__init__()
        middle = shapes.most_middle
        self.passes = shapes.passes
        self.expand = ConvNorm(shapes.most_inputs, middle, act=act) if shapes.expands else None
        self.depthwise = ConvNorm(middle, middle, kernel, stride, depthwise=True, act=act)
        self.se = SqueezeExcitation(middle, shapes.most_squeezed, act) if squeezes else None
        self.project = ConvNorm(middle, shapes.most_outputs)

    def forward(self, x: Tensor, masks: LayerMasks) -> Tensor:
        """The result before the layer's own mask: ``n x most outputs x h x w``."""
        if self.expand is None:
            y = masked(with_channels(x, len(masks.passed)), masks.passed)
        else:
            y = masked(self.expand(x), masks.expanded)
            if self.passes:
                y = y + masked(with_channels(x, len(masks.passed)), masks.passed)
        y = masked(self.depthwise(y), masks.middle)
        if self.se is not None:
            inner = self.se.act(self.se.squeeze(y.mean(dim=(2, 3), keepdim=True)))
            y = y * nn.functional.hardsigmoid(self.se.excite(masked(inner, masks.squeezed)))
        result: Tensor = self.project(y)
        return result


class MaskedLayer(nn.Module):
    """All block types of one layer, mixed; one mask of the width for all of them.

    With weights ``g`` of the block types ``b``, the width's mask ``M`` and the shortcut's ``R`` (the channels in the
    cases in which as many go out as come in) it is ``M sum_b g_b b(x) + R x + g_skip (M - R) p(x)``: inverted
    residuals add their input where the shape stays, a skip is the input there and the convolution ``p`` elsewhere.

    Args:
        shapes: of its options.
        stride: 1 or 2.

    Attributes:
        blocks: by name of the block type, without the skip.
        skip: the convolution ``p``, or None where every option keeps the shape.
    """

    def __init__(self, shapes: LayerShapes, stride: int) -> None:
        """Make the blocks."""
        super().__init__()
        self.shapes = shapes
        self.blocks = nn.ModuleDict(
            {
                name: MaskedInvertedResidual(shapes, kernel, stride, act, squeezes=bool(squeeze))
                for name, (kernel, act, squeeze) in BLOCKS.items()
                if kernel
            }
        )
        self.skip = None
        if not bool(shapes.equal.all()):
            act = next(act for kernel, act, _ in BLOCKS.values() if not kernel)
            self.skip = ConvNorm(shapes.most_inputs, shapes.most_outputs, stride=stride, act=act)

    def forward(self, x: Tensor, masks: LayerMasks, block: Tensor) -> Tensor:
        """The mixture.

        Args:
            x: ``n x most inputs x h x w``.
            masks: of this layer.
            block: weights of the block types.
        """
        shares = dict(zip(BLOCKS, block.to(x.dtype), strict=True))
        total: Tensor | None = None
        for name, module in self.blocks.items():
            term = shares[name] * module(x, masks)
            total = term if total is None else total + term
        assert total is not None
        total = masked(total, masks.output)
        if self.shapes.may_keep:
            total = total + masked(with_channels(x, self.shapes.most_outputs), masks.shortcut)
        if self.skip is not None:
            share = next(share for name, share in shares.items() if name not in self.blocks)
            total = total + masked(self.skip(x), share * (masks.output - masks.shortcut))
        return total


class MaskedHead(nn.Module):
    """The last convolution and the average over the map."""

    def __init__(self, inputs: int, width: int, act: str) -> None:
        """Args are channels and the activation."""
        super().__init__()
        self.before = ConvNorm(inputs, width, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x inputs x h x w`` to ``n x width``."""
        result: Tensor = self.before(x).mean(dim=(2, 3))
        return result


def at_resolutions(
    function: Callable[..., Tensor],
    x: Tensor,
    weights: Tensor,
    sizes: Sequence[Size],
    result: Size | None,
    *args: Any,
    recompute: bool = True,
) -> Tensor:
    """``sum_r g_r spread(function(thin(x, r)))``: what comes of every resolution, put back on one map and mixed.

    ``thin`` leaves only the pixels of a resolution, so that kernels see as far as they will in a network of that
    resolution; ``spread`` puts the result on the even grid of the common map with zeros between (Figs. 3.4 and 3.5).
    Only the largest map is kept for the backward pass, which computes each resolution's inner maps again, one
    resolution after the other: memory does not grow with their number.

    Args:
        function: of a thinned map and ``args``.
        x: ``n x c x H x W``.
        weights: of the resolutions.
        sizes: of the thinned maps, one a resolution.
        result: of the common map; None where ``function`` gives no map.
        *args: further arguments of the function.
        recompute: whether inner maps are computed again; otherwise all are kept.
    """

    def one(x: Tensor, weight: Tensor, size: Size, *args: Any) -> Tensor:
        y = function(subsample(x, size), *args)
        return weight.to(y.dtype) * (y if result is None else scatter(y, result))

    if len(sizes) == 1 and not recompute:
        return function(subsample(x, sizes[0]), *args)  # its weight is 1
    total: Tensor | None = None
    for weight, size in zip(weights, sizes, strict=True):
        if recompute and torch.is_grad_enabled():
            term = checkpoint(one, x, weight, size, *args, use_reentrant=False, preserve_rng_state=False)
        else:
            term = one(x, weight, size, *args)
        total = term if total is None else total + term
    assert total is not None
    return total
