"""NSGA-II for architectures (Deb, Pratap, Agarwal & Meyarivan, IEEE TEVC 2002), asynchronous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.limits import Limit, check_limits
from xnas_ray.controllers.parameters import FIELD, flag, one_of, whole
from xnas_ray.controllers.registry import register_controller
from xnas_ray.controllers.survival import rank_and_crowding, survivors
from xnas_ray.controllers.variation import Categorical, Operators, Ordinal
from xnas_ray.errors import ControllerError, SpecError
from xnas_ray.messages import Candidate, Outcome, TrialStatus
from xnas_ray.pareto import Front
from xnas_ray.spaces.base import Space

if TYPE_CHECKING:
    import pandas as pd

TRIES = 50
MODES = ("steady", "generational")
OPERATORS: dict[str, type[Operators]] = {"categorical": Categorical, "ordinal": Ordinal}


@register_controller("nsga2")
class NSGA2(Controller):
    """Selection by dominance and loneliness, in a population that changes with every trial that ends.

    The first ``population`` proposals are random. From then on two parents win binary tournaments among the members
    (first the lower front, then the larger crowding distance), are crossed and mutated. A trial that completes joins
    the population at once, and the worst member of the last front leaves: nobody waits for a generation. Failed trials
    never become members. Children that are known, pending or invalid are drawn again; after ``TRIES`` of them a parent
    is mutated further and further away, and at last a random new architecture is taken.

    With constraints on measured metrics every feasible member is before every infeasible one, and these are ordered by
    the sum of their relative violations (constrained domination). Constraints on FLOPs and parameters need nothing
    here: infeasible architectures are not in the space.

    ``mode="generational"`` is the original algorithm, with its barrier: proposals of a generation come when all trials
    of the one before have ended, and parents are chosen among the ``population`` best of both. XNAS' settings are
    ``mode="generational", operators="ordinal"`` (and its ``-s`` is ``single_objective=True``), but architectures are
    never evaluated twice here.

    Origins say ``stage`` (``"random"``, ``"child"`` or ``"mutation"``), ``parents`` (trial numbers: two of a crossover,
    else one) and ``generation``: how many times ``population`` candidates were asked before.

    Args:
        space: what can be searched.
        objectives: one or more, of either direction.
        seed: of every random number.
        horizon: fidelity and shapes of the candidates.
        population: members that live at once, 64 in XNAS.
        mode: ``"steady"`` or ``"generational"``.
        operators: ``"categorical"`` or ``"ordinal"``.
        crossover: probability that a child has two parents.
        single_objective: select by the first objective alone; the others are measured and stored.
        constraints: on measured metrics, such as ``"latency_ms <= 5"``.
        reference: value of each objective by name that a trial must beat to add hypervolume; by default the worst that
            was seen.

    Raises:
        SpecError: a parameter is out of range or of the wrong kind.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Goal],
        *,
        seed: int,
        horizon: Horizon | None = None,
        population: int = 64,
        mode: str = "steady",
        operators: str = "categorical",
        crossover: float = 0.9,
        single_objective: bool = False,
        constraints: Sequence[str] = (),
        reference: Mapping[str, float] | None = None,
    ) -> None:
        """Check the parameters; the population is empty."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        if isinstance(crossover, bool) or not isinstance(crossover, (int, float)) or not 0 <= crossover <= 1:
            raise SpecError(f"must be a probability, got {crossover!r}.", field=f"{FIELD}.crossover")
        self.population = whole("population", population, 2)
        self.mode = one_of("mode", mode, MODES)
        self.operators = OPERATORS[one_of("operators", operators, tuple(OPERATORS))]()
        self.crossover = float(crossover)
        self.goals = self.objectives[:1] if flag("single_objective", single_objective) else self.objectives
        self.limits: tuple[Limit, ...] = check_limits(constraints, FIELD)
        self.reference = _checked(reference, [goal.name for goal in self.objectives])
        self._members: list[Outcome] = []
        self._cohorts: dict[int, list[Outcome]] = {}  # generational: completed trials of generations yet to be merged
        self._merged = 0
        self._standing: tuple[np.ndarray, np.ndarray] | None = None  # rank and crowding of the members

    @property
    def members(self) -> tuple[Outcome, ...]:
        """The population, in the order of the tells; generational: in that of the asks."""
        return tuple(self._members)

    def explain(self) -> Mapping[str, pd.DataFrame]:
        """``hypervolume``: one row a completed trial, in the order of the tells.

        Columns: ``trial``, ``hypervolume`` (of the feasible trials so far, in the product of the objectives' units),
        ``on_front`` (whether the trial was on the front when it ended) and ``reference_<objective>``.
        """
        import pandas as pd

        feasible = [outcome for outcome in self.completed() if self.violation(outcome) == 0]
        if not feasible:
            return {}
        points = self._points(feasible, self.objectives)
        reference = self._reference_point(points)
        front = Front(reference.tolist())
        columns = {
            f"reference_{goal.name}": float(value if goal.maximize else -value)
            for goal, value in zip(self.objectives, reference, strict=True)
        }
        rows = []
        for outcome, point in zip(feasible, points, strict=True):
            entered = front.add(point)
            rows.append({"trial": outcome.trial, "hypervolume": front.hypervolume, "on_front": entered, **columns})
        return {"hypervolume": pd.DataFrame(rows)}

    def violation(self, outcome: Outcome) -> float:
        """Sum over the constraints of how far the trial is beyond them, as a share of the limit; 0 when it is feasible.

        Raises:
            ControllerError: the trial lacks a metric of a constraint.
        """
        missing = [limit.metric for limit in self.limits if limit.metric not in outcome.metrics]
        if missing:
            raise ControllerError(f"trial {outcome.trial} completed without {missing}.", valid=sorted(outcome.metrics))
        return sum(limit.violation(outcome.metrics[limit.metric]) for limit in self.limits)

    # ---- who lives --------------------------------------------------------------------------------------------------

    def _learn(self, outcome: Outcome) -> None:
        if outcome.status != TrialStatus.COMPLETED:
            return
        if self.mode == "generational":
            self._cohorts.setdefault(outcome.trial // self.population, []).append(outcome)
        else:
            self._select([*self._members, outcome])

    def _select(self, outcomes: Sequence[Outcome]) -> None:
        """The best ``population`` of the outcomes become the members."""
        kept = survivors(self._points(outcomes, self.goals), self.population, self._violations(outcomes))
        self._members = [outcomes[i] for i in kept]
        self._standing = None

    def _merge(self, generation: int) -> None:
        """Take every generation before this one into the population; they have ended."""
        for number in range(self._merged, generation):
            cohort = sorted(self._cohorts.pop(number, ()), key=lambda outcome: outcome.trial)
            if cohort:
                self._select([*self._members, *cohort])
        self._merged = max(self._merged, generation)

    # ---- who is next ------------------------------------------------------------------------------------------------

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        generation = self._next_ask // self.population
        if self.mode == "generational":
            if any(trial // self.population < generation for trial in self.pending):
                return None
            self._merge(generation)
        if generation and len(self._members) >= 2:
            candidate = self._child(rng, generation)
            if candidate is not None:
                return candidate
        genotype = self.draw_new(rng)
        return None if genotype is None else self.candidate(genotype, stage="random", generation=generation)

    def _child(self, rng: np.random.Generator, generation: int) -> Candidate | None:
        for _ in range(TRIES):
            first, second = self._tournament(rng), self._tournament(rng)
            child, parents = first.candidate.genotype, [first.trial]
            if rng.random() < self.crossover:
                child = self.operators.cross(self.space, child, second.candidate.genotype, rng)
                parents = sorted({first.trial, second.trial})
            child = self.operators.mutate(self.space, child, rng)
            if self.space.is_valid(child) and not self.known(child):
                return self.candidate(child, stage="child", parents=parents, generation=generation)
        found = self.first_new(self.mutants(first.candidate.genotype, rng, TRIES))
        if found is None:
            return None
        return self.candidate(found, stage="mutation", parents=[first.trial], generation=generation)

    def _tournament(self, rng: np.random.Generator) -> Outcome:
        """The better of two different members; the first of equals, which is as good as either."""
        if self._standing is None:
            points = self._points(self._members, self.goals)
            self._standing = rank_and_crowding(points, self._violations(self._members))
        ranks, distances = self._standing
        one, other = (int(i) for i in rng.choice(len(self._members), size=2, replace=False))
        better = (ranks[other], -distances[other]) < (ranks[one], -distances[one])
        return self._members[other if better else one]

    # ---- numbers ----------------------------------------------------------------------------------------------------

    def _points(self, outcomes: Sequence[Outcome], goals: Sequence[Goal]) -> np.ndarray:
        """N x m, larger is better."""
        return np.array([[goal.signed(outcome.metrics) for goal in goals] for outcome in outcomes], dtype=float)

    def _violations(self, outcomes: Sequence[Outcome]) -> np.ndarray:
        return np.array([self.violation(outcome) for outcome in outcomes])

    def _reference_point(self, points: np.ndarray) -> np.ndarray:
        if self.reference is None:
            return np.asarray(points.min(axis=0))
        return np.array([goal.signed(self.reference) for goal in self.objectives])


def _checked(reference: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float] | None:
    if reference is None:
        return None
    field = f"{FIELD}.reference"
    if not isinstance(reference, Mapping) or set(reference) != set(names):
        raise SpecError(f"must have a value for every objective, got {reference!r}.", field=field, valid=names)
    for name, value in reference.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise SpecError(f"must be a finite number, got {value!r}.", field=f"{field}.{name}")
    return {name: float(value) for name, value in reference.items()}
