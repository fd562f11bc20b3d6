"""A network scaled up or down in depth, width and resolution at once (compound scaling, Tan & Le, ICML 2019).

The authors of FBNetV3 make its smallest and largest members so, of the smallest and largest that they found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from xnas_ray.errors import SpecError
from xnas_ray.spaces.inverted_residuals import DIVISOR, Block, Definition, divisible

SLACK = 1e-9
"""Layers that rounding errors of a factor may not add: 5 times 1.2 is 6."""


def scaled(definition: Definition, *, depth: float = 1.0, width: float = 1.0, resolution: float = 1.0) -> Definition:
    """The same network with more or less of everything; equal where all factors are 1.

    Roundings:

    * A stage is the layers from one that changes the map's size or the channels up to the next such. It has
      ``ceil(depth * layers)`` of them, at least one, as EfficientNets have. Layers are added after its last, equal to
      its last that is no skip (with a stride of 1), or taken away from its end. A stage of skips alone stays.
    * Channels are multiples of the largest of 8, 4, 2 and 1 that divides the channels as they were, to the nearest,
      halves up, never below 95 % of the product. So factors of 1 change nothing, and networks whose channels are
      multiples of 8 keep such. The head stays: all published members of the family have the same.
    * The resolution is rounded in the same way.

    Larger factors never make a network cheaper, with one exception: a block whose expansion leaves its channels as they
    are has no 1 x 1 convolution, so that channels that are no multiples of 8 may lose one when they grow to be.

    Args:
        definition: the network to start from.
        depth: factor on the layers of every stage.
        width: factor on channels.
        resolution: factor on the height and width of the images.

    Raises:
        SpecError: a factor is no number above 0, at most 100; it is named.
    """
    for name, factor in (("depth", depth), ("width", width), ("resolution", resolution)):
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 100:
            raise SpecError(f"must be a number above 0, at most 100, got {factor!r}.", field=name)
    blocks = tuple(
        replace(block, width=rounded(block.width, width))
        for stage in stages(definition)
        for block in _deepened(stage, depth)
    )
    stem = replace(definition.stem, width=rounded(definition.stem.width, width))
    return Definition(rounded(definition.resolution, resolution), stem, blocks, definition.head)


def stages(definition: Definition) -> Iterator[tuple[Block, ...]]:
    """The blocks, together with those before them that give the same map and the same channels."""
    current: list[Block] = []
    channels = definition.stem.width
    for block in definition.blocks:
        if current and (block.stride != 1 or block.width != channels):
            yield tuple(current)
            current = []
        current.append(block)
        channels = block.width
    if current:
        yield tuple(current)


def rounded(value: int, factor: float) -> int:
    """Channels or pixels times a factor, a multiple of what ``value`` is a multiple of, up to 8; see ``scaled``."""
    return divisible(value * factor, math.gcd(value, DIVISOR))


def _deepened(stage: Sequence[Block], depth: float) -> list[Block]:
    layers = max(1, math.ceil(len(stage) * depth - SLACK))
    repeated = next((block for block in reversed(stage) if block.kernel), None)
    if repeated is None:
        return list(stage)
    # Paddings that are not half the kernel were made for a place in the published networks where the map shrinks.
    more = [replace(repeated, stride=1, padding=None)] * max(0, layers - len(stage))
    return [*stage[:layers], *more]
