"""Parts of networks that can be timed one by one: what a latency table has an entry for.

The time of a network is taken to be the sum over the operators that it computes one after the other, each measured once
for all networks that have it (ProxylessNAS, Cai et al., ICLR 2019; FBNet, Wu et al., CVPR 2019).
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from xnas_ray.messages import Genotype
    from xnas_ray.spaces.base import DataShape, Shape, Space

BLOCK = 16_384
"""Genotypes whose operators are looked at together."""

Value = Callable[["Operator"], float]


class Operator(ABC):
    """A part of a network with all that its time depends on; a subclass is a frozen dataclass.

    Attributes:
        builder: ``"module:function"``; called with the operator it gives the ``torch.nn.Module``.
    """

    builder: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """Its name in tables: operators of one key take the same time, on one device."""

    @property
    @abstractmethod
    def reads(self) -> Shape:
        """Shape of its input, of one sample."""

    def build(self) -> nn.Module:
        """The module, untrained (the only place where torch is needed)."""
        module, _, function = self.builder.partition(":")
        return getattr(importlib.import_module(module), function)(self)


def added_up(operators: Iterable[Operator], value: Value) -> float:
    """The sum of a value, from the first operator to the last: the order that ``Space.add_up`` keeps to as well."""
    total = 0.0
    for operator in operators:  # sum() rounds otherwise since Python 3.12
        total += value(operator)
    return total


def add_distinct(columns: Sequence[np.ndarray], make: Callable[..., Operator | None], value: Value) -> np.ndarray:
    """The value of one operator of every network, each different one looked at once.

    Args:
        columns: int64 ``[n]`` each: what tells the operators apart.
        make: called with one value of every column; None for what takes no time.
        value: of an operator.

    Returns:
        float64 ``[n]``.
    """
    if not len(columns[0]):
        return np.zeros(0)
    first, places = _distinct(columns)
    made = (make(*row) for row in np.stack(columns, axis=1)[first].tolist())
    return np.array([0.0 if operator is None else value(operator) for operator in made])[places]


def _distinct(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where each different row stands first, and which of these every row is."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        low, high = int(column.min()), int(column.max())
        if (int(code.max()) + 1) * (high - low + 1) >= 2**63:
            code = np.unique(code, return_inverse=True)[1]
        code = code * (high - low + 1) + (column - low)
    _, first, places = np.unique(code, return_index=True, return_inverse=True)
    return first, places


def operators_of(space: Space, genotypes: Iterable[Genotype], shape: DataShape) -> dict[str, Operator]:
    """Every operator that some networks have, by key, in the order in which they were met.

    Raises:
        SpecError: the space's networks have no operators.
    """
    found: dict[str, Operator] = {}

    def note(operator: Operator) -> float:
        found.setdefault(operator.key, operator)
        return 0.0

    remaining: Iterator[Genotype] = iter(genotypes)
    while some := list(islice(remaining, BLOCK)):
        space.add_up(some, shape, note)
    return found
