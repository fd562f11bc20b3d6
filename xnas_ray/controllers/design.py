"""Architectures for new budgets, designed from what a search has measured: nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.controllers.adaptive_genetic import evolve
from xnas_ray.controllers.design_evidence import Evidence, cross_validated
from xnas_ray.controllers.nars_model import DRAWN, LEAST_LABELS, LEAST_PRETRAINING, pretrained, starting_population
from xnas_ray.controllers.nars_pool import Pool
from xnas_ray.controllers.nars_predictions import Unit, learn
from xnas_ray.controllers.nars_region import Region
from xnas_ray.controllers.nars_settings import CLIP
from xnas_ray.errors import ExplanationError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace

MEMBERS = 5
POOL = 4_000
KEPT = 40

_POOL, _FOLDS, _EVOLUTION = 20, 21, 22  # what a designer draws: counters of its streams of random numbers


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that an architecture may cost.

    Attributes:
        flops: None for any.
        params: None for any.

    Raises:
        SpecError: a limit is not above 0.
    """

    flops: float | None = None
    params: float | None = None

    def __post_init__(self) -> None:
        """Refuse what nothing satisfies."""
        for name, value in (("flops", self.flops), ("params", self.params)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise SpecError(f"must be above 0, got {value!r}.", field=name)

    @property
    def constraints(self) -> tuple[str, ...]:
        """As a specification writes them."""
        limits = (("flops", self.flops), ("params", self.params))
        return tuple(f"{name} <= {float(limit)!r}" for name, limit in limits if limit is not None)

    def __str__(self) -> str:
        """Such as ``450,000,000 FLOPs``."""
        limits = ((self.flops, "FLOPs"), (self.params, "parameters"))
        return " and ".join(f"{limit:,.0f} {name}" for limit, name in limits if limit is not None) or "any cost"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An evaluated architecture near a designed one.

    Attributes:
        trial: its number.
        genotype: what it is.
        distance: Euclidean, between the rows of ``MixedEncoding``.
        measured: the objective, as it is predicted of the design: after the same epoch.
    """

    trial: int
    genotype: Genotype
    distance: float
    measured: float


@dataclass(frozen=True, slots=True)
class Design:
    """An architecture, with its recipe where the space has recipes, for a budget.

    Attributes:
        budget: what it keeps to.
        genotype: canonical.
        predicted: the objective, in its unit, a value that it can have; what ranks designs may be beyond that.
        std: standard deviation of the predictor's members, widened by what held-out labels say
            (``HeldOut.factor``), in the same unit; 0 with one member.
        flops: of one input.
        params: trainable ones.
        trial: of its evaluation, None where there was none.
        measured: the objective there, None likewise.
        neighbours: the nearest evaluated ones, the nearest first; never itself.
    """

    budget: Budget
    genotype: Genotype
    predicted: float
    std: float
    flops: int
    params: int
    trial: int | None
    measured: float | None
    neighbours: tuple[Neighbour, ...]


class Designer:
    """Answers for budgets from a search's labels: NARS' predictor and evolution (Dai et al., CVPR 2021), used again.

    A pool of the space teaches the predictor what architectures cost (``AccuracyPredictor.pretrain``), the labels what
    they are worth. Under every budget an adaptive genetic search (``adaptive_genetic.evolve``) starts from the best
    evaluated and random architectures that keep to it. The search's own constraints on costs hold too. It ends, as
    published, with the first generation without a gain: going on finds what the predictor overrates still more.

    The same labels in the same order and the same seed give the same answers, one budget at a time or all together.

    Args:
        space: that was searched, with its constraints.
        shape: inputs and outputs of the networks.
        evidence: of the search.
        seed: of every random number.
        members: networks of the predictor.
        pool: architectures that are counted to pretrain it.
        caution: standard deviations, as they are stated, that are taken off a prediction before it is ranked.
        clip: whether poor labels are equally poor (``nars_labels.clipped``), as a NARS search had it.
        frozen: whether the encoder stands still in the first half of every fit, likewise.

    Attributes:
        held_out: how well the predictor does on labels that it does not know.

    Raises:
        ExplanationError: there are fewer than ``LEAST_LABELS`` labels.
        SpecError: an argument is out of range, or the constraints leave no architecture.
    """

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        evidence: Evidence,
        *,
        seed: int,
        members: int = MEMBERS,
        pool: int = POOL,
        caution: float = 0.0,
        clip: bool = CLIP,
        frozen: bool = True,
    ) -> None:
        """Draw the pool, and fit the predictor."""
        if pool < LEAST_PRETRAINING:
            raise SpecError(f"must be at least {LEAST_PRETRAINING}, got {pool!r}.", field="pool")
        if not (math.isfinite(caution) and caution >= 0):
            raise SpecError(f"must be a number of at least 0, got {caution!r}.", field="caution")
        if len(evidence.labels) < LEAST_LABELS:
            raise ExplanationError(
                f"{len(evidence.labels)} completed trials teach a predictor nothing, it needs {LEAST_LABELS}.",
                field="search_id",
                fix="Extend the search: `xnas extend`.",
            )
        self.space, self.shape, self.seed, self.caution, self.clip = space, shape, seed, caution, clip
        self.evidence = evidence
        self.region = Region(space, shape)
        self.pool = Pool.draw(self.region, pool, rng(seed, Domain.POOL, _POOL))
        if not len(self.pool):
            raise SpecError("no architecture satisfies the search's constraints.", field="constraints")
        self.predictor = pretrained(self.pool, self.region, seed=seed, members=members, frozen=frozen)
        labels = evidence.labels
        self.held_out = cross_validated(self._fit, self.predictor, labels, rng(seed, Domain.POOL, _FOLDS))
        self._unit = self._fit(np.arange(len(labels)))
        self._rows = self.predictor.encoding.encode(labels.genotypes)
        self._place = {space.key(genotype): i for i, genotype in enumerate(labels.genotypes)}

    def design(self, budget: Budget, top: int, neighbours: int = 3) -> tuple[Design, ...]:
        """The best predicted architectures within a budget, the best first.

        Architectures that failed are left out.

        Args:
            budget: what they may cost.
            top: most of them.
            neighbours: evaluated architectures to name beside each.

        Raises:
            SpecError: nothing within the budget was found, or a number is out of range.
        """
        for name, value, least in (("top", top, 1), ("neighbours", neighbours, 0)):
            if value < least:
                raise SpecError(f"must be at least {least}, got {value!r}.", field=name)
        space = ConstrainedSpace(self.space, budget.constraints, self.shape) if budget.constraints else self.space
        region = Region(space, self.shape)
        limits = [min(round(limit or 0), 2**63) for limit in (budget.flops, budget.params)]
        generator = rng(self.seed, Domain.POOL, _EVOLUTION, *limits)
        failed = self.evidence.failed
        found = evolve(
            region.space,
            self._scores,
            self._start(budget, region, generator),
            allowed=region.allows,
            rng=generator,
            keep=max(KEPT, top + len(failed)),
        ).genotypes
        chosen = [genotype for genotype in found if space.key(genotype) not in failed][:top]
        return self._described(budget, region, chosen, neighbours)

    # ---- the predictor ----------------------------------------------------------------------------------------------

    def _fit(self, places: np.ndarray) -> Unit:
        """Fit the predictor to some labels."""
        return learn(self.predictor, self.evidence.labels.at(places), self.evidence.goal, clip=self.clip)

    def _scores(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        means, stds = self.predictor.predict(genotypes)
        return means - self.caution * self.held_out.factor * stds

    # ---- an evolution -----------------------------------------------------------------------------------------------

    def _start(self, budget: Budget, region: Region, generator: np.random.Generator) -> list[Genotype]:
        """The best labels and random members of the pool within a budget; what evolves towards it where there is none.

        Raises:
            SpecError: nothing within the budget was found.
        """
        labels = self.evidence.labels
        allowed, within = region.allows(labels.genotypes), region.allows(self.pool.genotypes)
        return starting_population(labels, allowed, self.pool, within, generator) or self._cheapened(
            budget, region, generator
        )

    def _cheapened(self, budget: Budget, region: Region, generator: np.random.Generator) -> list[Genotype]:
        """Architectures within a budget that no draw of the pool met: the pool's cheapest evolve to be cheaper."""
        excess = _excess(budget, self.pool.flops, self.pool.params)
        found = evolve(
            region.space,
            lambda genotypes: -_excess(budget, *region.costs(genotypes)),
            [self.pool.genotypes[place] for place in np.argsort(excess, kind="stable")[:DRAWN].tolist()],
            allowed=self.region.allows,
            rng=generator,
            keep=KEPT,
        ).genotypes
        within = [genotype for genotype, may in zip(found, region.allows(found).tolist(), strict=True) if may]
        if not within:
            (flops,), (params,) = region.costs(found[:1])
            raise SpecError(
                f"no architecture with at most {budget} was found.",
                field="flops" if budget.flops is not None else "params",
                fix=f"The nearest has {flops:,} FLOPs and {params:,} parameters, within the search's own constraints.",
            )
        return within

    # ---- what is told of a design -----------------------------------------------------------------------------------

    def _described(
        self, budget: Budget, region: Region, genotypes: Sequence[Genotype], neighbours: int
    ) -> tuple[Design, ...]:
        if not genotypes:
            raise SpecError(f"every architecture that was found with at most {budget} has failed.", field="flops")
        means, stds = self._unit.stated(*self.predictor.predict(genotypes))
        flops, params = region.costs(genotypes)
        rows = self.predictor.encoding.encode(genotypes)
        found = []
        for i, genotype in enumerate(genotypes):
            place = self._place.get(self.space.key(genotype))
            found.append(
                Design(
                    budget,
                    genotype,
                    float(means[i]),
                    float(stds[i]) * self.held_out.factor,
                    int(flops[i]),
                    int(params[i]),
                    None if place is None else self.evidence.trials[place],
                    None if place is None else self.evidence.measured(place),
                    self._neighbours(rows[i], place, neighbours),
                )
            )
        return tuple(found)

    def _neighbours(self, row: np.ndarray, itself: int | None, count: int) -> tuple[Neighbour, ...]:
        distances = np.sqrt(((self._rows - row) ** 2).sum(axis=1))
        nearest = [place for place in np.argsort(distances, kind="stable").tolist() if place != itself][:count]
        evidence = self.evidence
        return tuple(
            Neighbour(evidence.trials[i], evidence.labels.genotypes[i], float(distances[i]), evidence.measured(i))
            for i in nearest
        )


def _excess(budget: Budget, flops: np.ndarray, params: np.ndarray) -> np.ndarray:
    """By what factor costs exceed a budget, as logarithms that are added up; 0 within it, float64 [n]."""
    found = np.zeros(len(flops))
    for limit, costs in ((budget.flops, flops), (budget.params, params)):
        if limit is not None:
            found += np.log(np.maximum(costs / limit, 1.0))
    return found
