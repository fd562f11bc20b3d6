"""Constraints on metrics that only training measures, as controllers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xnas_ray.errors import SpecError
from xnas_ray.spec import parse_constraint, satisfies


@dataclass(frozen=True, slots=True)
class Limit:
    """A constraint on a measured metric.

    Attributes:
        metric: its name.
        operator: one of ``<= < >= >``.
        value: the limit.
    """

    metric: str
    operator: str
    value: float

    @property
    def maximize(self) -> bool:
        """Whether larger values satisfy it."""
        return self.operator.startswith(">")

    def holds(self, value: float) -> bool:
        """Whether a value satisfies it."""
        return satisfies(value, self.operator, self.value)

    def violation(self, value: float) -> float:
        """How far beyond the limit, as a share of it (of 1 where the limit is 0); 0 exactly when it holds."""
        if self.holds(value):
            return 0.0
        # At a strict limit itself the distance is 0 and still a violation.
        return max(abs(value - self.value) / (abs(self.value) or 1.0), 1e-12)


def check_limits(constraints: Sequence[str], field: str) -> tuple[Limit, ...]:
    """The limits of a controller's parameter ``constraints``.

    Raises:
        SpecError: it is no list of texts such as ``"latency_ms <= 5"``.
    """
    if isinstance(constraints, str) or not all(isinstance(text, str) for text in constraints):
        raise SpecError(f"must be a list of texts, got {constraints!r}.", field=f"{field}.constraints")
    try:
        return tuple(Limit(*parse_constraint(text)) for text in constraints)
    except ValueError as error:
        raise SpecError(str(error), field=f"{field}.constraints") from None
