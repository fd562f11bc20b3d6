"""Which trials are better: signs of objectives, Pareto dominance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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
