"""What a predictor learns of labels, and what it says in the unit of the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nars_labels import Labels, clipped, percent_scale
from xnas_ray.surrogates.metric_range import value_range

if TYPE_CHECKING:
    from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor

SPARED = 0.1
"""Of the range of a metric, ten points of accuracy: labels that close below the median are not poor."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The objective's unit, beside the predictor's: percentage points, of which more are better.

    A predictor adds up what it has learnt of columns, so that it may say 103 % of what has the best of all. That is no
    accuracy, but it ranks: architectures are ranked by what the predictor says, and what is stated is for people.

    Attributes:
        maximize: direction of the objective.
        scale: what labels are multiplied with to be percentages.
        low: least value that the objective can have.
        high: largest one.
    """

    maximize: bool = True
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    def stated(self, means: np.ndarray, stds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions as values that the objective can have, and their standard deviations, in its unit.

        Args:
            means: as the predictor gives them, float64 [n].
            stds: likewise.
        """
        values = (means if self.maximize else -means) / self.scale
        return np.clip(values, self.low, self.high), stds / self.scale


def learn(predictor: AccuracyPredictor, labels: Labels, goal: Goal, *, clip: bool) -> Unit:
    """Fit a predictor to labels: NARS' own and that of designs are fitted alike.

    Args:
        predictor: pretrained or not.
        labels: at least one.
        goal: what they measure.
        clip: whether poor ones are equally poor (``nars_labels.clipped``).

    Returns:
        The unit of its predictions.
    """
    low, high = value_range(goal.name, labels.values if goal.maximize else -labels.values)
    spared = SPARED * (high - low) if math.isfinite(high - low) else 0.0
    values = clipped(labels.values, spared) if clip else labels.values
    scale = percent_scale(values)
    predictor.fit(labels.genotypes, values * scale)
    return Unit(goal.maximize, scale, low, high)
