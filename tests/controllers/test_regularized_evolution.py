"""Regularized evolution: the population's life, parents, parameters, and that it beats chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.random_search import RandomSearch
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.controllers.regularized_evolution import RegularizedEvolution
from xnas_ray.errors import SpecError
from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.testing.controller_case import GOALS, ControllerTestCase

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
ACCURACY, PARAMS = GOALS[0], GOALS[1]


class TestConformance(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return RegularizedEvolution(space, objectives, seed=seed, population=10, sample=4)


class TestConformanceWithTheDefaults(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return RegularizedEvolution(space, objectives, seed=seed)


def completed(candidate: Candidate, **metrics: float) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=metrics)


def failed(candidate: Candidate) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=Failure(FailureKind.NAN))


def ask(controller: Controller) -> Candidate:
    candidate = controller.propose()
    assert candidate is not None
    return candidate


def distance(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))


def test_it_is_registered_with_the_papers_defaults():
    controller = CONTROLLERS.create("regularized_evolution", {}, SPACE, [ACCURACY], seed=0)
    assert isinstance(controller, RegularizedEvolution)
    assert (controller.population, controller.sample) == (100, 25)


def test_the_first_proposals_are_random_then_children_follow():
    controller = RegularizedEvolution(SPACE, [ACCURACY], seed=0, population=6, sample=3)
    for i in range(12):
        candidate = ask(controller)
        assert candidate.origin["stage"] == ("random" if i < 6 else "mutation")
        controller.tell(completed(candidate, val_accuracy=float(i)))


def test_without_members_proposals_stay_random():
    controller = RegularizedEvolution(SPACE, [ACCURACY], seed=0, population=3, sample=3)
    assert {ask(controller).origin["stage"] for _ in range(20)} == {"random"}


def test_the_oldest_dies_in_the_order_of_the_tells():
    controller = RegularizedEvolution(SPACE, [ACCURACY], seed=0, population=3, sample=2)
    asked = [ask(controller) for _ in range(6)]
    for i in (4, 0, 5, 2):
        controller.tell(completed(asked[i], val_accuracy=100.0 - i))
    assert [member.trial for member in controller.members] == [0, 5, 2]


def test_failed_trials_never_enter_the_population():
    controller = RegularizedEvolution(SPACE, [ACCURACY], seed=0, population=4, sample=2)
    asked = [ask(controller) for _ in range(8)]
    for candidate in asked[::2]:
        controller.tell(failed(candidate))
    for candidate in asked[1::2]:
        controller.tell(completed(candidate, val_accuracy=1.0))
    assert [member.trial for member in controller.members] == [1, 3, 5, 7]
    parents = set()
    for _ in range(30):
        candidate = ask(controller)
        parents.update(candidate.origin["parents"])
        controller.tell(failed(candidate))
    assert parents <= {1, 3, 5, 7}


@pytest.mark.parametrize(("goal", "best"), [(ACCURACY, 7), (PARAMS, 0)])
def test_a_tournament_of_many_is_won_by_the_best(goal: Goal, best: int):
    controller = RegularizedEvolution(SPACE, [goal], seed=0, population=8, sample=500)
    for i in range(8):
        controller.tell(completed(ask(controller), **{goal.name: float(i)}))
    assert all(ask(controller).origin["parents"] == [best] for _ in range(10))


def test_children_differ_from_their_parent_in_one_choice_before_canonicalisation():
    controller = RegularizedEvolution(SPACE, [ACCURACY], seed=3, population=5, sample=2)
    asked: dict[int, Candidate] = {}
    for i in range(60):
        candidate = ask(controller)
        asked[i] = candidate
        if candidate.origin["stage"] == "mutation":
            parent = asked[candidate.origin["parents"][0]].genotype
            classmates = [g for g in SPACE.neighbours(parent) if SPACE.canonical(g) == candidate.genotype]
            assert classmates
        controller.tell(completed(candidate, val_accuracy=float(np.sin(i))))


def test_known_neighbours_are_passed_over():
    controller = RegularizedEvolution(SPACE, [ACCURACY], seed=0, population=1, sample=1)
    first = ask(controller)
    number = 1
    for genotype in dict.fromkeys(SPACE.canonical(g) for g in SPACE.neighbours(first.genotype)):
        if genotype != first.genotype:
            controller.adopt(Candidate(number, genotype))
            number += 1
    controller.tell(completed(first, val_accuracy=1.0))
    child = ask(controller)
    assert child.origin == {"stage": "mutation", "parents": [0]}
    assert not any(SPACE.canonical(g) == child.genotype for g in SPACE.neighbours(first.genotype))


def test_weights_make_the_sum_that_is_maximised():
    controller = RegularizedEvolution(
        SPACE, [ACCURACY, PARAMS], seed=0, population=3, sample=200, weights={"val_accuracy": 1, "params": 0.5}
    )
    for accuracy, params in ((10.0, 0.0), (12.0, 10.0), (13.0, 2.0)):
        controller.tell(completed(ask(controller), val_accuracy=accuracy, params=params))
    assert [controller.fitness(member) for member in controller.members] == [10.0, 7.0, 12.0]
    assert ask(controller).origin["parents"] == [2]


def test_without_weights_the_first_objective_counts():
    controller = RegularizedEvolution(SPACE, [PARAMS, ACCURACY], seed=0)
    assert controller.fitness(completed(ask(controller), val_accuracy=50.0, params=3.0)) == -3.0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"population": 0}, "population"),
        ({"population": 10.0}, "population"),
        ({"sample": -1}, "sample"),
        ({"sample": True}, "sample"),
        ({"weights": {"accuracy": 1.0}}, "val_accuracy"),
        ({"weights": {"val_accuracy": float("nan")}}, "weights.val_accuracy"),
        ({"weights": {"val_accuracy": "high"}}, "weights.val_accuracy"),
        ({"weights": {"val_accuracy": 0.0}}, "weights"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, object], field: str):
    with pytest.raises(SpecError, match=field):
        RegularizedEvolution(SPACE, [ACCURACY], seed=0, **params)  # type: ignore[arg-type]


def test_it_finds_more_convolutions_than_chance():
    def best(controller: Controller) -> float:
        found = 0.0
        for _ in range(150):
            candidate = ask(controller)
            value = float(sum(candidate.genotype[i] == 3 for i in range(6)) + 0.1 * candidate.genotype.count(2))
            found = max(found, value)
            controller.tell(completed(candidate, val_accuracy=value))
        return found

    evolved = [best(RegularizedEvolution(SPACE, [ACCURACY], seed=s, population=20, sample=8)) for s in range(5)]
    drawn = [best(RandomSearch(SPACE, [ACCURACY], seed=s)) for s in range(5)]
    assert min(evolved) >= max(drawn)
    assert float(np.mean(evolved)) > float(np.mean(drawn)) + 0.5
