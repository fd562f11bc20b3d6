"""Regularized (aging) evolution, asynchronous (Real, Aggarwal, Huang & Le, AAAI 2019, algorithm 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.parameters import whole
from xnas_ray.controllers.registry import register_controller
from xnas_ray.errors import SpecError
from xnas_ray.messages import Candidate, Outcome, TrialStatus
from xnas_ray.spaces.base import Space

MUTANTS = 20


@register_controller("regularized_evolution")
class RegularizedEvolution(Controller):
    """Tournaments in a population in which the oldest dies, not the worst.

    The first ``population`` proposals are random. From then on ``sample`` members are drawn with replacement from the
    last ``population`` outcomes that completed, in the order in which they were told; the best of them is mutated in
    one choice. Nothing waits: members of the population are whatever has completed when a worker is free, and with
    none yet the proposal is random. Failed trials never become parents.

    The paper lets children repeat; here an architecture is evaluated once. When ``MUTANTS`` mutants in one choice are
    all known the parent is mutated in two choices, and so on, and at last a random new architecture is taken.

    Args:
        space: what can be searched.
        objectives: the first one counts, unless ``weights`` are given.
        seed: of every random number.
        horizon: fidelity and shapes of the candidates.
        population: members that live at once (P of the paper, 100 there).
        sample: members of a tournament (S of the paper, 25 there).
        weights: weight of each objective in the sum that is maximised, each with the sign that makes larger better.

    Raises:
        SpecError: a parameter is out of range or names an objective that the search does not have.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Goal],
        *,
        seed: int,
        horizon: Horizon | None = None,
        population: int = 100,
        sample: int = 25,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Check the parameters; the population is empty."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        self.population = whole("population", population)
        self.sample = whole("sample", sample)
        self.weights = self._checked(weights)
        self._alive: deque[tuple[float, Outcome]] = deque(maxlen=self.population)  # (fitness, member), oldest first

    @property
    def members(self) -> tuple[Outcome, ...]:
        """The population, oldest first."""
        return tuple(outcome for _, outcome in self._alive)

    def fitness(self, outcome: Outcome) -> float:
        """What tournaments compare; larger is better."""
        return sum(self.weights[goal.name] * goal.signed(outcome.metrics) for goal in self._weighed)

    def _learn(self, outcome: Outcome) -> None:
        if outcome.status == TrialStatus.COMPLETED:
            self._alive.append((self.fitness(outcome), outcome))

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        if self._next_ask >= self.population and self._alive:
            drawn = rng.integers(len(self._alive), size=self.sample)
            best = max(drawn, key=lambda i: self._alive[i][0])
            parent = self._alive[best][1]
            child = self.first_new(self.mutants(parent.candidate.genotype, rng, MUTANTS))
            if child is not None:
                return self.candidate(child, stage="mutation", parents=[parent.trial])
        genotype = self.draw_new(rng)
        return None if genotype is None else self.candidate(genotype, stage="random")

    def _checked(self, weights: Mapping[str, float] | None) -> dict[str, float]:
        names = [goal.name for goal in self.objectives]
        given = {names[0]: 1.0} if weights is None else dict(weights)
        for name, weight in given.items():
            if name not in names:
                raise SpecError(
                    f"{name!r} is not an objective of this search.",
                    field="controller.params.weights",
                    got=name,
                    valid=names,
                )
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
                raise SpecError(
                    f"must be a number of at least 0, got {weight!r}.", field=f"controller.params.weights.{name}"
                )
        if not any(given.values()):
            raise SpecError("at least one weight must be above 0.", field="controller.params.weights", valid=names)
        self._weighed = [goal for goal in self.objectives if given.get(goal.name)]
        return {name: float(weight) for name, weight in given.items()}
