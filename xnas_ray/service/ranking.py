"""Which trials are better: signs of objectives, and the volume that a search has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xnas_ray.pareto import Front

SCALE_POINTS = 10
SCALE_MARGIN = 0.1
"""Of the reference point beyond the box of the first points, so that its corners count."""


def signed_objectives(metrics: Mapping[str, float], objectives: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The objectives of a trial with the sign that makes larger better."""
    return tuple(metrics[o["name"]] if o["maximize"] else -metrics[o["name"]] for o in objectives)


class DominatedVolume:
    """The hypervolume of a growing front, in a scale that does not change while a search goes on.

    The box between the worst and the best values of the first ten points has volume 1 and its worst corner, moved out
    by a tenth of the box, is the reference: the same points in the same order, as a restarted service reads them back,
    give the same volumes.
    """

    def __init__(self) -> None:
        """No point yet."""
        self._first: list[tuple[float, ...]] = []
        self._front: Front | None = None
        self._box = 1.0

    def add(self, point: tuple[float, ...]) -> None:
        """A point whose objectives are all to be maximised."""
        if self._front is not None:
            self._front.add(point)
            return
        self._first.append(point)
        if len(self._first) == SCALE_POINTS:
            first = np.array(self._first)
            extent = np.where(np.ptp(first, axis=0) > 0, np.ptp(first, axis=0), 1.0)
            front = Front((first.max(axis=0) - (1 + SCALE_MARGIN) * extent).tolist())
            for each in self._first:
                front.add(each)
            self._box, self._front = float(extent.prod()), front

    def value(self) -> float | None:
        """The volume, None before the tenth point; may be asked in another thread."""
        return None if self._front is None else self._front.hypervolume / self._box
