"""Operators of networks of inverted residuals: stem, blocks as placed, head, classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.spaces.batch_costs import Batch, Layer, Sides, divisible_batch, place_batch, seen_batch
from xnas_ray.spaces.inverted_residuals import (
    ACTIVATIONS,
    Block,
    Definition,
    Head,
    Placed,
    Size,
    Stem,
    after,
    middle_channels,
    place,
)
from xnas_ray.spaces.operators import Operator, Value, add_distinct

if TYPE_CHECKING:
    from xnas_ray.spaces.base import Shape


@dataclass(frozen=True)
class StemOperator(Operator):
    """Subsampling of the image, where the network does that, and the first convolution.

    Attributes:
        stem: the convolution.
        inputs: channels of the image.
        image: height and width of the image as it is given.
        size: height and width at which it is looked at.
    """

    builder = "xnas_ray.networks.inverted_operators:build_stem"
    stem: Stem
    inputs: int
    image: Size
    size: Size

    @property
    def key(self) -> str:
        """Such as ``stem i3 o16 k3 s2 hswish 224x224``, with ``of 256x256`` where a larger image is given."""
        stem = self.stem
        text = f"stem i{self.inputs} o{stem.width} k{stem.kernel} s{stem.stride} {stem.activation} {_sides(self.size)}"
        return text if self.image == self.size else f"{text} of {_sides(self.image)}"

    @property
    def reads(self) -> Shape:
        """The image."""
        return (self.inputs, *self.image)


@dataclass(frozen=True)
class BlockOperator(Operator):
    """A block that computes something: an inverted residual, or a skip that changes the shape.

    Attributes:
        inputs: channels that it reads.
        middle: channels of its depthwise convolution; 0 for a skip.
        width: channels that it gives.
        kernel: side of the depthwise kernel; 0 for a skip.
        stride: 1 or 2.
        squeezed: inner channels of squeeze-and-excitation; 0 for none.
        activation: one of ``ACTIVATIONS``.
        size: of the map that it reads.
        padding: of the depthwise convolution where it is not ``kernel // 2``.
    """

    builder = "xnas_ray.networks.inverted_operators:build_block"
    inputs: int
    middle: int
    width: int
    kernel: int
    stride: int
    squeezed: int
    activation: str
    size: Size
    padding: int | None = None

    @classmethod
    def of(cls, placed: Placed) -> BlockOperator | None:
        """The operator of a block where it stands; None for the identity, which computes nothing."""
        block = placed.block
        if not block.kernel and placed.keeps_shape:
            return None
        padding = None if block.padding == block.kernel // 2 else block.padding
        return cls(
            placed.inputs,
            placed.middle,
            block.width,
            block.kernel,
            block.stride,
            placed.squeezed,
            block.activation,
            placed.size,
            padding,
        )

    @property
    def key(self) -> str:
        """Such as ``block i24 m96 o40 k5 s2 se24 hswish 28x28``; a skip has no ``m``, ``k`` and ``se``."""
        words = [f"block i{self.inputs} m{self.middle} o{self.width} k{self.kernel} s{self.stride}"]
        if not self.kernel:
            words = [f"skip i{self.inputs} o{self.width} s{self.stride}"]
        words += [f"se{self.squeezed}"] if self.squeezed else []
        words += [f"p{self.padding}"] if self.padding is not None else []
        return " ".join([*words, self.activation, _sides(self.size)])

    @property
    def reads(self) -> Shape:
        """The map before it."""
        return (self.inputs, *self.size)

    @property
    def placed(self) -> Placed:
        """The block that networks are built from; expansion and squeeze are those that give these channels."""
        block = Block(
            self.width,
            self.stride,
            self.middle / self.inputs,
            self.kernel,
            self.activation,
            self.squeezed / self.middle if self.squeezed else 0.0,
            self.padding,
        )
        kernel = self.kernel or 1
        result = after(self.size, kernel, self.stride, kernel // 2 if self.padding is None else self.padding)
        return Placed(block, self.inputs, self.middle, self.squeezed, self.size, result)


@dataclass(frozen=True)
class HeadOperator(Operator):
    """From the last map to the vector that the classifier reads.

    Attributes:
        head: what it is.
        inputs: channels of the map.
        size: of the map.
    """

    builder = "xnas_ray.networks.inverted_operators:build_head"
    head: Head
    inputs: int
    size: Size

    @property
    def key(self) -> str:
        """Such as ``head i64 m384 o1984 hswish 7x7``, without ``m`` where nothing is expanded before the average."""
        head = self.head
        middle = f" m{middle_channels(self.inputs, head.expansion)}" if head.expansion else ""
        return f"head i{self.inputs}{middle} o{head.width} {head.activation} {_sides(self.size)}"

    @property
    def reads(self) -> Shape:
        """The last map."""
        return (self.inputs, *self.size)


@dataclass(frozen=True)
class ClassifierOperator(Operator):
    """A linear layer with biases.

    Attributes:
        inputs: values that it reads.
        outputs: values that it gives.
    """

    builder = "xnas_ray.networks.inverted_operators:build_classifier"
    inputs: int
    outputs: int

    @property
    def key(self) -> str:
        """Such as ``linear i1984 o1000``."""
        return f"linear i{self.inputs} o{self.outputs}"

    @property
    def reads(self) -> Shape:
        """A vector."""
        return (self.inputs,)


def operators(definition: Definition, *, inputs: int, outputs: int, image: Size, size: Size) -> Iterator[Operator]:
    """The operators of a network, in the order of its forward pass.

    Args:
        definition: the network.
        inputs: channels of the image.
        outputs: classes or regressed values.
        image: height and width of the image as it is given.
        size: height and width at which it is looked at.

    Raises:
        SpecError: the image is too small for a convolution.
    """
    stem, head = definition.stem, definition.head
    yield StemOperator(stem, inputs, image, size)
    channels, current = stem.width, after(size, stem.kernel, stem.stride, stem.kernel // 2)
    for placed in place(definition, size):
        found = BlockOperator.of(placed)
        if found is not None:
            yield found
        channels, current = placed.block.width, placed.result
    yield HeadOperator(head, channels, current)
    yield ClassifierOperator(head.width, outputs)


def add_up_batch(batch: Batch, *, inputs: int, outputs: int, size: Size, value: Value) -> np.ndarray:
    """Sums of a value over the operators of many networks, float64 ``[n]``: to the last bit those of one by one.

    Args:
        batch: the networks.
        inputs: channels of the images.
        outputs: classes or regressed values.
        size: of the images, before networks subsample them to their resolution.
        value: of an operator; asked once for each that is in a place.

    Raises:
        SpecError: a network's resolution is above the images' height.
    """

    def stem(width: int, *seen: int) -> Operator:
        return StemOperator(replace(batch.stem, width=width), inputs, size, (seen[0], seen[1]))

    def head(channels: int, *sides: int) -> Operator:
        return HeadOperator(batch.head, channels, (sides[0], sides[1]))

    total = add_distinct([batch.stem_width, *seen_batch(batch.resolution, size)], stem, value)
    for layer, channels, sides in place_batch(batch, size):
        if layer is None:
            total += add_distinct([channels, *sides], head, value)
        else:
            total[layer.present] += _blocks(layer, channels, sides, value)
    return total + value(ClassifierOperator(batch.head.width, outputs))


def _blocks(layer: Layer, channels: np.ndarray, sides: Sides, value: Value) -> np.ndarray:
    """The value of one block of the networks that have it, as many as there are of them."""

    def make(inputs: int, middle: int, width: int, kernel: int, squeezed: int, act: int, *size: int) -> Operator | None:
        if not kernel and layer.stride == 1 and inputs == width:
            return None
        side = (size[0], size[1])
        return BlockOperator(inputs, middle, width, kernel, layer.stride, squeezed, ACTIVATIONS[act], side)

    some = layer.present
    kernel, inputs = layer.kernel[some], channels[some]
    middle = np.where(kernel > 0, divisible_batch(inputs * layer.expansion[some]), 0)
    squeeze = layer.squeeze[some]
    inner = divisible_batch(np.trunc(middle * squeeze))
    squeezed = np.where((squeeze > 0) & (kernel > 0), inner, 0)
    numbers = (inputs, middle, layer.width[some], kernel, squeezed, layer.activation[some])
    return add_distinct([*numbers, sides[0][some], sides[1][some]], make, value)


def _sides(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
