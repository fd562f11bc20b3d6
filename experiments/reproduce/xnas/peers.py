"""Who else searches with two objectives: pymoo's generational NSGA-II, and Optuna's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mixed import MixedVariableDuplicateElimination, MixedVariableMating, MixedVariableSampling
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.core.variable import Choice
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.problems.static import StaticProblem

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.base import Space

TRIES = 200


@dataclass(frozen=True, eq=False)
class Generational:
    """What a generational search found.

    Attributes:
        points: n x 2, larger is better, in the order of evaluation.
        makespan_s: when its last generation ended.
        distinct: number of different architectures.
    """

    points: np.ndarray
    makespan_s: float
    distinct: int


def pymoo_search(
    space: Space,
    point: Callable[[Genotype], tuple[float, float]],
    duration_s: Callable[[Genotype], float],
    *,
    trials: int,
    population: int,
    seed: int,
    mixed: bool,
) -> Generational:
    """NSGA-II of pymoo as it comes, a worker for every member of a generation.

    Args:
        space: without invalid genotypes.
        point: objectives of a genotype, larger is better.
        duration_s: seconds of a trial.
        trials: evaluations; the last generation is cut.
        population: trials of a generation.
        seed: of every random number.
        mixed: operators for categorical variables, else XNAS' for integers.
    """
    names = [choice.name for choice in space.choices]
    if mixed:
        variables = {c.name: Choice(options=list(range(len(c.options)))) for c in space.choices}
        problem = Problem(vars=variables, n_obj=2)
        same = MixedVariableDuplicateElimination()
        algorithm = NSGA2(
            pop_size=population,
            sampling=MixedVariableSampling(),
            mating=MixedVariableMating(eliminate_duplicates=same),
            eliminate_duplicates=same,
        )
    else:
        high = np.array([len(choice.options) - 1 for choice in space.choices])
        problem = Problem(n_var=len(high), n_obj=2, xl=np.zeros(len(high)), xu=high, vtype=int)
        algorithm = NSGA2(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1.0, prob_var=1 / len(high), eta=3, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
    algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    genotypes: list[Genotype] = []
    makespan_s = 0.0
    while len(genotypes) < trials:
        asked = algorithm.ask()
        found = [tuple(int(x[name] if mixed else x[i]) for i, name in enumerate(names)) for x in asked.get("X")]
        points = np.array([point(genotype) for genotype in found])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            algorithm.evaluator.eval(StaticProblem(problem, F=-points), asked)
        algorithm.tell(infills=asked)
        kept = found[: trials - len(genotypes)]
        genotypes += kept
        makespan_s += max(duration_s(genotype) for genotype in kept)
    distinct = len({space.key(genotype) for genotype in genotypes})
    return Generational(np.array([point(genotype) for genotype in genotypes]), makespan_s, distinct)


class OptunaNSGA2(Controller):
    """Optuna's ``NSGAIISampler`` as a controller for simulations; see ``OptunaTPE`` of the NAS-BOWL experiments.

    It does not know isomorphisms and repeats itself. A suggestion that was evaluated is told its values at once, which
    costs no trial, and it is asked again; one that is pending is told as failed.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Goal],
        *,
        seed: int,
        horizon: Horizon | None = None,
        population: int = 64,
    ) -> None:
        """An empty study in memory."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
        self.study = optuna.create_study(directions=["maximize"] * len(objectives), sampler=sampler)
        self._distributions = {
            choice.name: CategoricalDistribution(tuple(range(len(choice.options)))) for choice in space.choices
        }
        self._trial_of: dict[int, optuna.Trial] = {}
        self._values_of: dict[str, list[float]] = {}

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        for _ in range(TRIES):
            trial = self.study.ask(self._distributions)
            genotype = tuple(int(trial.params[choice.name]) for choice in self.space.choices)
            if self.space.is_valid(genotype) and not self.known(genotype):
                candidate = self.candidate(genotype, stage="nsga2")
                self._trial_of[candidate.ask_number] = trial
                return candidate
            values = self._values_of.get(self.space.key(genotype))
            self.study.tell(trial, values, state=TrialState.FAIL if values is None else None)
        found = self.draw_new(rng)
        return None if found is None else self.candidate(found, stage="random")

    def _learn(self, outcome: Outcome) -> None:
        trial = self._trial_of.pop(outcome.trial, None)
        values = None
        if outcome.status == TrialStatus.COMPLETED:
            values = [goal.signed(outcome.metrics) for goal in self.objectives]
            self._values_of[self.space.key(outcome.candidate.genotype)] = values
        if trial is not None:
            self.study.tell(trial, values, state=TrialState.FAIL if values is None else None)
