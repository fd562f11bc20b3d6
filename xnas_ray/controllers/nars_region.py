"""Which genotypes constraints on FLOPs, parameters and latency leave, asked for thousands at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.constrained import LATENCY, ConstrainedSpace
from xnas_ray.spec import satisfies


class Region:
    """A space, taken apart into the space below its analytic constraints and these constraints.

    ``ConstrainedSpace.is_valid`` counts one network after the other, and remembers each: right for the few that a
    controller draws, slow for a pool or an evolution. Here the costs of all are counted together (``Space.costs``).

    Args:
        space: what a controller searches.
        shape: inputs and outputs of the networks, for the FLOPs that ``costs`` gives.

    Attributes:
        space: without the constraints; the space itself where there are none.
    """

    def __init__(self, space: Space, shape: DataShape) -> None:
        """Take the layers of constraints off."""
        self.shape = shape
        self._limits: list[tuple[DataShape, tuple[str, str, float]]] = []
        while isinstance(space, ConstrainedSpace):
            self._limits.extend((space.shape, limit) for limit in space.limits)
            space = space.space
        self.space = space

    def costs(self, genotypes: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """FLOPs and parameters, int64 [n] each, of canonical genotypes."""
        if not len(genotypes):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return self.space.costs(genotypes, self.shape)

    def allows(self, genotypes: Sequence[Genotype], most_flops: float | None = None) -> np.ndarray:
        """Which of some valid, canonical genotypes of ``space`` satisfy all constraints, bool [n].

        Args:
            genotypes: n.
            most_flops: a limit beside the search's own.
        """
        held = np.ones(len(genotypes), dtype=bool)
        if not len(genotypes):
            return held
        known: dict[tuple[DataShape, bool], dict[str, np.ndarray]] = {}
        extra = [] if most_flops is None else [(self.shape, ("flops", "<=", most_flops))]
        for shape, (metric, operator, limit) in [*self._limits, *extra]:
            place = (shape, metric == LATENCY)
            if place not in known:
                known[place] = self._measured(genotypes, *place)
            held &= satisfies(known[place][metric], operator, limit)  # type: ignore[arg-type]
        return held

    def _measured(self, genotypes: Sequence[Genotype], shape: DataShape, timed: bool) -> dict[str, np.ndarray]:
        """The latency, which is looked up only where it matters, or what is counted, [n] each."""
        if timed:
            return {LATENCY: self.space.latencies(genotypes, shape)}
        flops, params = self.space.costs(genotypes, shape)
        return {"flops": flops, "params": params}
