"""What outcomes say to NARS: curves of the first objective, the epoch at which later candidates stop, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.early_stopping import stopping_epoch
from xnas_ray.messages import Genotype, Outcome, TrialStatus
from xnas_ray.spaces.base import Space

COMPLEMENTS = {"val_error": "val_accuracy"}
"""Objectives in percent that curves do not have, and of which metric they are the rest to 100."""


def curve(outcome: Outcome, goal: Goal) -> np.ndarray | None:
    """The objective after each epoch, with the sign that makes larger better; None where an epoch lacks it."""
    complement = COMPLEMENTS.get(goal.name)
    sign = 1.0 if goal.maximize else -1.0
    values = []
    for record in outcome.curve:
        if goal.name in record:
            values.append(sign * record[goal.name])
        elif complement is not None and complement in record:
            values.append(sign * (100.0 - record[complement]))
        else:
            return None
    return np.array(values) if values else None


def reading(outcome: Outcome, goal: Goal, epoch: int | None) -> float | None:
    """The objective of a completed trial after an epoch, with the sign that makes larger better.

    Args:
        outcome: completed.
        goal: the objective.
        epoch: 1-based; None for the end of its training.

    Returns:
        None where the trial did not come that far, or went further and has no curve that says what it was then.
    """
    if epoch is None or outcome.candidate.fidelity == epoch:
        return goal.signed(outcome.metrics)
    values = curve(outcome, goal)
    return None if values is None or len(values) < epoch else float(values[epoch - 1])


def percent_scale(values: np.ndarray) -> float:
    """What labels are multiplied with so that the predictor's unit, a percentage point, fits them.

    1 for percentages and anything else beyond [-1, 1]; 100 for fractions, and again as often as they stay that small.
    """
    largest = float(np.abs(values).max(initial=0.0))
    scale = 1.0
    while 0 < largest * scale <= 1 and scale < 1e12:
        scale *= 100.0
    return scale


def clipped(values: np.ndarray, spared: float = 0.0) -> np.ndarray:
    """Labels of which the poor ones are equally poor: those below ``median - (max - median)`` have that value.

    A network at the level of chance, as a learning rate that is too high leaves it, is tens of points from all others,
    which are within a few of each other. Unclipped, a few of them set the scale in which the predictor sees the rest.
    ``surrogates.targets.TargetScale`` clips likewise. Where half of the labels are at chance, nothing is clipped.

    In a search that has found many good networks the median comes close to the best, and what is below it by more than
    that may be all the small networks, which are no failures: without them nothing is known of small budgets. Hence
    ``spared``.

    Args:
        values: with the sign that makes larger better, float64 [n].
        spared: labels that are no further than that below the median stay as they are.
    """
    if not len(values):
        return values
    median = float(np.median(values))
    return np.maximum(values, median - max(float(values.max()) - median, spared))


@dataclass(frozen=True)
class Labels:
    """What a predictor learns from, one a key.

    Attributes:
        genotypes: n, in the order in which they were first told.
        values: of each, with the sign that makes larger better, float64 [n].
    """

    genotypes: tuple[Genotype, ...]
    values: np.ndarray

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.genotypes)

    def at(self, places: np.ndarray) -> Labels:
        """Some of them, int [m], in that order."""
        return Labels(tuple(self.genotypes[place] for place in places.tolist()), self.values[places])

    @classmethod
    def read(cls, outcomes: Sequence[Outcome], space: Space, goal: Goal, epoch: int | None) -> Labels:
        """Labels of the trials that completed, all read at the same epoch.

        Failed trials have none. One that was trained twice, up to ``epoch`` and further, has one label.

        Args:
            outcomes: in the order of the tells.
            space: says what is the same architecture and recipe.
            goal: the objective.
            epoch: see ``reading``.
        """
        found: dict[str, tuple[Genotype, float]] = {}
        for outcome in outcomes:
            value = reading(outcome, goal, epoch) if outcome.status == TrialStatus.COMPLETED else None
            if value is not None:
                genotype = outcome.candidate.genotype
                found.setdefault(space.key(genotype), (genotype, value))
        genotypes = tuple(genotype for genotype, _ in found.values())
        return cls(genotypes, np.array([value for _, value in found.values()], dtype=np.float64))


class EarlyStopping:
    """The epoch at which later candidates stop: where curves first tell how they will end.

    The first ``wanted`` complete curves that are told decide, once: the epoch is a function of them alone. Until then
    every candidate trains to its end, so it does not matter to which round they belong.

    Args:
        goal: the objective.
        fidelity: epochs of a complete curve.
        wanted: curves, at least 3; 0 where nothing is to be stopped.
        threshold: least rank correlation with the end (``early_stopping.stopping_epoch``).

    Attributes:
        curves: those that decide, with the sign that makes larger better.
        epoch: 1-based; None until it is decided, and where candidates had to train to their end.
        decided_at: outcomes that had been told when it was; None before.
    """

    def __init__(self, goal: Goal, fidelity: int, wanted: int, threshold: float) -> None:
        """Nothing is decided yet."""
        self.goal = goal
        self.fidelity = fidelity
        self.wanted = wanted if fidelity > 1 else 0
        self.threshold = threshold
        self.curves: list[np.ndarray] = []
        self.epoch: int | None = None
        self.decided_at: int | None = None

    def learn(self, outcome: Outcome, told: int) -> None:
        """Take a curve, unless it is incomplete or enough are there.

        Args:
            outcome: completed or failed.
            told: outcomes that have been told, this one included.
        """
        if len(self.curves) >= self.wanted or outcome.status != TrialStatus.COMPLETED:
            return
        values = curve(outcome, self.goal)
        if values is None or len(values) != self.fidelity or outcome.candidate.fidelity != self.fidelity:
            return
        self.curves.append(values)
        if len(self.curves) == self.wanted:
            self.decided_at = told
            epoch = stopping_epoch(np.array(self.curves), self.threshold)
            self.epoch = epoch if epoch < self.fidelity else None

    def epoch_at(self, told: int) -> int | None:
        """The epoch as it was known when so many outcomes had been told."""
        return self.epoch if self.decided_at is not None and self.decided_at <= told else None
