"""BANANAS: Bayesian optimisation with an ensemble of networks over path encodings (White et al., AAAI 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.parameters import one_of, whole
from xnas_ray.controllers.registry import register_controller
from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Candidate, Genotype, Outcome
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.ensemble import NetworkEnsemble, NetworkShape
from xnas_ray.surrogates.path_encoding import PathEncoding, PathId

POOLS = ("mutation", "random")
LOSSES = ("mae", "mape")
PARENTS_TRIED = 5  # times ``parents``, as published
PATIENCE = 20
"""Draws in a row without anything new after which a parent, or sampling, is given up."""


@register_controller("bananas")
class Bananas(Controller):
    """White, Neiswanger & Savani, "BANANAS", AAAI 2021: path encoding, predictor ensemble, Thompson sampling.

    Proposals are random until ``initial`` trials have completed. From then on a pool of new architectures is made, the
    ensemble predicts mean and spread of each, one value is drawn from every such normal distribution independently, and
    the architecture with the best draw is proposed ("independent Thompson sampling"). The ensemble is trained again
    after every ``refit_every`` completed trials, on the first so many: a function of the tells. The paper evaluates
    batches of ten between fits; here a worker that becomes free gets the next draw at once, and what is pending is left
    out of the pool.

    Defaults are those of the published code. As there, the pool holds mutants of the best architecture (the ``m`` of
    the NAS-BOWL paper's comparison) or random ones (``r``). Failed trials are not repeated and teach nothing.

    Args:
        space: what can be searched; its graphs are encoded, and where it decides settings of the recipe, those too.
        objectives: the first one is optimised.
        seed: of every random number.
        horizon: fidelity and shapes of the candidates.
        initial: completed trials before the first fit.
        refit_every: completed trials between two fits (the paper's batch).
        pool: ``"mutation"`` or ``"random"``.
        candidates: architectures in the pool.
        parents: best architectures that are mutated, each for an equal part of the pool; the next best ones follow
            where these give too few.
        max_operations: longest path of the encoding, in operations; None keeps all (the paper truncates where the
            space has more paths than a network can take).
        networks: members of the ensemble.
        layers: their hidden layers.
        width: units of each.
        epochs: of every fit.
        loss: ``"mae"``, or ``"mape"``, the paper's percentage error from ``bound``.
        bound: a value of the objective that nothing can reach, for ``"mape"``; better than every outcome.

    Raises:
        SpecError: a parameter is out of range.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Goal],
        *,
        seed: int,
        horizon: Horizon | None = None,
        initial: int = 10,
        refit_every: int = 10,
        pool: str = "mutation",
        candidates: int = 100,
        parents: int = 1,
        max_operations: int | None = None,
        networks: int = 5,
        layers: int = 10,
        width: int = 20,
        epochs: int = 150,
        loss: str = "mae",
        bound: float | None = None,
    ) -> None:
        """Check the parameters; nothing is fitted."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        self.initial = whole("initial", initial)
        self.refit_every = whole("refit_every", refit_every)
        self.pool = one_of("pool", pool, POOLS)
        self.candidates = whole("candidates", candidates)
        self.parents = whole("parents", parents)
        self.loss = one_of("loss", loss, LOSSES)
        self.bound = bound
        self._check_bound()
        sizes = {"networks": networks, "layers": layers, "width": width, "epochs": epochs}
        self.ensemble = NetworkEnsemble(NetworkShape(**{name: whole(name, value) for name, value in sizes.items()}))
        limit = None if max_operations is None else whole("max_operations", max_operations)
        self.encoding = PathEncoding(max_operations=limit)
        self._fitted = 0  # completed trials that the ensemble has seen

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        completed = self.completed()
        if len(completed) >= self.initial:
            pool = self._make_pool(completed, rng)
            if pool:
                self._fit(completed)
                predicted = self.ensemble.predict([self._paths(genotype) for genotype in pool])
                drawn = rng.normal(predicted.mean(axis=0), predicted.std(axis=0))
                return self.candidate(pool[int(np.argmax(drawn))], stage=self.pool, fitted=self._fitted)
        genotype = self.draw_new(rng)
        return None if genotype is None else self.candidate(genotype, stage="random")

    # ---- the model --------------------------------------------------------------------------------------------------

    def _fit(self, completed: Sequence[Outcome]) -> None:
        """Train on the completed trials, unless too few are new; a function of the tells, so that replay agrees."""
        due = len(completed) - (len(completed) - self.initial) % self.refit_every
        if due == self._fitted:
            return
        goal, told = self.objectives[0], completed[:due]
        values = np.array([goal.signed(outcome.metrics) for outcome in told])
        rows = [self._paths(outcome.candidate.genotype) for outcome in told]
        self.ensemble.fit(rows, values, seed=self.seed, fit=due, weights=self._error_weights(values))
        self._fitted = due

    def _error_weights(self, values: np.ndarray) -> np.ndarray | None:
        """Weights of the errors: equal, or those that make the percentage error of the paper's equation 1."""
        if self.loss == "mae" or self.bound is None:
            return None
        goal = self.objectives[0]
        distance = goal.signed({goal.name: self.bound}) - values
        if distance.min() <= 0:
            raise SpecError(
                f"{self.bound!r} is no bound: trials were better.",
                field="controller.params.bound",
                fix='Give a value of the objective that nothing can reach, or loss = "mae".',
            )
        return np.asarray(1 / distance)

    def _paths(self, genotype: Genotype) -> frozenset[PathId]:
        key = self.space.key(genotype)
        if key in self.encoding:
            return self.encoding[key]
        return self.encoding.add(key, self.space.graphs(genotype), self.space.recipe(genotype))

    # ---- the pool ---------------------------------------------------------------------------------------------------

    def _make_pool(self, completed: Sequence[Outcome], rng: np.random.Generator) -> list[Genotype]:
        """New architectures, canonical, each once; fewer than ``candidates`` where so many are not found."""
        pool: dict[str, Genotype] = {}
        for source in self._mutants(completed, rng) if self.pool == "mutation" else [self._samples(rng)]:
            fruitless = 0
            for genotype in source:
                key = self.space.key(genotype)
                if key in pool or self.known(genotype):
                    fruitless += 1
                    if fruitless == PATIENCE:
                        break
                    continue
                fruitless = 0
                pool[key] = self.space.canonical(genotype)
                if len(pool) == self.candidates:
                    return list(pool.values())
        return list(pool.values())

    def _mutants(self, completed: Sequence[Outcome], rng: np.random.Generator) -> Iterator[Iterator[Genotype]]:
        """Mutants of the best, parent by parent; of the next best ones too while the pool is not full.

        So the published code draws its pool, unlike NAS-BOWL's (``candidate_pools``), which mutates all parents in
        turn: mutants of the best that are known already make room for mutants of the second best.
        """
        goal = self.objectives[0]
        ranked = sorted(completed, key=lambda outcome: goal.signed(outcome.metrics), reverse=True)
        for outcome in ranked[: self.parents * PARENTS_TRIED]:
            yield self._perturbed(outcome.candidate.genotype, -(-self.candidates // self.parents), rng)

    def _perturbed(self, parent: Genotype, count: int, rng: np.random.Generator) -> Iterator[Genotype]:
        for _ in range(count):
            try:
                yield self.space.perturb(parent, rng)
            except GenotypeError:  # it has no valid mutant
                return

    def _samples(self, rng: np.random.Generator) -> Iterator[Genotype]:
        while True:
            try:
                yield self.space.sample(rng)
            except GenotypeError:  # valid genotypes are too rare for the space's sampler
                return

    def _check_bound(self) -> None:
        number = isinstance(self.bound, (int, float)) and not isinstance(self.bound, bool)
        if self.bound is not None and not (number and np.isfinite(self.bound)):
            raise SpecError(f"must be a number, got {self.bound!r}.", field="controller.params.bound")
        if self.loss == "mape" and self.bound is None:
            raise SpecError(
                'loss = "mape" needs a value that the objective cannot reach.',
                field="controller.params.bound",
                fix="For an accuracy in percent: bound = 100.",
            )
