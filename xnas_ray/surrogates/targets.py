"""From a metric's values to what a Gaussian process models, and back."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from xnas_ray.errors import SpecError
from xnas_ray.surrogates.metric_range import value_range

Transform = Literal["auto", "identity", "log", "log_error", "ranks"]
TRANSFORMS: tuple[Transform, ...] = ("auto", "identity", "log", "log_error", "ranks")

PERFECT = ("accuracy", "r2")
"""Last words of the names of metrics whose largest value is a perfect model's."""

POOR = 0.25
"""Of ranks, the share that clipping makes equally poor."""


@dataclass(frozen=True, slots=True)
class TargetScale:
    """A monotone map from a metric to standardised targets, where larger is better.

    - ``log_error``: ``-log(error)`` of metrics with a best possible value, such as accuracies in percent; NAS-BOWL's.
    - ``log``: ``-log(value)`` of metrics that are minimised and not negative (errors, times, sizes).
    - ``ranks``: normal scores, ``Φ⁻¹((rank - 1/2) / n)``; it asks nothing of the metric and follows the search: where
      it has found many good architectures it tells them apart, however little they differ.

    Clipping makes the poor tail equally poor: values below ``median - (max - median)``, of ranks the poorest quarter.
    Otherwise architectures that do not train at all set the scale of everything.

    Attributes:
        transform: one of them, or ``"identity"``.
        maximize: direction of the metric.
        bound: ``log_error``: the best possible value.
        floor: ``log`` and ``log_error``: smallest value of the logarithm's argument.
        knots: ``ranks``: observed values with the sign that makes larger better, ascending.
        scores: ``ranks``: the normal score of each.
        worst: transformed value of failed trials.
        lowest: smallest transformed value, -inf without clipping.
        mean: of the transformed values.
        spread: their standard deviation, 1 when they are all equal.
    """

    transform: Transform
    maximize: bool
    bound: float = math.inf
    floor: float = 0.0
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    worst: float = 0.0
    lowest: float = -math.inf
    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def fit(
        cls,
        values: Sequence[float | None],
        *,
        name: str,
        maximize: bool,
        transform: Transform = "auto",
        clip: bool = True,
    ) -> TargetScale:
        """The scale of observed values.

        Args:
            values: of the metric, None for failed trials; at least one is a number.
            name: of the metric: ``auto`` takes ``log_error`` for names that end in a word of ``PERFECT``, where larger
                is better, ``log`` for values that are not negative where smaller is better, else ``identity``.
            maximize: direction of the metric.
            transform: which one.
            clip: whether the poor tail is clipped.
        """
        observed = np.array([value for value in values if value is not None], dtype=np.float64)
        bound = _bound(name, observed)
        if transform == "auto":
            transform = _choose(observed, maximize, bound)
        if transform == "log_error" and not maximize:
            transform = "log"
        if transform == "ranks":
            raw = _ranked(values, maximize)
        else:
            raw = _parametric(observed, transform, maximize, 100.0 if bound is None else bound)
        transformed = raw._transformed(observed)
        lowest = -math.inf
        if clip:
            median, top = float(np.median(transformed)), float(transformed.max())
            lowest = float(ndtri(POOR)) if transform == "ranks" else median - (top - median)
        worst = raw.worst if transform == "ranks" else float(transformed.min())
        made = dataclasses.replace(raw, lowest=lowest, worst=lowest if clip else worst)
        kept = made._filled(values)
        spread = float(kept.std())
        return dataclasses.replace(made, mean=float(kept.mean()), spread=spread if spread > 1e-12 else 1.0)

    @property
    def ratios(self) -> bool:
        """Whether differences of targets are ratios of the metric, or of its error."""
        return self.transform in ("log", "log_error")

    def standardise(self, values: Sequence[float | None] | np.ndarray) -> np.ndarray:
        """Targets of a metric's values; failed trials, None, get the poorest one."""
        return (self._filled(values) - self.mean) / self.spread

    def metric(self, targets: np.ndarray) -> np.ndarray:
        """Values of the metric that have these targets; quantiles map onto quantiles."""
        transformed = self.mean + self.spread * np.asarray(targets, dtype=np.float64)
        if self.transform == "log_error":
            return self.bound - np.exp(-transformed)
        if self.transform == "log":
            return np.exp(-transformed)
        if self.transform == "ranks":
            transformed = _interpolated(transformed, np.array(self.scores), np.array(self.knots))
        return transformed if self.maximize else -transformed

    def _transformed(self, values: np.ndarray) -> np.ndarray:
        if self.transform == "log_error":
            return -np.log(np.maximum(self.bound - values, self.floor))
        if self.transform == "log":
            return -np.log(np.maximum(values, self.floor))
        signed = values if self.maximize else -values
        if self.transform == "ranks":
            return _interpolated(signed, np.array(self.knots), np.array(self.scores))
        return signed

    def _filled(self, values: Sequence[float | None] | np.ndarray) -> np.ndarray:
        failed = np.array([value is None for value in values], dtype=bool)
        known = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
        return np.where(failed, self.worst, np.maximum(self._transformed(known), self.lowest))


def check_transform(value: object, field: str) -> Transform:
    """The transform of that name.

    Raises:
        SpecError: there is none.
    """
    for name in TRANSFORMS:
        if value == name:
            return name
    raise SpecError(f"there is no transform {value!r}.", field=field, got=value, valid=TRANSFORMS)


def _bound(name: str, observed: np.ndarray) -> float | None:
    bound = value_range(name, observed)[1] if name.rsplit("_", 1)[-1] in PERFECT else math.inf
    return bound if math.isfinite(bound) else None


def _choose(observed: np.ndarray, maximize: bool, bound: float | None) -> Transform:
    if maximize:
        return "identity" if bound is None else "log_error"
    return "log" if observed.size and observed.min() >= 0 and observed.max() > 0 else "identity"


def _parametric(observed: np.ndarray, transform: Transform, maximize: bool, bound: float) -> TargetScale:
    arguments = bound - observed if transform == "log_error" else observed
    positive = arguments[arguments > 0]
    # Half the smallest that was seen: a perfect score is better than the best one before it, not infinitely so.
    # Half of the smallest numbers there are would be zero.
    floor = max(0.5 * float(positive.min()), sys.float_info.min) if positive.size else 1e-6
    return TargetScale(transform, maximize, bound=bound if transform == "log_error" else math.inf, floor=floor)


def _ranked(values: Sequence[float | None], maximize: bool) -> TargetScale:
    """Normal scores; failed trials share the lowest ranks."""
    signed = np.array([-math.inf if v is None else (v if maximize else -v) for v in values], dtype=np.float64)
    knots, counts = np.unique(signed, return_counts=True)
    ranks = np.cumsum(counts) - 0.5 * (counts - 1)  # the mean rank of equal values
    scores = ndtri((ranks - 0.5) / len(signed))
    known = np.isfinite(knots)
    return TargetScale(
        "ranks",
        maximize,
        knots=tuple(knots[known].tolist()),
        scores=tuple(scores[known].tolist()),
        worst=float(scores[0]),
    )


def _interpolated(x: np.ndarray, knots: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The increasing piecewise linear function through some points.

    Beyond them it goes on with the slopes of its outer quarters.
    """
    found = np.interp(x, knots, heights)
    last, quarter = len(knots) - 1, max(len(knots) // 4, 1)
    if last < 1:
        return found
    lower = (heights[quarter] - heights[0]) / max(knots[quarter] - knots[0], 1e-12)
    upper = (heights[last] - heights[last - quarter]) / max(knots[last] - knots[last - quarter], 1e-12)
    return np.asarray(found + lower * np.minimum(x - knots[0], 0.0) + upper * np.maximum(x - knots[last], 0.0))
