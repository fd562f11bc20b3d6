"""NSGA-II: conformance, the population's life, generations, constraints, and that it finds fronts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.nsga2 import NSGA2
from xnas_ray.controllers.random_search import RandomSearch
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.controllers.survival import rank_and_crowding
from xnas_ray.controllers.variation import Categorical, Ordinal
from xnas_ray.errors import ControllerError, SpecError
from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.pareto import hypervolume
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.controller_case import ControllerTestCase

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
QUALITY, COST = Goal("quality", maximize=True), Goal("cost", maximize=False)


class TestConformance(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return NSGA2(space, objectives, seed=seed, population=10)


class TestConformanceWithTheDefaults(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return NSGA2(space, objectives, seed=seed)


class TestConformanceWithXnasOperators(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return NSGA2(space, objectives, seed=seed, population=10, operators="ordinal", single_objective=True)


def made_up(candidate: Candidate) -> dict[str, float]:
    """Two objectives in conflict: convolutions help and cost."""
    found = candidate.genotype
    weights = np.array([0, 1, 2, 3, 1.5])[list(found)]
    order = np.array([3, 1, 4, 1, 5, 9]) / 23
    return {"quality": float(weights @ order), "cost": float((np.array([0, 0, 1, 3, 0])[list(found)]).sum())}


def completed(candidate: Candidate, **metrics: float) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics={**made_up(candidate), **metrics})


def failed(candidate: Candidate) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=Failure(FailureKind.NAN))


def ask(controller: Controller) -> Candidate:
    candidate = controller.propose()
    assert candidate is not None
    return candidate


def make(**params) -> NSGA2:
    return NSGA2(SPACE, [QUALITY, COST], seed=0, **params)


def run(controller: Controller, trials: int, workers: int = 4) -> list[Candidate]:
    """Several at once; the oldest ends first."""
    asked, running = [], []
    while len(asked) < trials or running:
        while len(running) < workers and len(asked) < trials and (candidate := controller.propose()) is not None:
            asked.append(candidate)
            running.append(candidate)
        controller.tell(completed(running.pop(0)))
    return asked


# ---- the population ------------------------------------------------------------------------------------------------


def test_it_is_registered_with_the_population_of_xnas():
    controller = CONTROLLERS.create("nsga2", {}, SPACE, [QUALITY], seed=0)
    assert isinstance(controller, NSGA2) and controller.population == 64


def test_members_are_the_best_of_all_that_completed():
    controller = make(population=30)
    run(controller, 90)
    everything = controller.completed()
    points = np.array([[o.metrics["quality"], -o.metrics["cost"]] for o in everything])
    ranks, _ = rank_and_crowding(points)
    front = {o.trial for o, rank in zip(everything, ranks, strict=True) if rank == 0}
    assert len(controller.members) == 30 and 1 < len(front) <= 30
    assert front <= {o.trial for o in controller.members}


def test_a_trial_joins_when_it_ends_and_failures_never_do():
    controller = make(population=4)
    first, second, third = (ask(controller) for _ in range(3))
    controller.tell(completed(second))
    controller.tell(failed(first))
    controller.tell(completed(third))
    assert [o.trial for o in controller.members] == [1, 2]


def test_the_first_proposals_are_random_then_children_have_parents():
    controller = make(population=6)
    asked = run(controller, 40)
    assert [c.origin["stage"] for c in asked[:6]] == ["random"] * 6
    later = asked[6:]
    assert sum(c.origin["stage"] == "child" for c in later) > 25
    for candidate in later:
        if candidate.origin["stage"] != "random":
            assert 1 <= len(candidate.origin["parents"]) <= 2
            assert all(parent < candidate.ask_number for parent in candidate.origin["parents"])
        assert candidate.origin["generation"] == candidate.ask_number // 6


def test_nobody_waits():
    """With every trial of the first population still running there are candidates."""
    controller = make(population=4)
    for _ in range(12):
        assert ask(controller).origin["stage"] == "random"


def test_without_crossover_children_have_one_parent():
    asked = run(make(population=6, crossover=0.0), 30)
    assert {len(c.origin["parents"]) for c in asked if c.origin["stage"] == "child"} == {1}


def test_parents_win_tournaments():
    """The better of two different members: the best wins whenever it takes part, the worst never."""
    controller = NSGA2(SPACE, [QUALITY], seed=0, population=10)
    for i in range(10):
        controller.tell(completed(ask(controller), quality=float(i)))
    rng = np.random.default_rng(0)
    won = np.bincount([controller._tournament(rng).trial for _ in range(4000)], minlength=10) / 4000
    # Member k of n wins against the k below it: k / C(n, 2).
    assert won == pytest.approx(np.arange(10) / 45, abs=0.03)
    assert won[0] == 0


def test_a_single_objective_leaves_the_others_alone():
    controller = make(population=6, single_objective=True)
    run(controller, 60)
    best = sorted((o.metrics["quality"] for o in controller.completed()), reverse=True)[:6]
    assert sorted((o.metrics["quality"] for o in controller.members), reverse=True) == best


# ---- generations ----------------------------------------------------------------------------------------------------


def test_a_generation_waits_for_the_one_before():
    controller = make(population=4, mode="generational")
    first = [ask(controller) for _ in range(4)]
    assert controller.propose() is None
    for candidate in first[:3]:
        controller.tell(completed(candidate))
    assert controller.propose() is None
    controller.tell(failed(first[3]))
    assert ask(controller).origin["generation"] == 1
    assert {o.trial for o in controller.members} == {0, 1, 2}


def test_members_of_a_generation_change_only_between_generations():
    controller = make(population=4, mode="generational")
    for candidate in [ask(controller) for _ in range(4)]:
        controller.tell(completed(candidate))
    second = [ask(controller) for _ in range(4)]
    before = controller.members
    controller.tell(completed(second[0], quality=1e6))
    assert controller.members == before
    for candidate in second[1:]:
        controller.tell(completed(candidate))
    ask(controller)
    assert second[0].ask_number in {o.trial for o in controller.members} and len(controller.members) == 4


def test_the_order_within_a_generation_does_not_matter():
    orders = [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]]
    found = []
    for order in orders:
        controller = make(population=6, mode="generational")
        for _ in range(3):
            cohort = [ask(controller) for _ in range(6)]
            for i in order:
                controller.tell(completed(cohort[i]))
        found.append([ask(controller).genotype for _ in range(6)])
    assert found[0] == found[1]


def test_generations_search_a_space_to_its_end():
    space = RestrictedSpace(SPACE, [SPACE.sample(np.random.default_rng(i)) for i in range(25)])
    keys = {space.key(g) for g in space.genotypes()}
    controller = NSGA2(space, [QUALITY, COST], seed=1, population=4, mode="generational")
    asked = run(controller, len(keys))
    assert {space.key(c.genotype) for c in asked} == keys and controller.propose() is None


# ---- constraints ----------------------------------------------------------------------------------------------------


def test_the_feasible_live_longer_than_the_good():
    controller = make(population=3, constraints=["latency_ms <= 5"])
    for latency, quality in [(4, 1), (6, 100), (5, 2), (50, 1000), (4.5, 0.5)]:
        controller.tell(completed(ask(controller), latency_ms=latency, quality=quality, cost=1.0 / quality))
    assert {o.trial for o in controller.members} == {0, 2, 4}
    assert [controller.violation(o) for o in controller.outcomes] == pytest.approx([0, 0.2, 0, 9, 0])


def test_the_least_infeasible_come_first_while_nothing_is_feasible():
    controller = make(population=2, constraints=["latency_ms < 5", "size >= 0"])
    for latency, size in [(9, 0), (5, 0), (4, -3), (6, 0)]:
        controller.tell(completed(ask(controller), latency_ms=latency, size=size))
    assert [o.trial for o in controller.members] == [1, 3]
    assert controller.explain() == {}


def test_a_metric_that_is_missing_is_named():
    controller = make(constraints=["latency_ms <= 5"])
    with pytest.raises(ControllerError, match="latency_ms"):
        controller.tell(completed(ask(controller)))


# ---- operators ------------------------------------------------------------------------------------------------------


def test_categorical_mutation_follows_the_rates():
    rng, start = np.random.default_rng(0), (3, 3, 3, 3, 3, 3)
    mutants = [Categorical().mutate(SPACE, start, rng) for _ in range(6000)]
    changed = np.array(mutants) != 3
    assert changed.mean(axis=0) == pytest.approx(np.full(6, 1 / 6), abs=0.02)
    assert (~changed).all(axis=1).mean() == pytest.approx((5 / 6) ** 6, abs=0.02)


def test_ordinal_operators_are_pymoos():
    """Distributions of children against pymoo's operators on an integer problem, bounds half an option outside."""
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM

    first, second, count = (0, 1, 2, 3, 4, 2), (4, 1, 0, 2, 0, 3), 4000
    problem = Problem(n_var=6, xl=-0.5, xu=4.5)
    parents = np.repeat(np.array([[first], [second]], dtype=float), count, axis=1)
    theirs = SBX(prob_var=0.5, eta=3)._do(problem, parents, random_state=np.random.default_rng(0))
    theirs = np.clip(np.rint(theirs[np.random.default_rng(1).integers(2, size=count), np.arange(count)]), 0, 4)
    rng = np.random.default_rng(2)
    ours = np.array([Ordinal().cross(SPACE, first, second, rng) for _ in range(count)])
    _same_shares(theirs, ours)
    mutants = PM(eta=3, prob=1.0, prob_var=1 / 6).do(
        problem, Population.new("X", np.repeat([[2.0] * 6], count, axis=0)), random_state=np.random.default_rng(3)
    )
    ours = np.array([Ordinal().mutate(SPACE, (2,) * 6, rng) for _ in range(count)])
    _same_shares(np.clip(np.rint(mutants.get("X")), 0, 4), ours)


def _same_shares(theirs: np.ndarray, ours: np.ndarray) -> None:
    for option in range(5):
        assert (ours == option).mean(axis=0) == pytest.approx((theirs == option).mean(axis=0), abs=0.03)


# ---- what it says ---------------------------------------------------------------------------------------------------


def test_hypervolume_grows_with_the_trials():
    controller = make(population=8, reference={"quality": 0.0, "cost": 20.0})
    run(controller, 40)
    table = controller.explain()["hypervolume"]
    points = np.array([[o.metrics["quality"], -o.metrics["cost"]] for o in controller.completed()])
    expected = [hypervolume(points[: i + 1], [0.0, -20.0]) for i in range(len(points))]
    assert table["hypervolume"].tolist() == pytest.approx(expected)
    assert table["trial"].tolist() == [o.trial for o in controller.completed()]
    assert set(table["reference_cost"]) == {20.0} and table["on_front"].iloc[0]
    grows = np.diff(table["hypervolume"], prepend=0) > 1e-12
    assert (table["on_front"].to_numpy() >= grows).all()


def test_the_default_reference_is_the_worst_that_was_seen():
    controller = make(population=8)
    run(controller, 20)
    table = controller.explain()["hypervolume"]
    assert table["reference_cost"][0] == max(o.metrics["cost"] for o in controller.completed())
    assert table["reference_quality"][0] == min(o.metrics["quality"] for o in controller.completed())


def test_it_beats_chance():
    def volume(controller: Controller) -> float:
        run(controller, 150)
        points = np.array([[o.metrics["quality"], -o.metrics["cost"]] for o in controller.completed()])
        return hypervolume(points, [0.0, -20.0])

    goals, seeds = [QUALITY, COST], range(3)
    chance = np.mean([volume(RandomSearch(SPACE, goals, seed=seed)) for seed in seeds])
    for operators in ("categorical", "ordinal"):
        found = [volume(NSGA2(SPACE, goals, seed=seed, population=20, operators=operators)) for seed in seeds]
        assert np.mean(found) > chance + 0.5


# ---- bad parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"population": 1}, "population"),
        ({"population": True}, "population"),
        ({"population": 6.5}, "population"),
        ({"mode": "async"}, "mode"),
        ({"operators": "sbx"}, "operators"),
        ({"crossover": 1.5}, "crossover"),
        ({"crossover": "often"}, "crossover"),
        ({"single_objective": 1}, "single_objective"),
        ({"constraints": "flops <= 3"}, "constraints"),
        ({"constraints": ["flops about 3"]}, "constraints"),
        ({"reference": {"quality": 1}}, "reference"),
        ({"reference": {"quality": 1, "cost": float("inf")}}, "reference.cost"),
        ({"reference": 3}, "reference"),
    ],
)
def test_bad_parameters_are_named(params, field):
    with pytest.raises(SpecError) as error:
        make(**params)
    assert error.value.field == f"controller.params.{field}"
