"""NARS: neural architecture and recipe search (Dai et al., FBNetV3, CVPR 2021), asynchronous."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.controllers.adaptive_genetic import evolve
from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.early_stopping import THRESHOLD
from xnas_ray.controllers.nars_labels import EarlyStopping
from xnas_ray.controllers.nars_model import RankedPool, Round
from xnas_ray.controllers.nars_settings import Settings
from xnas_ray.controllers.registry import register_controller
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.constrained import ConstrainedSpace

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor

DARTS = 16
"""Draws of which the one farthest from all that was asked is taken."""

_BIN_ORDER, _EVOLUTION = 11, 12  # what the controller draws: counters of its streams of random numbers

EVOLVED, PREDICTED, RANDOM = "evolved", "predicted", "random"


@register_controller("nars")
class NARS(Controller):
    """Architectures and recipes are ranked by a predictor that few trained networks teach; then the predictor evolves.

    1. **Pool.** ``pool`` quasi-random genotypes of the space are counted, and the predictor's encoder learns their
       FLOPs and parameters (``AccuracyPredictor``), before the first proposal.
    2. **Constrained iterative optimisation.** ``rounds`` rounds of ``bins`` candidates. The FLOPs of the pool are split
       into ``bins`` equal bins, and each round takes one candidate of every bin, in random order: the best predicted
       one that is not known. An empty bin takes the best one anywhere. The first round has no predictor: it is drawn
       at random in each bin, or so that it fills the space (the farthest of ``DARTS`` random draws from all that was
       asked; Mitchell 1991). Where all architectures have the same FLOPs, as when only recipes are searched, there is
       one bin.
    3. **Predictor-based evolution.** From then on batches of ``winners`` candidates: the best ones that are not known
       of an adaptive genetic search (``adaptive_genetic.evolve``) from the 50 best and 50 random
       ones, under the constraints of the search and under each limit of ``budgets`` in turn. It ends with the search's
       budget.

    **Nobody waits.** Candidate k belongs to round k // bins, whoever still trains. The predictor is fitted when the
    first candidate of a round is asked for, to all that was told by then: stragglers are labels of the next round.
    Their number is kept in the candidates' origins, so that a replayed controller plans the round as it was. Without
    enough labels a round is drawn like the first one, and winners at random.

    **Early stopping.** When ``share`` of a round's complete curves were told, the epoch is chosen at which their rank
    correlation with the end has reached ``threshold`` for good (``early_stopping.stopping_epoch``). From then on
    candidates of stage 2 train up to that epoch, of the same schedule: it is not compressed. All labels, those of the
    first round too, are read at that epoch, so that they compare. Winners of stage 3 train to the end, also when they
    were evaluated up to that epoch before: they are what the search is for, and a network that was stopped in the
    middle of its schedule does not compare with one that was not.

    The first objective counts, of either direction. The predictor's unit is a percentage point: fractions are scaled.
    Failed trials have no label, and no winner is one of them.

    Origins say ``stage`` (``"space_filling"``, ``"random"``, ``"predicted"`` or ``"evolved"``), ``round``, ``told``
    (outcomes that the round knows), ``bin``, ``budget`` and ``predicted`` (``mean``, ``std`` and the ``epoch`` of what
    is predicted; the mean is a value that the objective can have, ranks are by what the predictor says).

    ``mode="paper"`` has the paper's numbers: 48 bins, 5 rounds (4 of recipes alone), the first one random, one network,
    labels as they are, and an epoch that all curves of the first round decide.

    Args:
        space: what can be searched; with recipes a ``JointSpace``.
        objectives: the first one counts.
        seed: of every random number.
        horizon: fidelity and shapes of the candidates.
        mode: ``"default"`` or ``"paper"``.
        pool: genotypes that are counted and ranked.
        flops_range: lowest and highest FLOPs; what lies outside is no part of the search. Beside it, or instead, the
            search's ``constraints`` hold.
        bins: of FLOPs, and candidates of a round (m), 24.
        rounds: of stage 2 (T), 4.
        first_round: ``"space_filling"`` or ``"random"``.
        members: networks of the predictor, 4.
        clip: whether poor labels are made equally poor before the predictor learns them (``nars_labels.clipped``).
        frozen: whether the encoder stands still in the first half of every fit, as published; where costs say little
            about accuracies, False learns from fewer labels.
        caution: standard deviations of the members that are taken off a prediction before it is ranked.
        early_stopping: whether later candidates of stage 2 stop early.
        threshold: least rank correlation with the end, 0.92 in the paper.
        share: of ``bins``: complete curves that decide the epoch, 0.75.
        winners: candidates of stage 3 between two fits of the predictor.
        budgets: limits of FLOPs for winners, each in turn.

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
        pool: int = 20_000,
        flops_range: Sequence[float] | None = None,
        bins: int | None = None,
        rounds: int | None = None,
        first_round: str | None = None,
        members: int | None = None,
        clip: bool | None = None,
        frozen: bool = True,
        caution: float = 0.0,
        early_stopping: bool = True,
        threshold: float = THRESHOLD,
        share: float | None = None,
        winners: int = 8,
        budgets: Sequence[float] = (),
    ) -> None:
        """Check the parameters; nothing is drawn or learnt yet."""
        self.settings = Settings.check(
            mode=mode,
            pool=pool,
            flops_range=flops_range,
            bins=bins,
            rounds=rounds,
            first_round=first_round,
            members=members,
            clip=clip,
            frozen=frozen,
            caution=caution,
            early_stopping=early_stopping,
            threshold=threshold,
            share=share,
            winners=winners,
            budgets=budgets,
        )
        horizon = horizon or Horizon()
        if self.settings.flops_range is not None:
            low, high = self.settings.flops_range
            space = ConstrainedSpace(space, [f"flops >= {low!r}", f"flops <= {high!r}"], horizon.shape)
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        curves = self.settings.curves if self.settings.early_stopping else 0
        self.stopping = EarlyStopping(self.objectives[0], self.horizon.fidelity, curves, self.settings.threshold)
        self._ranked: RankedPool | None = None
        self._round: Round | None = None  # the current one
        self._evolved: dict[float | None, tuple[Genotype, ...]] = {}  # winners of the current round by limit of FLOPs
        self._told_at: dict[int, int] = {}  # outcomes that each round knows
        self._failed: set[str] = set()

    @property
    def ranked(self) -> RankedPool:
        """The pool and the predictor, which is pretrained when this is first asked for.

        Raises:
            SpecError: a limit of ``budgets`` is below all architectures of the pool.
        """
        if self._ranked is None:
            self._ranked = RankedPool.draw(self.space, self.settings, self.horizon.shape, self.seed)
            for key in {key for key, _, _ in self._fidelity_of}:
                self._note(key)
        return self._ranked

    @property
    def rounds(self) -> int:
        """Rounds of stage 2."""
        return self.settings.recipe_rounds if self.ranked.pool.flat else self.settings.rounds

    def explain(self) -> Mapping[str, pd.DataFrame]:
        """Tables ``stages``, ``predictor`` and ``early_stopping``, as far as there is something to say."""
        from xnas_ray.controllers.nars_explain import explanations

        return explanations(self.outcomes, self.objectives[0], self.stopping)

    # ---- what is known ----------------------------------------------------------------------------------------------

    def _learn(self, outcome: Outcome) -> None:
        self.stopping.learn(outcome, len(self.outcomes))
        if outcome.status == TrialStatus.FAILED:
            self._failed.add(self.space.key(outcome.candidate.genotype))

    def _remember(self, candidate: Candidate) -> None:
        super()._remember(candidate)
        number, told = (candidate.origin.get(name) for name in ("round", "told"))
        if isinstance(number, int) and isinstance(told, int):
            self._told_at[number] = min(told, self._told_at.get(number, told))
        if self._ranked is not None:
            self._note(self.space.key(candidate.genotype))

    def _note(self, key: str) -> None:
        """The pool knows up to which epoch the architecture of this key was asked for."""
        place = self.ranked.pool.index.get(key)
        if place is not None:
            genotype = self.ranked.pool.genotypes[place]
            identity = self._identity(genotype, self.space.recipe(genotype), 0)
            self.ranked.asked[place] = self._fidelity_of.get(identity, 0)

    # ---- proposals --------------------------------------------------------------------------------------------------

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        number, position, iterates = self._turn(self._next_ask)
        plan = self._plan(number)
        candidate = self._iterated(plan, position, rng) if iterates else None
        candidate = candidate or self._winner(plan, position)
        if candidate is not None:
            return candidate
        genotype = self.draw_new(rng)
        return None if genotype is None else self._candidate(plan, genotype, stage=RANDOM)

    def _turn(self, ask: int) -> tuple[int, int, bool]:
        """The round of a proposal, its place there, and whether it is one of stage 2."""
        bins, winners, rounds = self.settings.bins, self.settings.winners, self.rounds
        if ask < bins * rounds:
            return ask // bins, ask % bins, True
        later = ask - bins * rounds
        return rounds + later // winners, later % winners, False

    def _plan(self, number: int) -> Round:
        """What a round goes by: a function of what had been told when its first candidate was asked for."""
        told = self._told_at.get(number, len(self.outcomes))
        if self._round is None or (self._round.number, self._round.told) != (number, told):
            epoch, goal = self.stopping.epoch_at(told), self.objectives[0]
            self._round = self.ranked.plan(number, self.outcomes[:told], goal, epoch)
            self._evolved = {}
        return self._round

    def _iterated(self, plan: Round, position: int, rng: np.random.Generator) -> Candidate | None:
        """Stage 2: the next of the bin whose turn it is, None when the pool is exhausted."""
        fidelity = self.stopping.epoch or self.horizon.fidelity
        ranked, bin_ = self.ranked, self._bin(plan.number, position)
        open_ = ranked.asked < fidelity
        in_bin = np.flatnonzero(open_ & (ranked.bins == bin_))
        places = in_bin if in_bin.size else np.flatnonzero(open_)
        if not places.size:
            return None
        if plan.scores is None:
            stage, place = self.settings.first_round, self._explored(places, rng)
        else:
            stage, place = PREDICTED, int(places[np.argmax(plan.scores[places])])
        origin: dict[str, Any] = {"stage": stage} | ({} if ranked.pool.flat else {"bin": int(ranked.bins[place])})
        return self._candidate(plan, ranked.pool.genotypes[place], fidelity, **origin)

    def _bin(self, number: int, position: int) -> int:
        """The bins of a round come in random order: what is not told when the next one begins is of all sizes."""
        if self.ranked.pool.flat:
            return 0
        return int(rng(self.seed, Domain.POOL, _BIN_ORDER, number).permutation(self.settings.bins)[position])

    def _explored(self, places: np.ndarray, rng: np.random.Generator) -> int:
        """A place that no predictor chose."""
        if self.settings.first_round == "random":
            return int(rng.choice(places))
        drawn = rng.choice(places, size=min(DARTS, len(places)), replace=False)
        return int(drawn[np.argmax(self.ranked.distances(drawn))])

    # ---- winners ----------------------------------------------------------------------------------------------------

    def _winner(self, plan: Round, position: int) -> Candidate | None:
        """Stage 3: the best that evolved under the limit whose turn it is; under another one where it has no more.

        After all of them the best predicted of the pool. None without a predictor, or when nothing is new.
        """
        if plan.scores is None:
            return None
        budgets: tuple[float | None, ...] = self.settings.budgets or (None,)
        turns = [budgets[(position + i) % len(budgets)] for i in range(len(budgets))]
        for budget in turns:
            for genotype in self._winners(plan, budget):
                if self._may_win(genotype):
                    origin: dict[str, Any] = {"stage": EVOLVED} | ({} if budget is None else {"budget": budget})
                    return self._candidate(plan, genotype, **origin)
        ranked = self.ranked
        open_ = ranked.asked < self.horizon.fidelity
        for place in np.argsort(-plan.scores, kind="stable"):
            if open_[place] and self._may_win(ranked.pool.genotypes[place]):
                return self._candidate(plan, ranked.pool.genotypes[place], stage=PREDICTED)
        return None

    def _may_win(self, genotype: Genotype) -> bool:
        return not self.known(genotype) and self.space.key(genotype) not in self._failed

    def _winners(self, plan: Round, budget: float | None) -> tuple[Genotype, ...]:
        """What evolves under a limit of FLOPs, the best first; once a round."""
        if budget not in self._evolved:
            ranked, number = self.ranked, self.settings.budgets.index(budget) if budget is not None else 0
            generator = rng(self.seed, Domain.POOL, _EVOLUTION, plan.number, number)
            start = ranked.start(plan.labels, budget, generator)
            self._evolved[budget] = evolve(
                ranked.region.space,
                lambda genotypes: ranked.scores(*self.predictor.predict(genotypes)),
                start,
                allowed=lambda genotypes: ranked.region.allows(genotypes, budget),
                rng=generator,
            ).genotypes
        return self._evolved[budget]

    # ---- candidates -------------------------------------------------------------------------------------------------

    @property
    def predictor(self) -> AccuracyPredictor:
        """The predictor, as it was fitted for the current round."""
        return self.ranked.predictor

    def _candidate(self, plan: Round, genotype: Genotype, fidelity: int | None = None, **origin: Any) -> Candidate:
        """The next candidate, with what is predicted of it."""
        if plan.scores is not None:
            (mean,), (std,) = plan.unit.stated(*self.predictor.predict([genotype]))
            epoch = plan.epoch or self.horizon.fidelity
            origin["predicted"] = {"mean": _short(mean), "std": _short(std), "epoch": epoch}
        candidate = self.candidate(genotype, **origin, round=plan.number, told=plan.told)
        return dataclasses.replace(candidate, fidelity=fidelity or candidate.fidelity)


def _short(value: float) -> float:
    """Six digits: what is shown need not carry rounding errors."""
    return float(f"{value:.6g}")
