"""Optuna's multivariate TPE as a controller, to be compared under the same simulated cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.wrapped import RestrictedSpace

TRIES = 200


class OptunaTPE(Controller):
    """``TPESampler(multivariate=True, constant_liar=True)`` over one categorical parameter a choice.

    TPE does not know isomorphisms and repeats itself. It is helped as far as its interface allows: when it suggests an
    architecture that was evaluated it is told the value at once, which costs no query, and asked again; suggestions
    that are invalid or pending are told as failed. After ``TRIES`` such suggestions a random new architecture is
    taken. In a space that is narrowed to a table's rows a suggestion stands for the nearest row that is new.

    It cannot be replayed (Optuna's sampler carries its state), so it is for simulations only.
    """

    def __init__(self, space: Space, objectives: Sequence[Goal], *, seed: int, horizon: Horizon | None = None) -> None:
        """An empty study in memory."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self._distributions = {
            choice.name: CategoricalDistribution(tuple(range(len(choice.options)))) for choice in space.choices
        }
        self._members = np.array(space.members) if isinstance(space, RestrictedSpace) else None
        self._trial_of: dict[int, optuna.Trial] = {}
        self._value_of: dict[str, float] = {}

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        for _ in range(TRIES):
            trial = self.study.ask(self._distributions)
            genotype = self._meant(tuple(int(trial.params[choice.name]) for choice in self.space.choices))
            if genotype is not None and not self.known(genotype):
                candidate = self.candidate(genotype, stage="tpe")
                self._trial_of[candidate.ask_number] = trial
                return candidate
            value = None if genotype is None else self._value_of.get(self.space.key(genotype))
            if value is None:
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                self.study.tell(trial, value)
        found = self.draw_new(rng)
        return None if found is None else self.candidate(found, stage="random")

    def _learn(self, outcome: Outcome) -> None:
        trial = self._trial_of.pop(outcome.trial, None)
        completed = outcome.status == TrialStatus.COMPLETED
        if completed:
            value = self.objectives[0].signed(outcome.metrics)
            self._value_of[self.space.key(outcome.candidate.genotype)] = value
        if trial is not None:
            self.study.tell(trial, value if completed else None, state=None if completed else TrialState.FAIL)

    def _meant(self, suggested: Genotype) -> Genotype | None:
        """The architecture that a suggestion stands for, None when it is not valid."""
        if self._members is None:
            return self.space.canonical(suggested) if self.space.is_valid(suggested) else None
        distance = (self._members != np.array(suggested)).sum(axis=1)
        for i in np.argsort(distance, kind="stable"):
            genotype: Genotype = tuple(map(int, self._members[i]))
            if not self.known(genotype):
                return genotype
        return None
