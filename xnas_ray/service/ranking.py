"""Which trials are better: signs of objectives, Pareto dominance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCALE_POINTS = 10
SCALE_MARGIN = 0.1
"""Of the reference point beyond the box of the first points, so that its corners count."""


def signed_objectives(metrics: Mapping[str, float], objectives: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The objectives of a trial with the sign that makes larger better."""
    return tuple(metrics[o["name"]] if o["maximize"] else -metrics[o["name"]] for o in objectives)


def dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Pareto dominance where larger is better: nowhere worse, somewhere better."""
    return all(a >= b for a, b in zip(first, second, strict=True)) and first != second


def non_dominated(points: Sequence[tuple[float, ...]]) -> set[int]:
    """Indices of the points that no other one dominates, where larger is better; equal points stay together.

    A point is dominated only by one that comes lexicographically later, so one pass from the largest down compares
    each point with the front found so far: O(n log n + n x front).
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=points.__getitem__, reverse=True):
        if not any(dominates(points[j], points[i]) for j in front):
            front.append(i)
    return set(front)


class DominatedVolume:
    """The hypervolume of a growing front, in a scale that does not change while a search goes on.

    The box between the worst and the best values of the first ten points has volume 1 and its worst corner, moved out
    by a tenth of the box, is the reference: the same points in the same order, as a restarted service reads them back,
    give the same volumes.
    """

    def __init__(self) -> None:
        """No point yet."""
        self._first: list[tuple[float, ...]] = []
        self._front: list[tuple[float, ...]] = []
        self._computed: tuple[object, float] | None = None

    def add(self, point: tuple[float, ...]) -> None:
        """A point whose objectives are all to be maximised."""
        if len(self._first) < SCALE_POINTS:
            self._first.append(point)
        if point in self._front or any(dominates(other, point) for other in self._front):
            return
        self._front = [other for other in self._front if not dominates(point, other)] + [point]

    def value(self) -> float | None:
        """The volume (pymoo's hypervolume indicator), None before the tenth point; may be asked in another thread."""
        if len(self._first) < SCALE_POINTS:
            return None
        front = self._front
        if self._computed is None or self._computed[0] is not front:
            import numpy as np
            from pymoo.indicators.hv import HV

            first = np.array(self._first)
            extent = np.where(np.ptp(first, axis=0) > 0, np.ptp(first, axis=0), 1.0)
            losses = (first.max(axis=0) - np.array(front)) / extent
            self._computed = front, float(HV(ref_point=np.full(first.shape[1], 1 + SCALE_MARGIN))(losses))
        return self._computed[1]
