"""NAS-BOWL: Bayesian optimisation with Weisfeiler–Lehman kernels (Ru, Wan, Dong & Osborne, ICLR 2021), asynchronous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon, Source
from xnas_ray.controllers.candidate_pools import LIST_UP_TO, Listing, PoolMaker, listing
from xnas_ray.controllers.hypervolume import best_rows
from xnas_ray.controllers.nasbowl_models import Beliefs, Surrogates
from xnas_ray.controllers.nasbowl_scores import scores
from xnas_ray.controllers.nasbowl_settings import Settings
from xnas_ray.controllers.nasbowl_transfer import FIRST, MOTIF_DRAWS, SOURCES, TRANSFER, TRUSTED, Heritage
from xnas_ray.controllers.registry import register_controller
from xnas_ray.messages import Candidate, Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.tracked_candidates import Evaluation

if TYPE_CHECKING:
    import pandas as pd

MUTANT_SHARE = 0.5
EVOLUTION_ROUNDS = 2
TIE = 1e-9
SPARE_ROWS = 20  # of the encodings, in pools


@register_controller("nasbowl")
class NASBOWL(Controller):
    """Bayesian optimisation over architecture graphs, one proposal at a time.

    A Gaussian process over WL features of the cells and over the choices themselves predicts every candidate (see
    ``surrogates.architecture_kernel``); the one with the largest expected improvement is proposed at once. What is
    pending enters as fantasies, so nothing waits. Where the space can be listed all of its architectures are
    candidates, else a pool of mutants of the best and of random ones.

    A space of architectures and recipes is searched as any other: genes of the recipe are coordinates of the kernel.
    Outcomes of other fidelities than the search's count through a kernel over epochs. Failed trials count as poor ones.

    ``mode = "paper"`` takes the published code's constants for what is left at its default: expected improvement over
    the outcome with the best posterior mean, a pool of 200 of which half are mutants of the ten best, h from 1 to 3, no
    Hamming part, no clipping, noise variance between 1e-5 and 1e-2, and no fantasies (the reference evaluates batches
    of five; ``simulate(mode="generational", generation=5)`` does). The log-determinant of the likelihood has its right
    sign, and an architecture is never evaluated twice.

    Args:
        space: what can be searched; its graphs are compared.
        objectives: one, or several, of which the hypervolume is improved.
        seed: of every random number.
        horizon: fidelity and shapes of the candidates.
        mode: ``"default"`` or ``"paper"``.
        initial: random proposals before the first one of the model.
        acquisition: ``"log_ei"``, ``"ei"``, ``"ucb"`` or ``"thompson"``.
        beta: standard deviations that ``"ucb"`` adds.
        candidates: ``"all"`` architectures of the space; a pool of ``"mutants"`` and random ones, half and half; a pool
            of ``"random"`` ones; one that is ``"evolved"`` from mutants of its best by the acquisition function.
            ``"auto"`` is ``"all"`` up to 20,000 genotypes, beyond that ``"evolved"``.
        pool: architectures of a pool.
        parents: best architectures that are mutated.
        fantasies: what is assumed of pending candidates: ``"believer"``, their posterior means; ``"samples"`` of the
            posterior; ``"none"``.
        several: with several objectives, improve a random scalarisation of the ``"hypervolume"``, or its expectation
            through BoTorch, ``"ehvi"``.
        transfer: what is taken from finished searches (``inherit``): ``"prior"``, what they found is what this one
            expects before its own outcomes, as far as these bear it out (see ``PriorMean``); ``"motifs"``, the paper's
            filter: candidates contain at least one motif that was good there; ``"none"``.
        kernel: ``"subtree"`` counts, or ``"oa"``, their optimal assignment.
        backend: ``"native"``, or ``"grakel"`` to count through GraKeL: the same candidates, more slowly.
        depths: WL layers among which is chosen.
        wl: whether the kernel compares graphs.
        hamming: whether it compares choices one by one; by default yes, in mode ``"paper"`` no.
        members: most settings of the kernel that are averaged.
        transform: what is modelled of an objective (``surrogates.targets``): ``"ranks"``, ``"log_error"``, ``"log"``,
            ``"identity"``, or ``"auto"`` to choose among the last three by its name and values. By default ranks of a
            single objective; ``"auto"`` of several, and in mode ``"paper"``.
        clip: whether its poor tail is clipped; by default that of a single objective, in mode ``"paper"`` none.
        constraints: on measured metrics, such as ``"latency_ms <= 5"``.

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
        mode: str = "default",
        initial: int = 10,
        acquisition: str | None = None,
        beta: float = 2.0,
        candidates: str | None = None,
        pool: int = 200,
        parents: int = 10,
        fantasies: str | None = None,
        several: str = "hypervolume",
        transfer: str = "prior",
        kernel: str = "subtree",
        backend: str = "native",
        depths: Sequence[int] = (1, 2, 3),
        wl: bool = True,
        hamming: bool | None = None,
        members: int = 8,
        transform: str | None = None,
        clip: bool | None = None,
        constraints: Sequence[str] = (),
    ) -> None:
        """Check the parameters; nothing is listed or learnt yet."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        self.settings = Settings.check(
            objectives=len(self.objectives),
            mode=mode,
            initial=initial,
            acquisition=acquisition,
            beta=beta,
            candidates=candidates,
            pool=pool,
            parents=parents,
            fantasies=fantasies,
            several=several,
            transfer=transfer,
            kernel=kernel,
            backend=backend,
            depths=depths,
            wl=wl,
            hamming=hamming,
            members=members,
            transform=transform,
            clip=clip,
            constraints=constraints,
        )
        self._heritage = Heritage((), space, objectives, self.settings, seed)
        self._from_sources: set[int] = set()  # asks where sources were followed
        self._surrogates: Surrogates | None = None
        self._learnt = 0  # outcomes that the surrogates have seen
        self._listing: Listing | None = None
        self._genotypes: Sequence[Genotype] = ()  # the candidates, all of the space or a pool
        self._index: Mapping[str, int] = {}  # of their keys
        self._open = np.zeros(0, dtype=bool)  # which of them are not known
        self._with_motif: np.ndarray | None = None  # which of a listed space have a motif to insist on
        self._beliefs: Beliefs | None = None
        self._pool_at = -1  # outcomes when the pool was drawn

    @property
    def surrogates(self) -> Surrogates:
        """Models of every metric, which have learnt all outcomes."""
        if self._surrogates is None:
            encodings = self._encodings()
            priors = self._heritage.priors(encodings)
            self._surrogates = Surrogates(encodings, self.settings, self.objectives, self.horizon.fidelity, priors)
            if self._listing is not None:
                beliefs = Beliefs(self._surrogates, self._listing.rows)
                self._consider(self._listing.genotypes, self._listing.index, beliefs)
        for outcome in self.outcomes[self._learnt :]:
            self._surrogates.learn(outcome)
        self._learnt = len(self.outcomes)
        return self._surrogates

    # ---- proposals --------------------------------------------------------------------------------------------------

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        if self._next_ask >= self._first() and self._may_model():
            if self._listing is None and self._pool_at != self._learnt:
                self._draw_pool()
            open_ = self._narrowed()
            if open_.any():
                return self._choose(open_, rng)
        return self._begin(rng)

    def inherit(self, sources: Sequence[Source]) -> None:
        """Learn from finished searches over this space; the parameter ``transfer`` says how."""
        self.settings = self.settings.with_sources() if sources else self.settings
        self._heritage = Heritage(sources, self.space, self.objectives, self.settings, self.seed)

    def _first(self) -> int:
        """Proposals before the first one of the model: few, as long as sources are believed."""
        return min(FIRST, self.settings.initial) if self._believes() else self.settings.initial

    def _believes(self) -> bool:
        """Whether sources say something of the first objective, and outcomes do not contradict them."""
        model = self.surrogates.goals[0] if self._heritage.form == "prior" else None
        if model is None or model.prior is None:
            return False
        expectation = model.expectation if model.ready else None
        return expectation is None or expectation.trust >= TRUSTED

    def _begin(self, rng: np.random.Generator) -> Candidate | None:
        """Where sources say, a few times, else at random: they are soon found out when they are wrong."""
        if len(self._from_sources) < FIRST and self._believes():
            surrogates = self.surrogates
            prior, listed = surrogates.goals[0].prior, self._listing.genotypes if self._listing else None
            assert prior is not None
            promising = self.first_new(self._heritage.ranked(prior, surrogates.encodings, listed))
            if promising is not None:
                return self.candidate(promising, stage=SOURCES)
        genotype = self.draw_new(rng)
        for _ in range(MOTIF_DRAWS if self._heritage.form == "motifs" else 0):
            if genotype is None or self._heritage.allows([genotype])[0]:
                break
            genotype = self.draw_new(rng)
        return None if genotype is None else self.candidate(genotype, stage="random")

    def _may_model(self) -> bool:
        """Whether two architectures have outcomes to tell apart; asked first, because listing a space takes time."""
        return len(self.completed()) >= 2 and self.surrogates.ready

    def _choose(self, open_: np.ndarray, rng: np.random.Generator) -> Candidate:
        """The open candidate with the highest score; the first of several."""
        beliefs = self._beliefs
        assert beliefs is not None
        beliefs.update(self._pending())
        value = np.where(open_, scores(self.settings, self.surrogates, beliefs, open_, rng), -np.inf)
        best = float(value.max())
        # Rounding, which differs between machines, must not decide between architectures that are worth the same.
        slack = TIE * max(1.0, abs(best)) if np.isfinite(best) else 0.0
        chosen = int(np.flatnonzero(open_ & (value >= best - slack))[0])
        goal = beliefs.goals[0]
        mean, deviation = (float(moment[chosen]) for moment in goal.moments)
        low, high = sorted(goal.model.scale.metric(np.array([mean - deviation, mean + deviation])))
        predicted = {"metric": goal.model.name, "low": _short(low), "high": _short(high)}
        return self.candidate(self._genotypes[chosen], stage="model", outcomes=self._learnt, predicted=predicted)

    def _pending(self) -> list[Evaluation]:
        """What is pending, in the order of the asks."""
        if self.settings.fantasies == "none":
            return []
        encodings = self.surrogates.encodings
        asked = [self.pending[number] for number in sorted(self.pending)]
        return [(encodings.add(candidate.genotype), candidate.fidelity) for candidate in asked]

    # ---- candidates -------------------------------------------------------------------------------------------------

    def _encodings(self) -> Encodings:
        """Where architectures get their rows: those of the whole space where it is listed."""
        settings = self.settings
        lists = self.space.size <= LIST_UP_TO if settings.candidates == "auto" else settings.candidates == "all"
        if not lists:
            return Encodings(self.space, depth=settings.depth, kind=settings.kind, backend=settings.backend)
        self._listing = listing(self.space, settings.depth, settings.kind, settings.backend)
        return self._listing.encodings

    def _consider(self, genotypes: Sequence[Genotype], index: Mapping[str, int], beliefs: Beliefs) -> None:
        """From now on choose among these."""
        self._genotypes, self._index, self._beliefs = genotypes, index, beliefs
        self._open = np.array([not self.known(genotype) for genotype in genotypes], dtype=bool)

    def _narrowed(self) -> np.ndarray:
        """The open candidates that have a motif to insist on, all open ones where none has."""
        if self._heritage.form != "motifs" or self._listing is None:
            return self._open
        if self._with_motif is None:
            self._with_motif = self._heritage.allows(self._genotypes)
        narrowed = self._open & self._with_motif
        return narrowed if narrowed.any() else self._open

    def _draw_pool(self) -> None:
        """A pool for the outcomes so far: a function of the tells, whatever is pending, so that replay draws the same.

        Proposals between two tells share it. Where all of it is pending the controller falls back on random ones.
        """
        surrogates, settings = self.surrogates, self.settings
        if len(surrogates.encodings) > 2 * len(surrogates.genotypes) + SPARE_ROWS * settings.pool:
            surrogates.move(self._encodings())  # forget the features of former pools
        generator = rng(self.seed, Domain.POOL, self._learnt)
        evaluated = {self.space.key(genotype) for genotype in surrogates.genotypes}
        rounds = EVOLUTION_ROUNDS if settings.candidates in ("auto", "evolved") else 0
        first = settings.pool // 2 if rounds else settings.pool
        share = 0.0 if settings.candidates == "random" else MUTANT_SHARE
        allows = self._heritage.allows if self._heritage.form == "motifs" else None
        maker = PoolMaker(self.space, size=first, mutants=share, allows=allows)
        parents = [surrogates.genotypes[i] for i in best_rows(surrogates.targets(), settings.parents)]
        pool = maker.draw(parents, evaluated, generator)
        for step in range(1, rounds + 1):
            size = first + (settings.pool - first) * step // rounds
            pool = maker.extend(pool, size, self._promising(pool, generator), evaluated, generator)
        index = {self.space.key(genotype): i for i, genotype in enumerate(pool)}
        self._consider(pool, index, Beliefs(surrogates, surrogates.encodings.add_all(pool)))
        self._pool_at = self._learnt

    def _promising(self, pool: Sequence[Genotype], generator: np.random.Generator) -> list[Genotype]:
        """Members of a pool with the highest scores, as if nothing were pending."""
        if not pool:
            return []
        beliefs = Beliefs(self.surrogates, self.surrogates.encodings.add_all(pool))
        beliefs.update([])
        value = scores(self.settings, self.surrogates, beliefs, np.ones(len(pool), dtype=bool), generator)
        return [pool[i] for i in np.argsort(-value, kind="stable")[: self.settings.parents]]

    def _remember(self, candidate: Candidate) -> None:
        super()._remember(candidate)
        if candidate.origin.get("stage") == SOURCES:
            self._from_sources.add(candidate.ask_number)
        if self._index:
            place = self._index.get(self.space.key(candidate.genotype))
            if place is not None and self.known(candidate.genotype):
                self._open[place] = False

    # ---- explanations -----------------------------------------------------------------------------------------------

    def explain(self) -> Mapping[str, pd.DataFrame]:
        """Tables ``surrogate`` and ``motifs``, once the model has something to say; see ``nasbowl_explain``.

        With sources also ``transfer``: what was taken from each (``nasbowl_transfer``).
        """
        from xnas_ray.controllers.nasbowl_explain import SURROGATE, explanations, surrogate_table

        if not self._may_model():
            return {}
        if self._heritage.form == "none":
            return explanations(self.surrogates, seed=self.seed)
        # Motifs are what the outcomes of this search say, not what they add to what the sources said.
        own = Surrogates(self.surrogates.encodings, self.settings, self.objectives, self.horizon.fidelity)
        for outcome in self.outcomes:
            own.learn(outcome)
        tables = explanations(own, seed=self.seed) | {SURROGATE: surrogate_table(self.surrogates)}
        return tables | {TRANSFER: self._heritage.table(self.surrogates.goals)}


def _short(value: float) -> float:
    """Six digits: what is shown need not carry rounding errors."""
    return float(f"{value:.6g}")
