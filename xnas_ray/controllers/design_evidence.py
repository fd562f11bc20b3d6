"""What designs rest on: the labels of a search, and how well a predictor that has learnt some predicts the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nars_labels import Labels, reading
from xnas_ray.controllers.nars_predictions import Unit
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
from xnas_ray.surrogates.calibration import interval_factor, spearman

FOLDS = 5
LEVEL = 0.6827
"""Probability of one standard deviation of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a search: its labels, and the trial that each of them is of.

    Attributes:
        labels: of the completed trials, one a key.
        trials: number of each.
        failed: keys of the architectures that failed and never completed.
        goal: what the labels measure.
        epoch: after which they were read; None for the end of each training.
    """

    labels: Labels
    trials: tuple[int, ...]
    failed: frozenset[str]
    goal: Goal
    epoch: int | None

    @classmethod
    def read(cls, outcomes: Sequence[Outcome], space: Space, goal: Goal, epoch: int | None) -> Evidence:
        """The evidence of a search's outcomes.

        Args:
            outcomes: in the order of the tells.
            space: that was searched.
            goal: the objective.
            epoch: see ``nars_labels.reading``.
        """
        trials: dict[str, int] = {}
        failed: set[str] = set()
        for outcome in outcomes:
            key = space.key(outcome.candidate.genotype)
            if outcome.status == TrialStatus.FAILED:
                failed.add(key)
            elif outcome.status == TrialStatus.COMPLETED and reading(outcome, goal, epoch) is not None:
                trials.setdefault(key, outcome.trial)
        labels = Labels.read(outcomes, space, goal, epoch)
        return cls(labels, tuple(trials.values()), frozenset(failed - trials.keys()), goal, epoch)

    def measured(self, place: int) -> float:
        """A label as the objective was measured."""
        value = float(self.labels.values[place])
        return value if self.goal.maximize else -value


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well the predictor predicts labels that it was not fitted to.

    Attributes:
        folds: parts of the labels, each predicted from all others.
        spearman: rank correlation of predictions and labels; NaN where one of them does not vary.
        error: mean absolute error, in the unit of the objective, of predictions as they are stated.
        baseline: of predicting the mean of the other labels instead.
        factor: what the members' standard deviation is multiplied with so that ``LEVEL`` of the labels are within it.
    """

    folds: int
    spearman: float
    error: float
    baseline: float
    factor: float


def cross_validated(
    fit: Callable[[np.ndarray], Unit], predictor: AccuracyPredictor, labels: Labels, rng: np.random.Generator
) -> HeldOut:
    """Predict every label from those of the other folds.

    Members that learn from the same labels agree too much: a fifth to a third of other labels are within their
    standard deviation (``experiments/reproduce/nars/trust.py``). Held-out labels say how much too much
    (``calibration.interval_factor``).

    Args:
        fit: fits the predictor to the labels at some places, and tells the unit of what it predicts.
        predictor: that is fitted.
        labels: n.
        rng: deals them to the folds.
    """
    count = len(labels)
    folds, order = min(FOLDS, count), rng.permutation(count)
    ranked, stated, spread, mean = np.empty((4, count))
    for fold in range(folds):
        out = order[fold::folds]
        known = np.setdiff1d(np.arange(count), out)
        unit = fit(known)
        means, stds = predictor.predict([labels.genotypes[place] for place in out.tolist()])
        values, spread[out] = unit.stated(means, stds)
        ranked[out], stated[out] = means / unit.scale, values if unit.maximize else -values
        mean[out] = labels.values[known].mean()
    error, baseline = (float(np.abs(guess - labels.values).mean()) for guess in (stated, mean))
    factor = interval_factor(labels.values, stated, spread**2, LEVEL) if (spread > 0).all() else 1.0
    return HeldOut(folds, spearman(ranked, labels.values), error, baseline, factor)
