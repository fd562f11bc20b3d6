"""Operators of NAS-Bench-201's networks: stem, what cells compute, residual reductions, tail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.spaces.cost import strided
from xnas_ray.spaces.operators import Operator, Value

if TYPE_CHECKING:
    from xnas_ray.messages import Genotype
    from xnas_ray.spaces.base import Shape

ADD, ZERO = "add", "zero"
FREE = ("none", "skip_connect")
"""Operations that compute nothing: a node takes no such term, or the map itself."""


@dataclass(frozen=True)
class Nb201Operator(Operator):
    """A part of a network of NAS-Bench-201.

    Attributes:
        kind: ``stem``, ``reduction`` or ``tail``; within cells an operation, ``add`` (a further term of a node) or
            ``zero`` (a node without terms).
        inputs: channels that it reads.
        outputs: channels, or values, that it gives.
        size: of the map that it reads.
    """

    builder = "xnas_ray.networks.nasbench201:build_operator"
    kind: str
    inputs: int
    outputs: int
    size: tuple[int, int]

    @property
    def key(self) -> str:
        """Such as ``nb201 nor_conv_3x3 i16 o16 32x32``."""
        return f"nb201 {self.kind} i{self.inputs} o{self.outputs} {self.size[0]}x{self.size[1]}"

    @property
    def reads(self) -> Shape:
        """The map before it."""
        return (self.inputs, *self.size)


@dataclass(frozen=True)
class Skeleton:
    """What surrounds the cells, and how often these come.

    Attributes:
        image: channels, height and width.
        outputs: classes or regressed values.
        cells_per_stage: equal cells in a stage.
        channels: of the first stage.
        stages: their number.
    """

    image: tuple[int, int, int]
    outputs: int
    cells_per_stage: int
    channels: int
    stages: int

    def parts(self) -> Iterator[Operator | tuple[int, tuple[int, int]]]:
        """The operators around the cells, and for every cell its channels and map, in the order of a forward pass."""
        inputs, *sides = self.image
        size, channels = (sides[0], sides[1]), self.channels
        yield Nb201Operator("stem", inputs, channels, size)
        for stage in range(self.stages):
            if stage:
                yield Nb201Operator("reduction", channels, 2 * channels, size)
                size, channels = strided(size, 2), 2 * channels
            for _ in range(self.cells_per_stage):
                yield channels, size
        yield Nb201Operator("tail", channels, self.outputs, size)


def operators(skeleton: Skeleton, nodes: tuple[tuple[str, ...], ...]) -> Iterator[Operator]:
    """The operators of a network.

    Args:
        skeleton: around the cells.
        nodes: the operations that lead to each node of the cell but the first.
    """
    for part in skeleton.parts():
        if isinstance(part, Operator):
            yield part
            continue
        channels, size = part
        for node in nodes:
            terms = [name for name in node if name != "none"]
            kinds = [name for name in node if name not in FREE] + [ADD] * (len(terms) - 1) + [ZERO] * (not terms)
            yield from (Nb201Operator(kind, channels, channels, size) for kind in kinds)


def add_up(skeleton: Skeleton, nodes: list[list[np.ndarray]], names: tuple[str, ...], value: Value) -> np.ndarray:
    """Sums of a value over the operators of many networks, float64 ``[n]``: to the last bit those of one by one.

    Args:
        skeleton: around the cells.
        nodes: for every node of the cell but the first, the operations that lead to it: indices, int64 ``[n]``.
        names: of the operations.
        value: of an operator.
    """
    total = np.zeros(len(nodes[0][0]))
    none = names.index("none")
    for part in skeleton.parts():
        if isinstance(part, Operator):
            total += value(part)
            continue
        channels, size = part
        kinds = (*(name for name in names if name not in FREE), ADD, ZERO)
        of = dict.fromkeys(FREE, 0.0) | {kind: value(Nb201Operator(kind, channels, channels, size)) for kind in kinds}
        values = np.array([of[name] for name in names])
        for node in nodes:
            for edge in node:
                total += values[edge]
            terms = np.sum([edge != none for edge in node], axis=0)
            for number in range(1, len(node)):
                total += np.where(terms > number, of[ADD], 0.0)
            total += np.where(terms == 0, of[ZERO], 0.0)
    return total


def by_node(
    genotype: Genotype, edges: tuple[tuple[int, int], ...], names: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    """The operations that lead to each node but the first."""
    last = max(target for _, target in edges)
    return tuple(
        tuple(names[option] for option, (_, target) in zip(genotype, edges, strict=True) if target == node)
        for node in range(1, last + 1)
    )
