"""Pareto fronts: who dominates whom, and the volume that a front dominates. Larger is better in every objective."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np


class Front:
    """The non-dominated points of a growing set, and the volume that they dominate above a reference point.

    With two objectives a point takes O(log n) and what it removes; with more, the volume is computed again by pymoo
    when the front has changed and somebody asks.

    Args:
        reference: what a point must exceed in every objective to add volume, one number an objective.

    Attributes:
        points: of the front, ascending in the first objective; equal points are kept once.
    """

    def __init__(self, reference: Sequence[float]) -> None:
        """An empty front."""
        self.reference = tuple(float(value) for value in reference)
        self.points: list[tuple[float, ...]] = []
        self._area = 0.0  # with two objectives
        self._computed: tuple[object, float] = (self.points, 0.0)  # with more: of which points, and their volume

    def add(self, point: Sequence[float]) -> bool:
        """Take a point in; whether it is on the front, that is, not dominated by or equal to one before it.

        Raises:
            ValueError: a number is not finite, or there are too many or too few of them.
        """
        given = tuple(float(value) for value in point)
        if len(given) != len(self.reference) or not np.isfinite(given).all():
            raise ValueError(f"{given} is not {len(self.reference)} finite numbers")
        return self._add_to_two(given) if len(given) == 2 else self._add_to_many(given)

    @property
    def hypervolume(self) -> float:
        """Volume between the front and the reference, in the product of the units; may be asked in another thread."""
        if len(self.reference) == 2:
            return self._area
        points = self.points
        if self._computed[0] is not points:
            self._computed = points, hypervolume(np.array(points), self.reference)
        return self._computed[1]

    def _add_to_two(self, point: tuple[float, ...]) -> bool:
        """The front is a staircase: ascending in the first objective, descending in the second."""
        at = bisect_left(self.points, point[0], key=lambda p: p[0])
        if at < len(self.points) and self.points[at][1] >= point[1]:
            return False
        end = at + (at < len(self.points) and self.points[at][0] == point[0])
        start = at
        while start and self.points[start - 1][1] <= point[1]:
            start -= 1
        self._area += self._gain(point, start, end)
        self.points[start:end] = [point]
        return True

    def _gain(self, point: tuple[float, ...], start: int, end: int) -> float:
        """Area that a point adds where it takes the place of the steps ``start`` to ``end``."""
        right, top = self.reference[0], point[1]
        floor = self.points[end][1] if end < len(self.points) else self.reference[1]
        left = self.points[start - 1][0] if start else right
        area = _clipped(point[0], max(left, right)) * _clipped(top, max(floor, self.reference[1]))
        for i in range(start, end):  # what the removed steps had of that rectangle
            below = self.points[i + 1][1] if i + 1 < end else floor
            width = _clipped(self.points[i][0], max(left, right))
            area -= width * _clipped(self.points[i][1], max(below, self.reference[1]))
        return area

    def _add_to_many(self, point: tuple[float, ...]) -> bool:
        known = np.array(self.points).reshape(-1, len(point))
        if (known >= point).all(axis=1).any():
            return False
        kept = np.flatnonzero(~(known <= point).all(axis=1))
        self.points = sorted([*(self.points[i] for i in kept), point])
        return True


def dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Pareto dominance where larger is better: nowhere worse, somewhere better."""
    return all(a >= b for a, b in zip(first, second, strict=True)) and first != second


def non_dominated(points: Sequence[tuple[float, ...]]) -> set[int]:
    """Indices of the points that no other one dominates, where larger is better; equal points stay together.

    A point is dominated only by one that comes lexicographically later, so one pass from the largest down compares
    each point with the front found so far: O(n log n + n x front).
    """
    if not points:
        return set()
    values = np.array(points, dtype=float)
    known = np.empty_like(values)  # the front so far, in the order in which it was found
    front: list[int] = []
    for i in np.lexsort(values.T[::-1])[::-1].tolist():
        above = (known[: len(front)] >= values[i]).all(axis=1)
        if not above.any() or (known[: len(front)][above] == values[i]).all():
            known[len(front)] = values[i]
            front.append(i)
    return set(front)


def pareto_mask(targets: np.ndarray) -> np.ndarray:
    """Which rows no other row dominates (n x m, larger is better); equal rows are all kept."""
    above = (targets[:, None] >= targets).all(axis=-1) & (targets[:, None] > targets).any(axis=-1)
    return np.asarray(~above.any(axis=0))


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> float:
    """Volume that n x m points dominate above a reference, by pymoo; 0 without points."""
    if not len(points):
        return 0.0
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=-np.asarray(reference, dtype=float))(-np.asarray(points, dtype=float)))


def _clipped(value: float, low: float) -> float:
    return max(0.0, value - low)
