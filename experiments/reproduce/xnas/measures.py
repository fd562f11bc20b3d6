"""What searches are compared by: the share of an exact front that they find, and how certain a mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from xnas_ray.pareto import Front


class ExactFront:
    """The front of all classes of a table; the reference is the worst of either objective.

    Args:
        points: n x 2, of all classes; larger is better.

    Attributes:
        points: the same.
        front: the non-dominated ones.
    """

    def __init__(self, points: np.ndarray) -> None:
        """Find the front."""
        self.points = points
        self.front = self._front(points)

    def share(self, points: Sequence[Sequence[float]] | np.ndarray) -> float:
        """Share of the exact front's hypervolume that these points dominate."""
        return self._front(points).hypervolume / self.front.hypervolume

    def _front(self, points: Sequence[Sequence[float]] | np.ndarray) -> Front:
        front = Front(self.points.min(axis=0).tolist())
        for point in points:
            front.add(point)
        return front


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean by Student's t; both are the mean where there is no spread."""
    if len(values) > 1 and values.std() > 0:
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), values.sem())
        return float(low), float(high)
    return float(values.mean()), float(values.mean())
