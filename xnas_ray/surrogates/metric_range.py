"""Values that a metric can have by what it is, whatever a predictor says."""

from __future__ import annotations

import math

import numpy as np

RANGES = {
    "accuracy": (0.0, 100.0),
    "error": (0.0, 100.0),
    "r2": (-math.inf, 1.0),
    "mse": (0.0, math.inf),
    "flops": (0.0, math.inf),
    "params": (0.0, math.inf),
    "ms": (0.0, math.inf),
    "gap": (-100.0, 100.0),
    "entropy": (0.0, math.inf),
    "agreement": (0.0, 1.0),
}
"""Least and largest value, by the last word of a metric's name."""


def value_range(name: str, observed: np.ndarray) -> tuple[float, float]:
    """Least and largest value of a metric, infinite where nothing is known of it.

    Accuracies of which none is above 1 are fractions. Where something was observed beyond an end, the metric is not
    what its name says, and that end is infinite.

    Args:
        name: of the metric.
        observed: values of it, float64 [n].
    """
    word = name.rsplit("_", 1)[-1]
    low, high = RANGES.get(word, (-math.inf, math.inf))
    if not observed.size:
        return low, high
    if word == "accuracy" and observed.max() <= 1:  # an error below 1 may well be one of a percent
        high = 1.0
    return (low if observed.min() >= low else -math.inf), (high if observed.max() <= high else math.inf)
