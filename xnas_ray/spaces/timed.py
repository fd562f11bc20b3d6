"""A space whose networks have a latency, looked up in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.latency_table import LatencyTable
from xnas_ray.spaces.operators import added_up, operators_of
from xnas_ray.spaces.wrapped import WrappedSpace


class TimedSpace(WrappedSpace):
    """All of ``space``; costs say besides how long a forward pass takes by a table: the sum over its operators.

    Args:
        space: the space, whose networks have operators.
        table: milliseconds of operators.
    """

    name = "timed"

    def __init__(self, space: Space, table: LatencyTable) -> None:
        """Keep the table; nothing is looked up yet."""
        super().__init__(space)
        self.table = table

    def is_valid(self, genotype: Genotype) -> bool:
        """As in the wrapped space."""
        return self.space.is_valid(genotype)

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """The wrapped space's, and the latency.

        Raises:
            TableError: an operator of the network is not in the table.
        """
        latency_ms = added_up(self.space.operators(genotype, shape), self.table.ms)
        return replace(self.space.cost(genotype, shape), latency_table_ms=latency_ms)

    def latencies(self, genotypes: Sequence[Genotype], shape: DataShape) -> np.ndarray:
        """Milliseconds, float64 ``[n]``: those that ``cost`` gives one by one.

        Raises:
            TableError: an operator of a network is not in the table.
        """
        return self.space.add_up(genotypes, shape, self.table.ms)

    def check_table(self, shape: DataShape) -> None:
        """Refuse a table without some operator that the space can have.

        Of a space that cannot list its operators nothing is known here: there ``cost`` finds what is missing.

        Raises:
            TableError: names an operator, and says how many are missing.
            SpecError: the space's networks have no operators.
        """
        self.space.operators(self.space.sample(np.random.default_rng(0)), shape)
        covering = self.space.covering()
        if covering is None:
            return
        missing = [key for key in operators_of(self.space, covering, shape) if key not in self.table.operators]
        if missing:
            raise self.table.missing(missing)
