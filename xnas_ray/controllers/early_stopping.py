"""After how many epochs the ranking of networks is known: the early stopping of FBNetV3's search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from xnas_ray.errors import SpecError

THRESHOLD = 0.92
FEWEST = 3


def stopping_epoch(curves: Sequence[Sequence[float]] | np.ndarray, threshold: float = THRESHOLD) -> int:
    """First epoch from which on networks rank as they do at the end (Dai et al., CVPR 2021, section 3.3).

    That is the first epoch e such that the Spearman correlation of the accuracies after e and after the last epoch is
    at least ``threshold``, and stays so: a ranking that is lost again was not known. The published search trained
    for 103 and 108 of 150 epochs, at a threshold of 0.92.

    There is no reason to stop early, and the last epoch is returned, where fewer than three curves are whole (any
    two rank alike or opposite) and where all are equal in the last epoch.

    Args:
        curves: accuracy of every network after every epoch, n x epochs. Whether more is better does not matter.
            Curves may be of unequal length or have gaps, which are NaN; only whole ones count, since a network that
            did not arrive at the last epoch has no place in the ranking.
        threshold: above 0, at most 1.

    Returns:
        An epoch, counted from 1; 0 only if there is none.

    Raises:
        SpecError: the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise SpecError(f"must be above 0 and at most 1, got {threshold!r}.", field="threshold")
    below = np.flatnonzero(rank_correlations(curves) < threshold - 1e-12)  # equal ranks may correlate at 1 - 2e-16
    return min(int(below[-1]) + 2 if below.size else 1, _longest(curves))


def rank_correlations(curves: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Spearman correlation of every epoch with the last one, over the whole curves: one value an epoch.

    Equal accuracies share the mean of their ranks. An epoch in which all networks are equal ranks nothing: 0, the last
    epoch included. With fewer than three whole curves every value is 0.

    Args:
        curves: as for ``stopping_epoch``.
    """
    length = _longest(curves)
    whole = np.array([curve for curve in curves if len(curve) == length and np.isfinite(curve).all()], dtype=np.float64)
    if len(whole) < FEWEST or not length:
        return np.zeros(length)
    ranks = rankdata(whole, axis=0)
    ranks -= ranks.mean(axis=0)
    size = np.sqrt((ranks**2).sum(axis=0))
    products = ranks.T @ ranks[:, -1]
    return np.divide(products, size * size[-1], out=np.zeros(length), where=size * size[-1] > 0)


def _longest(curves: Sequence[Sequence[float]] | np.ndarray) -> int:
    """Number of epochs of the longest curve."""
    return max((len(curve) for curve in curves), default=0)
