"""Several objectives as one: random hypervolume scalarisation, and what improving it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, logsumexp

from xnas_ray.pareto import pareto_mask

_NODES = 48
_REACH = 1e-4, 30.0  # of the quadrature, in prior standard deviations of the targets


@dataclass(frozen=True, slots=True)
class Scalarisation:
    """``s(y) = min_i max(0, y_i - ref_i) / λ_i`` for a random direction λ.

    The mean of ``s(y)^m`` over directions that are uniform on the positive part of the sphere is the volume that y
    dominates above ``ref``, so that maximising one direction after the other maximises the hypervolume (Zhang &
    Golovin, "Random hypervolume scalarizations", ICML 2020).

    Attributes:
        reference: m targets, what is no better in one of them counts nothing.
        direction: λ, m positive numbers.
    """

    reference: np.ndarray
    direction: np.ndarray

    @classmethod
    def draw(cls, targets: np.ndarray, rng: np.random.Generator) -> Scalarisation:
        """A random direction; the reference lies a tenth of the front's range below its worst values.

        Args:
            targets: what was observed, n x m, larger is better.
            rng: draws the direction.
        """
        direction = np.abs(rng.standard_normal(targets.shape[1])) + 1e-3
        return cls(reference_point(targets), direction / np.linalg.norm(direction))

    def value(self, targets: np.ndarray) -> np.ndarray:
        """S of every row (..., m); negative where the reference is not dominated, so that candidates stay ordered."""
        return np.min((targets - self.reference) / self.direction, axis=-1)

    def log_expected_improvement(self, mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
        """``log E[max(0, s(y) - best)]`` of independent normal objectives, finite however unlikely.

        ``E[max(0, s - b)]`` is the integral of ``P(s > u) = Π_i Φ((mean_i - ref_i - λ_i u) / deviation_i)`` over
        u > b, taken by the trapezoidal rule on nodes that are evenly spaced in ``log(u - b)``.

        Args:
            mean: m x N.
            deviation: m x N, above 0.
            best: b, at least 0.
        """
        steps = np.geomspace(*_REACH, _NODES)
        weights = np.log(np.gradient(steps))
        total = np.full((_NODES, mean.shape[1]), 0.0)
        for i, length in enumerate(self.direction):
            limits = self.reference[i] + length * (best + steps)
            total += log_ndtr((mean[i] - limits[:, None]) / deviation[i])
        return np.asarray(logsumexp(total + weights[:, None], axis=0))


def reference_point(targets: np.ndarray) -> np.ndarray:
    """A tenth of the front's range below its worst values; a tenth of a standard deviation where it has no range."""
    front = targets[pareto_mask(targets)]
    worst, extent = front.min(axis=0), np.ptp(front, axis=0)
    return np.asarray(worst - 0.1 * np.where(extent > 1e-9, extent, 1.0))


def best_rows(targets: np.ndarray, count: int) -> list[int]:
    """The ``count`` best rows: those of the front, then of the front without them, and so on; earlier rows first."""
    found: list[int] = []
    left = np.arange(len(targets))
    while left.size and len(found) < count:
        front = pareto_mask(targets[left])
        found.extend(int(i) for i in left[front])
        left = left[~front]
    return found[:count]
