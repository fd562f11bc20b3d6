"""Networks of inverted residuals as data, and what they cost: the rules of FBNetV2 and FBNetV3, without torch.

A ``Definition`` says what was chosen (widths, expansions, kernels); ``place`` derives what follows from it (channels in
the middle of a block, maps, shortcuts). Counters and torch networks read the same ``Placed`` blocks, so that neither
can follow a rule of its own. Rules: Sandler et al. 2018 (inverted residuals), Howard et al. 2019 (what is squeezed and
excited, pooling before the last layers), Wan et al. 2020 and Dai et al. 2021 (roundings and shortcuts of the published
networks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from xnas_ray.errors import SpecError
from xnas_ray.messages import Cost

DIVISOR = 8
"""Channels inside a block are multiples of it."""

SQUEEZE = 0.25
"""Inner channels of squeeze-and-excitation, as a share of the channels that it weighs."""

ACTIVATIONS = ("relu", "hswish")

Size = tuple[int, int]
"""Height and width of a map."""


@dataclass(frozen=True, slots=True)
class Stem:
    """The first convolution, normalised and activated."""

    width: int
    kernel: int = 3
    stride: int = 2
    activation: str = "hswish"


@dataclass(frozen=True, slots=True)
class Block:
    """One layer between stem and head: an inverted residual, or nothing.

    Attributes:
        width: channels that it gives.
        stride: 1, or 2 to halve the map.
        expansion: channels of its depthwise convolution, as a multiple of those that it reads.
        kernel: side of the depthwise kernel, odd; 0 makes it a skip: the identity where the shape stays, else a 1 x 1
            convolution, normalised and activated.
        activation: one of ``ACTIVATIONS``.
        squeeze: inner channels of squeeze-and-excitation as a share of the depthwise channels, 0 for none.
        padding: of the depthwise convolution where it is not ``kernel // 2``.
    """

    width: int
    stride: int = 1
    expansion: float = 1.0
    kernel: int = 3
    activation: str = "relu"
    squeeze: float = 0.0
    padding: int | None = None

    @property
    def label(self) -> str:
        """Its kind in drawings and kernels, such as ``ir_k5_se_hs``: all but widths, strides and expansions."""
        if not self.kernel:
            return "skip"
        return f"ir_k{self.kernel}{'_se' if self.squeeze else ''}{'_hs' if self.activation == 'hswish' else ''}"


@dataclass(frozen=True, slots=True)
class Head:
    """What follows the last block, up to the vector that the classifier reads.

    Attributes:
        width: length of that vector.
        expansion: a 1 x 1 convolution to that multiple of the channels, the average over the map, then a 1 x 1
            convolution without normalisation to ``width`` (the efficient last stage of MobileNetV3, ``ir_pool``); 0
            for a 1 x 1 convolution to ``width``, then the average.
        activation: after each convolution.
    """

    width: int
    expansion: float = 0.0
    activation: str = "hswish"


@dataclass(frozen=True, slots=True)
class Definition:
    """A whole network; a linear classifier with biases follows the head.

    Attributes:
        resolution: height and width of the images that it was made for.
        stem: the first convolution.
        blocks: one after the other.
        head: before the classifier.
    """

    resolution: int
    stem: Stem
    blocks: tuple[Block, ...]
    head: Head


@dataclass(frozen=True, slots=True)
class Placed:
    """A block where it stands.

    Attributes:
        block: what was chosen.
        inputs: channels that it reads.
        middle: channels of its depthwise convolution; 0 for a skip.
        squeezed: inner channels of its squeeze-and-excitation; 0 for none.
        size: of the map that it reads.
        result: of the map that it gives.
    """

    block: Block
    inputs: int
    middle: int
    squeezed: int
    size: Size
    result: Size

    @property
    def expands(self) -> bool:
        """Whether a 1 x 1 convolution stands before the depthwise one: only where the channels differ."""
        return self.middle not in (0, self.inputs)

    @property
    def keeps_shape(self) -> bool:
        """Whether the input is added to the result (an inverted residual) or is the result (a skip)."""
        return self.block.stride == 1 and self.inputs == self.block.width


@dataclass(frozen=True, slots=True)
class Count:
    """Parts of a network's cost, from which each convention takes its own.

    Attributes:
        flops: multiply-accumulates of convolutions and linear layers.
        weights: their weights.
        others: biases, and scales and shifts of normalisation.
        pooled: values that averages over whole maps read.
    """

    flops: int = 0
    weights: int = 0
    others: int = 0
    pooled: int = 0

    def __add__(self, other: Count) -> Count:
        """Part by part."""
        return Count(
            self.flops + other.flops,
            self.weights + other.weights,
            self.others + other.others,
            self.pooled + other.pooled,
        )

    @property
    def cost(self) -> Cost:
        """As everywhere in this package: all trainable parameters, FLOPs of convolutions and linear layers."""
        return Cost(flops=self.flops, params=self.weights + self.others)

    @property
    def published(self) -> Cost:
        """As the FBNet papers and their model zoo count: one FLOP a pooled value, weights alone are parameters."""
        return Cost(flops=self.flops + self.pooled, params=self.weights)


def subsampled(size: Size, resolution: int) -> Size:
    """Height and width of an image of which only ``resolution`` rows are kept, and columns in proportion.

    Raises:
        SpecError: the image is smaller than that; pixels are left out, never invented.
    """
    height, width = size
    if resolution > height:
        raise SpecError(
            f"images of {height} x {width} cannot be seen at a resolution of {resolution}.",
            field="space.params.resolutions",
            fix=f"Use resolutions of at most {height}.",
        )
    return resolution, max(1, (2 * width * resolution + height) // (2 * height))


def divisible(channels: float, divisor: int = DIVISOR) -> int:
    """The nearest multiple, halves up, at least ``divisor`` and never below 95 % of ``channels``."""
    rounded = max(divisor, math.floor((channels + divisor / 2) / divisor) * divisor)
    return rounded + divisor if rounded < 0.95 * channels else rounded


def middle_channels(inputs: int, expansion: float) -> int:
    """Channels of the depthwise convolution of a block."""
    return divisible(inputs * expansion)


def squeezed_channels(middle: int, share: float) -> int:
    """Inner channels of squeeze-and-excitation over ``middle`` channels; 0 for a share of 0."""
    return divisible(int(middle * share)) if share else 0


def after(size: Size, kernel: int, stride: int, padding: int) -> Size:
    """Height and width after a convolution.

    Raises:
        SpecError: the map is too small for it.
    """
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    if min(height, width) < 1:
        raise SpecError(
            f"a map of {size[0]} x {size[1]} is too small for a kernel of {kernel}.",
            field="task.shape",
            fix="Use larger images or a definition with fewer strides.",
        )
    return height, width


def place(definition: Definition, size: Size | None = None) -> Iterator[Placed]:
    """The blocks of a network with the channels and maps that they get.

    Args:
        definition: the network.
        size: of the images; the definition's own by default.
    """
    stem = definition.stem
    current = after(size or (definition.resolution,) * 2, stem.kernel, stem.stride, stem.kernel // 2)
    inputs = stem.width
    for block in definition.blocks:
        middle = middle_channels(inputs, block.expansion) if block.kernel else 0
        squeezed = squeezed_channels(middle, block.squeeze) if block.kernel else 0
        kernel = block.kernel or 1
        padding = kernel // 2 if block.padding is None else block.padding
        result = after(current, kernel, block.stride, padding)
        yield Placed(block, inputs, middle, squeezed, current, result)
        inputs, current = block.width, result


def count(definition: Definition, *, inputs: int = 3, outputs: int = 1000, size: Size | None = None) -> Count:
    """What a network costs for one image.

    Args:
        definition: the network.
        inputs: channels of the image.
        outputs: classes or regressed values.
        size: of the image; the definition's own by default.

    Raises:
        SpecError: the image is too small for a convolution.
    """
    stem, head = definition.stem, definition.head
    current = after(size or (definition.resolution,) * 2, stem.kernel, stem.stride, stem.kernel // 2)
    total = _convolution(inputs, stem.width, stem.kernel, current) + _norm(stem.width)
    channels = stem.width
    for placed in place(definition, size):
        total += count_block(placed)
        channels, current = placed.block.width, placed.result
    return total + _count_head(head, channels, current) + _linear(head.width, outputs)


def count_block(placed: Placed) -> Count:
    """What one block costs."""
    block, middle, result = placed.block, placed.middle, placed.result
    if not block.kernel:
        if placed.keeps_shape:
            return Count()
        return _convolution(placed.inputs, block.width, 1, result) + _norm(block.width)
    total = _convolution(placed.inputs, middle, 1, placed.size) + _norm(middle) if placed.expands else Count()
    total += _depthwise(middle, block.kernel, result) + _norm(middle)
    if placed.squeezed:
        total += _pool(middle, result) + _linear(middle, placed.squeezed) + _linear(placed.squeezed, middle)
    return total + _convolution(middle, block.width, 1, result) + _norm(block.width)


def _count_head(head: Head, channels: int, size: Size) -> Count:
    if not head.expansion:
        return _convolution(channels, head.width, 1, size) + _norm(head.width) + _pool(head.width, size)
    middle = middle_channels(channels, head.expansion)
    total = _convolution(channels, middle, 1, size) + _norm(middle) if middle != channels else Count()
    # The published figures average over the one pixel behind the last convolution once more.
    return total + _pool(middle, size) + _convolution(middle, head.width, 1, (1, 1)) + _pool(head.width, (1, 1))


def _convolution(inputs: int, outputs: int, kernel: int, result: Size) -> Count:
    weights = inputs * outputs * kernel * kernel
    return Count(flops=weights * result[0] * result[1], weights=weights)


def _depthwise(channels: int, kernel: int, result: Size) -> Count:
    weights = channels * kernel * kernel
    return Count(flops=weights * result[0] * result[1], weights=weights)


def _linear(inputs: int, outputs: int) -> Count:
    return Count(flops=inputs * outputs, weights=inputs * outputs, others=outputs)


def _norm(channels: int) -> Count:
    return Count(others=2 * channels)


def _pool(channels: int, size: Size) -> Count:
    return Count(pooled=channels * size[0] * size[1])
