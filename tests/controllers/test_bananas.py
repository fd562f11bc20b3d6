"""BANANAS: conformance with both pools, the rhythm of its fits, its pool, parameters, and that it beats chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.controllers.bananas import Bananas
from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import SpecError
from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.controller_case import GOALS, ControllerTestCase
from xnas_ray.testing.tiny import TinySpace

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
ACCURACY = GOALS[0]
FAST = {"initial": 6, "refit_every": 5, "candidates": 20, "networks": 2, "layers": 2, "width": 6, "epochs": 5}
DIGITS = Path(__file__).parents[2] / "experiments" / "digits" / "nasbench201_digits.parquet"


class TestConformance(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return Bananas(space, objectives, seed=seed, **FAST)


class TestConformanceWithARandomPool(ControllerTestCase):
    trials = 24

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return Bananas(space, objectives, seed=seed, pool="random", **FAST)


class TestConformanceOfThePercentageError(ControllerTestCase):
    trials = 24

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return Bananas(space, objectives, seed=seed, loss="mape", bound=1.5, parents=3, max_operations=2, **FAST)


def make(space: Space = SPACE, goal: Goal = ACCURACY, **params: object) -> Bananas:
    return Bananas(space, [goal], seed=0, **{**FAST, **params})  # type: ignore[arg-type]


def convolutions(candidate: Candidate) -> float:
    """An easy task: count the 3x3 convolutions."""
    return 50.0 + 5 * candidate.genotype.count(3)


def completed(candidate: Candidate, value: float) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics={"val_accuracy": value})


def run(controller: Controller, trials: int) -> list[Candidate]:
    asked = []
    for _ in range(trials):
        candidate = controller.propose()
        assert candidate is not None
        asked.append(candidate)
        controller.tell(completed(candidate, convolutions(candidate)))
    return asked


def test_it_is_registered_with_the_published_defaults():
    controller = CONTROLLERS.create("bananas", {}, SPACE, [ACCURACY], seed=0)
    assert isinstance(controller, Bananas)
    shape = controller.ensemble.shape
    assert (shape.networks, shape.layers, shape.width, shape.epochs) == (5, 10, 20, 150)
    assert (shape.batch, shape.learning_rate) == (32, 0.01)
    assert (controller.initial, controller.refit_every, controller.candidates) == (10, 10, 100)
    assert (controller.pool, controller.parents, controller.loss) == ("mutation", 1, "mae")


def test_the_first_proposals_are_random_then_the_model_chooses():
    asked = run(make(), 20)
    assert [candidate.origin["stage"] for candidate in asked] == ["random"] * 6 + ["mutation"] * 14


def test_it_waits_for_nobody():
    controller = make()
    assert {controller.propose().origin["stage"] for _ in range(20)} == {"random"}  # type: ignore[union-attr]


def test_fits_come_after_so_many_completed_trials(monkeypatch: pytest.MonkeyPatch):
    controller, seen = make(), []
    original = controller.ensemble.fit

    def fit(rows, y, **given):
        seen.append((len(rows), given["fit"]))
        return original(rows, y, **given)

    monkeypatch.setattr(controller.ensemble, "fit", fit)
    asked = run(controller, 24)
    assert seen == [(6, 6), (11, 11), (16, 16), (21, 21)]
    assert [candidate.origin["fitted"] for candidate in asked[6:]] == [6] * 5 + [11] * 5 + [16] * 5 + [21] * 3


def test_failed_trials_teach_nothing():
    controller = make()
    for i in range(30):
        candidate = controller.propose()
        assert candidate is not None
        failure = Failure(FailureKind.NAN)
        failed = Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=failure)
        controller.tell(failed if i % 2 else completed(candidate, convolutions(candidate)))
    assert controller._fitted == 11
    assert len(controller.completed()) == 15


@pytest.mark.parametrize("pool", ["mutation", "random"])
def test_the_pool_holds_new_architectures_each_once(pool: str):
    controller = make(pool=pool)
    run(controller, 12)
    pending = [controller.propose() for _ in range(5)]
    made = controller._make_pool(controller.completed(), np.random.default_rng(0))
    keys = [SPACE.key(genotype) for genotype in made]
    assert len(keys) == len(set(keys)) == 20
    assert not any(controller.known(genotype) for genotype in made)
    assert all(SPACE.canonical(genotype) == genotype for genotype in made)
    assert not {SPACE.key(c.genotype) for c in pending if c} & set(keys)


def test_mutants_are_of_the_best():
    space = TinyWide()
    controller = make(space)
    run(controller, 12)
    best = max(controller.completed(), key=lambda outcome: outcome.metrics["val_accuracy"])
    made = controller._make_pool(controller.completed(), np.random.default_rng(0))
    distances = [sum(a != b for a, b in zip(g, best.candidate.genotype, strict=True)) for g in made]
    assert np.mean(distances) < 3
    assert max(distances) > 1


class TinyWide(NASBench201):
    """NAS-Bench-201 without isomorphisms, so that mutants can be recognised."""

    name = "tiny_wide"

    def key(self, genotype):
        return str(self.check(genotype))

    def canonical(self, genotype):
        return self.check(genotype)


def test_smaller_can_be_better():
    controller = make(goal=Goal("params", maximize=False))
    rounds = []
    for _ in range(40):
        candidate = controller.propose()
        assert candidate is not None
        rounds.append(convolutions(candidate))
        controller.tell(
            Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, {"params": convolutions(candidate)})
        )
    assert np.mean(rounds[-20:]) < np.mean(rounds[:6])


def test_it_learns_what_is_good():
    asked = run(make(candidates=100, networks=5, epochs=60, width=20), 40)
    assert np.mean([convolutions(c) for c in asked[20:]]) > np.mean([convolutions(c) for c in asked[:6]]) + 5


@pytest.mark.parametrize("pool", ["mutation", "random"])
def test_it_beats_random_search(pool: str):
    task = TabularTask.from_parquet(
        DIGITS, NASBench201(channels=8, cells_per_stage=1, stages=1), objectives={"val_accuracy": "val_accuracy_3"}
    )
    params = {"pool": pool, "layers": 4, "epochs": 60}
    found = [simulate("bananas", task, 40, 5, seed, params)["val_accuracy"].max() for seed in range(3)]
    chance = [simulate("random_search", task, 40, 5, seed)["val_accuracy"].max() for seed in range(8)]
    assert np.mean(found) > np.mean(chance)


def test_a_search_goes_on_when_the_pool_is_empty():
    space = RestrictedSpace(SPACE, [SPACE.sample(np.random.default_rng(i)) for i in range(12)])
    asked = run(make(space), len(list(space.enumerate())))
    assert asked[-1].origin["stage"] in ("random", "mutation")


def test_other_spaces_have_paths_too():
    controller = Bananas(TinySpace(), [ACCURACY], seed=0, **{**FAST, "initial": 3})
    for _ in range(8):
        candidate = controller.propose()
        assert candidate is not None
        controller.tell(completed(candidate, float(candidate.genotype[0])))
    assert len(controller.encoding.paths) > 0


def test_recipes_are_learnt():
    space = JointSpace(architecture=TinySpace(), recipe={"lr": [0.001, 0.01, 0.1, 1.0], "momentum": [0.0, 0.9]})
    controller = Bananas(
        space, [ACCURACY], seed=0, **{**FAST, "candidates": 30, "networks": 4, "width": 16, "epochs": 150}
    )
    rates = []
    for _ in range(24):
        candidate = controller.propose()
        assert candidate is not None
        rates.append(candidate.recipe["lr"])
        controller.tell(completed(candidate, 90.0 + 5 * (candidate.recipe["lr"] == 0.1)))
    assert rates[6:].count(0.1) > 8


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"initial": 0}, "initial"),
        ({"refit_every": 2.5}, "refit_every"),
        ({"pool": "all"}, "pool"),
        ({"candidates": True}, "candidates"),
        ({"loss": "mse"}, "loss"),
        ({"loss": "mape"}, "bound"),
        ({"loss": "mape", "bound": "high"}, "bound"),
        ({"loss": "mape", "bound": float("inf")}, "bound"),
        ({"max_operations": 0}, "max_operations"),
        ({"networks": -1}, "networks"),
        ({"layers": "many"}, "layers"),
    ],
)
def test_parameters_are_checked(params: dict[str, object], field: str):
    with pytest.raises(SpecError, match=f"controller.params.{field}"):
        make(**params)


def test_a_bound_that_was_beaten_is_refused():
    controller = make(loss="mape", bound=60.0)
    with pytest.raises(SpecError, match="no bound"):
        run(controller, 30)
