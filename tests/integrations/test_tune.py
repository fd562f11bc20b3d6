"""The searcher for Ray Tune: configs, outcomes, the record and its replay, and a real small run."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.search_generator import SearchGenerator

from xnas_ray.controllers.base import Horizon
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.controllers.supernet import SupernetController
from xnas_ray.errors import GenotypeError, ProtocolError, SpecError, UnknownNameError
from xnas_ray.integrations.tune import XnasSearcher
from xnas_ray.messages import FailureKind, Outcome, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.tiny import TinySpace

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
EVOLUTION = {"population": 4, "sample": 2}


def make(controller: str = "regularized_evolution", **given: Any) -> XnasSearcher:
    params = EVOLUTION if controller == "regularized_evolution" else {}
    arguments = {"space": SPACE, "metric": "val_accuracy", "mode": "max", "params": params, **given}
    return XnasSearcher(controller, **arguments)


def score(config: dict[str, Any]) -> float:
    return float(sum(i * g for i, g in enumerate(config["genotype"])))


def drive(searcher: Searcher, trials: int, *, first: int = 0, pending: int = 2) -> list[dict[str, Any]]:
    """Two trials at a time; every fifth raises."""
    configs, running = [], []
    for number in range(first, first + trials):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        configs.append(config)
        running.append((f"t{number}", config))
        if len(running) > pending:
            trial_id, ended = running.pop(0)
            if int(trial_id[1:]) % 5 == 0:
                searcher.on_trial_complete(trial_id, error=True)
            else:
                searcher.on_trial_complete(trial_id, {"val_accuracy": score(ended), "time_total_s": 2.0})
    return configs


def told(searcher: XnasSearcher) -> list[Outcome]:
    return [event for _, event in searcher._events if isinstance(event, Outcome)]


# ---- configs and outcomes -------------------------------------------------------------------------------------------


def test_a_config_says_what_to_train():
    config = make(horizon=Horizon(fidelity=3, schedule_epochs=9)).suggest("a")
    assert config == {
        "genotype": config["genotype"],
        "architecture": SPACE.format(tuple(config["genotype"])),
        "recipe": {},
        "fidelity": 3,
        "schedule_epochs": 9,
    }
    assert json.loads(json.dumps(config)) == config


def test_the_space_may_be_named():
    assert make(space="nasbench201").suggest("a")["architecture"].startswith("|")
    with pytest.raises(UnknownNameError, match="nasbench201"):
        make(space="nasbench2001")


SUPERNETS = [name for name in CONTROLLERS.names() if issubclass(CONTROLLERS.get(name), SupernetController)]


@pytest.mark.parametrize("name", SUPERNETS)
def test_supernets_are_for_the_service(name: str):
    with pytest.raises(SpecError, match="xnas run"):
        make(name, params={})


@pytest.mark.parametrize("name", sorted(set(CONTROLLERS.names()) - set(SUPERNETS)))
def test_every_controller_can_be_driven(name: str):
    searcher = make(name, params={})
    configs = drive(searcher, 12)
    assert len({config["architecture"] for config in configs}) == 12
    assert [outcome.status for outcome in told(searcher)].count(TrialStatus.FAILED) == 2


def test_proposals_are_those_of_the_controller():
    from xnas_ray.controllers.base import Goal

    controller = CONTROLLERS.create("random_search", {}, SPACE, [Goal("val_accuracy", True)], seed=5)
    searcher = make("random_search", seed=5)
    for number in range(5):
        candidate = controller.propose()
        assert candidate is not None
        assert searcher.suggest(f"t{number}")["genotype"] == list(candidate.genotype)


def test_values_are_told():
    searcher = make()
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"val_accuracy": 93, "other": math.nan, "time_total_s": 1.5})
    (outcome,) = told(searcher)
    assert (outcome.status, outcome.metrics, outcome.cost_s) == (TrialStatus.COMPLETED, {"val_accuracy": 93.0}, 1.5)
    assert not searcher.controller.pending


@pytest.mark.parametrize(
    ("result", "error", "kind"),
    [
        (None, True, FailureKind.EXCEPTION),
        ({"val_accuracy": 90.0}, True, FailureKind.EXCEPTION),
        ({"val_accuracy": math.nan}, False, FailureKind.NAN),
        ({"val_accuracy": math.inf}, False, FailureKind.NAN),
        ({"loss": 1.0}, False, FailureKind.INVALID),
        ({"val_accuracy": "high"}, False, FailureKind.INVALID),
        ({"val_accuracy": None}, False, FailureKind.INVALID),
    ],
)
def test_what_cannot_be_told_has_failed(result: Any, error: bool, kind: FailureKind):
    searcher = make()
    searcher.suggest("a")
    searcher.on_trial_complete("a", result, error=error)
    (outcome,) = told(searcher)
    assert outcome.status == TrialStatus.FAILED
    assert outcome.failure is not None and outcome.failure.kind == kind
    assert isinstance(searcher.suggest("b"), dict)


def test_a_trial_that_is_removed_is_cancelled():
    searcher = make()
    searcher.suggest("a")
    searcher.on_trial_complete("a")
    assert told(searcher)[0].status == TrialStatus.CANCELLED
    assert not searcher.controller.outcomes


def test_strangers_and_repetitions_are_ignored():
    searcher = make()
    searcher.suggest("a")
    for trial_id in ("a", "a", "b"):
        searcher.on_trial_complete(trial_id, {"val_accuracy": 1.0})
    assert len(told(searcher)) == 1


def test_several_metrics():
    searcher = make(metric=["val_accuracy", "params"], mode=["max", "min"])
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_complete("a", {"val_accuracy": 1.0, "params": 5})
    searcher.on_trial_complete("b", {"val_accuracy": 1.0})
    assert [outcome.status for outcome in told(searcher)] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    assert [goal.maximize for goal in searcher.controller.objectives] == [True, False]


# ---- metric, mode and param_space -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "mode"), [("a", None), (None, "max"), (["a", "b"], ["max"]), (["a", "a"], ["max", "max"]), ("a", "up")]
)
def test_metric_and_mode_must_fit(metric: Any, mode: Any):
    with pytest.raises(SpecError):
        make(metric=metric, mode=mode)


def test_metric_and_mode_may_come_from_tune():
    searcher = make(metric=None, mode=None)
    with pytest.raises(SpecError, match="does not know what to optimise"):
        searcher.suggest("a")
    assert searcher.set_search_properties("loss", "min", {"data": "here"}, resources=1)
    assert (searcher.metric, searcher.mode) == ("loss", "min")
    assert searcher.controller is not None and not searcher.controller.objectives[0].maximize
    assert searcher.set_search_properties("loss", "min", {})
    assert searcher.set_search_properties(None, None, {})
    with pytest.raises(SpecError, match="optimises loss"):
        searcher.set_search_properties("val_accuracy", "max", {})


@pytest.mark.parametrize("drawn", [tune.uniform(0, 1), tune.grid_search([1, 2])])
def test_tune_draws_nothing(drawn: Any):
    with pytest.raises(SpecError, match="optimizer/lr"):
        make().set_search_properties("val_accuracy", "max", {"optimizer": {"lr": drawn}, "data": "here"})


# ---- the end of a space ---------------------------------------------------------------------------------------------


def test_the_end_is_told_when_nothing_runs_any_more():
    genotypes = list(SPACE.enumerate())[:3]
    searcher = make("random_search", space=RestrictedSpace(SPACE, genotypes))
    for name in "abc":
        assert isinstance(searcher.suggest(name), dict)
    assert searcher.suggest("d") is None
    for name in "abc":
        searcher.on_trial_complete(name, {"val_accuracy": 1.0})
    assert searcher.suggest("d") == Searcher.FINISHED


def test_a_limiter_holds_back():
    searcher = make()
    limited = ConcurrencyLimiter(searcher, max_concurrent=2)
    assert isinstance(limited.suggest("a"), dict)
    assert isinstance(limited.suggest("b"), dict)
    assert limited.suggest("c") is None
    limited.on_trial_complete("a", {"val_accuracy": 1.0})
    assert isinstance(limited.suggest("c"), dict)
    assert len(searcher.controller.pending) == 2


# ---- record and replay ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random_search", "regularized_evolution", "bananas"])
def test_a_restored_searcher_goes_on_alike(name: str, tmp_path: Path):
    first = make(name)
    drive(first, 20)
    first.save(str(tmp_path / "state.json"))
    json.loads((tmp_path / "state.json").read_text())
    again = make(name)
    again.restore(str(tmp_path / "state.json"))
    assert set(again.controller.pending) == set(first.controller.pending)
    for searcher in (first, again):
        searcher.on_trial_complete("t18", {"val_accuracy": 3.0})
    assert drive(again, 6, first=20) == drive(first, 6, first=20)


def test_it_survives_pickling():
    first = make()
    drive(first, 12)
    again = pickle.loads(pickle.dumps(first))
    assert drive(again, 4, first=12) == drive(first, 4, first=12)
    waiting = pickle.loads(pickle.dumps(make(metric=None, mode=None)))
    assert waiting.set_search_properties("loss", "min", {})


def test_tune_saves_and_restores_it(tmp_path: Path):
    first = make(metric=None, mode=None)
    generator = SearchGenerator(ConcurrencyLimiter(first, max_concurrent=3))
    generator.set_search_properties("val_accuracy", "max", {})
    drive(generator.searcher, 8)
    generator.save_to_dir(str(tmp_path), "now")
    assert [path.name for path in tmp_path.glob("searcher-state-*")] == ["searcher-state-now.json"]
    second = make(metric=None, mode=None)
    again = SearchGenerator(ConcurrencyLimiter(second, max_concurrent=3))
    again.restore_from_dir(str(tmp_path))
    assert (second.metric, second.mode) == ("val_accuracy", "max")
    for generator_ in (generator, again):
        generator_.on_trial_complete("t6", {"val_accuracy": 2.0})
    assert again.searcher.suggest("next") == generator.searcher.suggest("next")


def test_other_arguments_are_refused(tmp_path: Path):
    path = str(tmp_path / "state.json")
    make().save(path)
    for other in (
        make(seed=1),
        make("random_search"),
        make(params={**EVOLUTION, "sample": 3}),
        make(space=TinySpace()),
        make(mode="min"),
        make(horizon=Horizon(fidelity=2, schedule_epochs=2)),
    ):
        with pytest.raises(SpecError, match="saved with"):
            other.restore(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99, "arguments": {}, "events": []}'])
def test_other_files_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(SpecError):
        make().restore(str(path))


def test_records_of_another_version_are_refused(tmp_path: Path):
    path = tmp_path / "state.json"
    searcher = make()
    searcher.suggest("a")
    searcher.save(str(path))
    path.write_text(path.read_text().replace('"$version": 1', '"$version": 0'))
    with pytest.raises(ProtocolError):
        make().restore(str(path))


# ---- what others evaluated ------------------------------------------------------------------------------------------


def test_evaluated_points_are_learnt(tmp_path: Path):
    searcher = make("regularized_evolution")
    genotypes = list(SPACE.enumerate())[:6]
    for genotype in genotypes:
        searcher.add_evaluated_point({"genotype": list(genotype)}, 5.0)
    searcher.add_evaluated_point({"architecture": SPACE.format(genotypes[0])}, 6.0)  # known
    searcher.add_evaluated_point({"genotype": list(SPACE.enumerate())[7]}, 6.0, pruned=True)
    assert len(searcher.controller.completed()) == 6
    config = searcher.suggest("a")
    assert tuple(config["genotype"]) not in genotypes
    searcher.save(str(tmp_path / "state.json"))
    again = make("regularized_evolution")
    again.restore(str(tmp_path / "state.json"))
    assert again.suggest("b") == searcher.suggest("b")


def test_evaluated_points_must_be_of_the_space():
    with pytest.raises(SpecError, match="architecture"):
        make().add_evaluated_point({"lr": 0.1}, 5.0)
    with pytest.raises(GenotypeError):
        make().add_evaluated_point({"genotype": [9, 9]}, 5.0)
    with pytest.raises(SpecError, match="several"):
        make(metric=["a", "b"], mode=["max", "max"]).add_evaluated_point({"genotype": [0] * 6}, 5.0)


# ---- the real thing -------------------------------------------------------------------------------------------------


def trainable(config: dict[str, Any]) -> None:
    """Two reports; some architectures raise."""
    from ray import tune

    if config["genotype"][0] == 0:
        raise ValueError("made to fail")
    for epoch in range(2):
        tune.report({"val_accuracy": config["offset"] + epoch + sum(config["genotype"])})


@pytest.mark.slow
def test_a_real_run(ray_cluster: str, tmp_path: Path):
    searcher = make(seed=3)
    few_at_once = tune.with_resources(trainable, {"cpu": 6})  # every process that trains imports everything first
    tuner = tune.Tuner(
        few_at_once,
        param_space={"offset": 10.0},
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=8, metric="val_accuracy", mode="max", reuse_actors=True
        ),
        run_config=tune.RunConfig(name="xnas", storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert len(results) == 8
    assert len({result.config["architecture"] for result in results if result.config}) == 8
    outcomes = told(searcher)
    assert len(outcomes) == 8
    failed = [o for o in outcomes if o.status == TrialStatus.FAILED]
    assert failed
    assert {o.candidate.genotype[0] for o in failed} <= {0}
    assert len(failed) == len(results.errors)
    best = results.get_best_result(metric="val_accuracy", mode="max")
    assert best.metrics["val_accuracy"] == max(o.metrics["val_accuracy"] for o in outcomes if o.metrics)
    assert best.metrics["val_accuracy"] == 11 + sum(best.config["genotype"])
    again = make(seed=3)
    again.restore_from_dir(str(tmp_path / "xnas"))
    assert [o.candidate for o in told(again)] == [o.candidate for o in outcomes]
    assert again.suggest("next") == searcher.suggest("next")


@pytest.mark.slow
def test_a_run_ends_when_the_space_does(ray_cluster: str, tmp_path: Path):
    space = RestrictedSpace(SPACE, list(SPACE.enumerate())[:4])
    searcher = make("random_search", space=space)

    def count(config: dict[str, Any]) -> None:
        tune.report({"val_accuracy": float(sum(config["genotype"]))})

    tuner = tune.Tuner(
        count,
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=50, max_concurrent_trials=2, reuse_actors=True),
        run_config=tune.RunConfig(name="end", storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert len(results) == 4
    assert not results.errors
