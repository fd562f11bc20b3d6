"""Whether predictive distributions keep what they promise, and how to make them.

Everywhere ``targets`` are n observed values, ``mean`` and ``variance`` the n moments of their normal predictions (the
variance that of an observation, noise included), in the same units.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri


def nlpd(targets: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """Mean negative log predictive density of normal predictions, in nats."""
    return float(np.mean(0.5 * np.log(2 * math.pi * variance) + 0.5 * (targets - mean) ** 2 / variance))


def spearman(mean: np.ndarray, targets: np.ndarray) -> float:
    """Spearman's rank correlation of predictions with targets; NaN where either are all equal."""
    from scipy.stats import spearmanr

    constant = np.ptp(mean) == 0 or np.ptp(targets) == 0
    return float("nan") if constant else float(spearmanr(mean, targets).statistic)


def coverage(targets: np.ndarray, mean: np.ndarray, variance: np.ndarray, level: float = 0.9) -> float:
    """Share of targets within their central intervals of probability ``level``."""
    reach = ndtri(0.5 + level / 2) * np.sqrt(variance)
    return float(np.mean(np.abs(targets - mean) <= reach))


def interval_factor(targets: np.ndarray, mean: np.ndarray, variance: np.ndarray, level: float = 0.9) -> float:
    """By what deviations must be multiplied so that intervals of this level cover as much as they say.

    From predictions of targets that their model has not seen, such as leave-one-out ones: the ``level`` quantile of
    the standardised errors with the finite-sample correction of conformal prediction, ``ceil((n + 1) level)``-th
    smallest (Vovk et al. 2005; with leave-one-out residuals, the jackknife of Barber et al. 2021), over the normal
    quantile. 1 when there are too few targets to tell.
    """
    errors = np.sort(np.abs(targets - mean) / np.sqrt(variance))
    rank = math.ceil((len(errors) + 1) * level)
    return float(errors[rank - 1] / ndtri(0.5 + level / 2)) if rank <= len(errors) else 1.0
