"""A space without the architectures that break analytic constraints."""

from __future__ import annotations

from collections.abc import Sequence

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.wrapped import WrappedSpace
from xnas_ray.spec import parse_constraint, satisfies

LATENCY = "latency_table_ms"
ANALYTIC = ("flops", "params", LATENCY)
"""What is known of a network without training it: attributes of ``Cost``."""


class ConstrainedSpace(WrappedSpace):
    """Every architecture of ``space`` whose canonical form satisfies constraints on its cost.

    Controllers search it as any other space, so that nothing infeasible is ever trained.

    Args:
        space: the space to narrow.
        constraints: such as ``"flops <= 50e6"``, on what is ``ANALYTIC``; on ``latency_table_ms`` only in a
            ``TimedSpace``, which has a table.
        shape: inputs and outputs of the networks.

    Raises:
        SpecError: a constraint on something else, or on a latency without a table.
    """

    name = "constrained"

    def __init__(self, space: Space, constraints: Sequence[str], shape: DataShape) -> None:
        """Parse the constraints once."""
        super().__init__(space)
        self.shape = shape
        self.limits = [parse_constraint(text) for text in constraints]
        for metric, _, _ in self.limits:
            if metric not in ANALYTIC:
                raise SpecError(f"{metric!r} is not known before training.", field="constraints", valid=ANALYTIC)
            if metric == LATENCY:
                space.latencies([], shape)  # raises where there is no table
        self._feasible: dict[Genotype, bool] = {}

    def is_valid(self, genotype: Genotype) -> bool:
        """Whether it is valid in the wrapped space and its canonical form satisfies every constraint."""
        found = self._feasible.get(genotype)
        if found is None:
            found = self.space.is_valid(genotype) and self._satisfies(self.space.canonical(genotype))
            self._feasible[genotype] = found
        return found

    def _satisfies(self, genotype: Genotype) -> bool:
        cost = self.space.cost(genotype, self.shape)
        return all(satisfies(getattr(cost, metric), operator, limit) for metric, operator, limit in self.limits)
