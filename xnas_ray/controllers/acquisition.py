"""Acquisition functions: how much it is worth to evaluate a candidate, from its posterior mean and deviation."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: np.ndarray | float) -> np.ndarray:
    """``log E[max(0, y - best)]`` of ``y ~ N(mean, deviation²)``, finite however unlikely an improvement is.

    Expected improvement underflows to 0 where the mean is some tens of deviations below the best, which leaves its
    maximiser without an order among most candidates; its logarithm does not (Ament et al., NeurIPS 2023).

    Args:
        mean: of every candidate, or S x N.
        deviation: standard deviations above 0, of the same shape or broadcast to it.
        best: what has to be improved on.
    """
    z = (mean - best) / deviation
    return _log_improvement(z) + np.log(deviation)


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: np.ndarray | float) -> np.ndarray:
    """``E[max(0, y - best)]`` (Jones, Schonlau & Welch 1998); 0 where it underflows. Shapes as above."""
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2 - _LOG_SQRT_2PI)
    return np.maximum(deviation * (density + z * ndtr(z)), 0.0)


def log_probability_above(mean: np.ndarray, deviation: np.ndarray, limit: float) -> np.ndarray:
    """``log P(y >= limit)`` of ``y ~ N(mean, deviation²)``, element by element (Gardner et al., ICML 2014)."""
    return np.asarray(log_ndtr((mean - limit) / deviation))


def _log_improvement(z: np.ndarray) -> np.ndarray:
    """``log(φ(z) + z Φ(z))``: directly from -1 on, below as ``φ(z) (1 - |z| M(|z|))`` with Mills' ratio M."""
    z = np.asarray(z, dtype=np.float64)
    high = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * high**2 - _LOG_SQRT_2PI) + high * ndtr(high))
    low = np.minimum(z, -1.0)
    # 1 - |z| M(|z|) loses all digits to cancellation far out, where it is 1/z² (1 - 3/z² + 15/z⁴ ...).
    mills = -low * math.sqrt(math.pi / 2) * erfcx(-low / math.sqrt(2))
    inverse = 1.0 / low**2
    series = inverse * (1 - 3 * inverse * (1 - 5 * inverse * (1 - 7 * inverse * (1 - 9 * inverse))))
    tail = np.log(np.where(low < -50.0, series, np.maximum(1.0 - mills, 1e-300)))
    return np.where(z > -1.0, direct, -0.5 * low**2 - _LOG_SQRT_2PI + tail)
