"""NARS' pool with its predictor: what a round knows, and how it ranks what could be asked next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nars_labels import Labels
from xnas_ray.controllers.nars_pool import Pool
from xnas_ray.controllers.nars_predictions import Unit, learn
from xnas_ray.controllers.nars_region import Region
from xnas_ray.controllers.nars_settings import Settings
from xnas_ray.controllers.parameters import FIELD
from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype, Outcome
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import DataShape, Space

if TYPE_CHECKING:
    from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor

LEAST_LABELS = 4
"""Fewer teach a predictor nothing worth following."""
LEAST_PRETRAINING = 5
"""Architectures that the predictor's proxy head wants at least."""

EVALUATED = 50
"""Best evaluated architectures in the start of an evolution (p of Algorithm 1)."""
DRAWN = 50
"""Random ones beside them (q)."""

_POOL = 10  # the counter of its stream of random numbers


@dataclass(frozen=True)
class Round:
    """What a round goes by.

    Attributes:
        number: from 0; batches of winners count on.
        told: outcomes that it knows.
        epoch: at which their labels are read, None for the end of the training.
        labels: of the outcomes.
        unit: of what is predicted; it says nothing where nothing is.
        scores: of the pool, larger is better, float64 [n]; None where nothing is predicted.
    """

    number: int
    told: int
    epoch: int | None
    labels: Labels
    unit: Unit = field(default_factory=Unit)
    scores: np.ndarray | None = None


class RankedPool:
    """A pool, what of it was asked for, and the predictor that ranks it.

    Args:
        pool: what is ranked.
        region: its space and constraints.
        predictor: pretrained.
        settings: of the controller.

    Attributes:
        asked: up to which epoch each was asked for, int [n]; 0 for never.
        bins: the bin of each.
    """

    def __init__(self, pool: Pool, region: Region, predictor: AccuracyPredictor, settings: Settings) -> None:
        """Nothing was asked for."""
        self.pool = pool
        self.region = region
        self.predictor = predictor
        self.settings = settings
        self.asked = np.zeros(len(pool), dtype=np.int64)
        self.bins = pool.bins(settings.bins)
        self._rows: np.ndarray | None = None

    @classmethod
    def draw(cls, space: Space, settings: Settings, shape: DataShape, seed: int) -> RankedPool:
        """Draw the pool of a space and pretrain a predictor on it.

        Raises:
            SpecError: a limit of ``budgets`` is below all of the pool.
        """
        region = Region(space, shape)
        pool = Pool.draw(region, settings.pool, rng(seed, Domain.POOL, _POOL))
        for budget in settings.budgets:
            if len(pool) and budget < pool.flops.min():
                raise SpecError(
                    f"none of {len(pool):,} architectures has at most {budget:g} FLOPs.",
                    field=f"{FIELD}.budgets",
                    fix=f"Give at least {int(pool.flops.min()):,}, loosen the constraints, or enlarge pool.",
                )
        predictor = pretrained(pool, region, seed=seed, members=settings.members, frozen=settings.frozen)
        return cls(pool, region, predictor, settings)

    def plan(self, number: int, outcomes: Sequence[Outcome], goal: Goal, epoch: int | None) -> Round:
        """Fit the predictor to what was told, and rank the pool; the first round and few labels rank nothing.

        Args:
            number: of the round.
            outcomes: what it knows, in the order of the tells.
            goal: the objective.
            epoch: at which labels are read.
        """
        labels = Labels.read(outcomes, self.region.space, goal, epoch)
        if number == 0 or len(labels) < LEAST_LABELS or not len(self.pool):
            return Round(number, len(outcomes), epoch, labels)
        unit = learn(self.predictor, labels, goal, clip=self.settings.clip)
        scores = self.scores(*self.predictor.predict(self.pool.genotypes))
        return Round(number, len(outcomes), epoch, labels, unit, scores)

    def scores(self, means: np.ndarray, stds: np.ndarray) -> np.ndarray:
        """What predictions are worth: their means, less ``caution`` standard deviations."""
        return means - self.settings.caution * stds

    def distances(self, places: np.ndarray) -> np.ndarray:
        """Squared distances of some places from the nearest one that was asked for; equal when none was."""
        if self._rows is None:
            self._rows = self.predictor.encoding.encode(self.pool.genotypes)
        asked = self._rows[self.asked > 0]
        if not len(asked):
            return np.zeros(len(places))
        apart = self._rows[places][:, None, :] - asked[None, :, :]
        return np.asarray((apart**2).sum(axis=2).min(axis=1))

    def start(self, labels: Labels, most_flops: float | None, rng: np.random.Generator) -> list[Genotype]:
        """Where an evolution starts under a limit of FLOPs, None for none beside the search's constraints."""
        within = np.ones(len(self.pool), dtype=bool) if most_flops is None else self.pool.flops <= most_flops
        return starting_population(labels, self.region.allows(labels.genotypes, most_flops), self.pool, within, rng)


def pretrained(pool: Pool, region: Region, *, seed: int, members: int, frozen: bool = True) -> AccuracyPredictor:
    """A predictor whose encoder knows what the pool costs; untrained where its costs teach nothing.

    Args:
        pool: of the region.
        region: its space and constraints.
        seed: of the search.
        members: networks.
        frozen: whether the encoder stands still in the first half of every fit.
    """
    from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
    from xnas_ray.surrogates.mixed_encoding import MixedEncoding

    predictor = AccuracyPredictor(MixedEncoding(region.space), seed=seed, members=members, frozen=frozen)
    counted = len(pool) >= LEAST_PRETRAINING and pool.flops.min() > 0 and pool.params.min() > 0
    if counted and not pool.flat:
        predictor.pretrain(pool.genotypes, pool.flops, pool.params)
    return predictor


def starting_population(
    labels: Labels, allowed: np.ndarray, pool: Pool, within: np.ndarray, rng: np.random.Generator
) -> list[Genotype]:
    """Where an evolution starts: the ``EVALUATED`` best labels that are allowed, and ``DRAWN`` random ones of the pool.

    Args:
        labels: n.
        allowed: which of them, bool [n].
        pool: m architectures.
        within: which of them, bool [m].
        rng: draws them.
    """
    best = [place for place in np.argsort(-labels.values, kind="stable").tolist() if allowed[place]]
    open_ = np.flatnonzero(within)
    drawn = rng.choice(open_, size=min(DRAWN, len(open_)), replace=False).tolist()
    return [*(labels.genotypes[place] for place in best[:EVALUATED]), *(pool.genotypes[place] for place in drawn)]
