"""The simulated cluster against plain loops that were written without it."""

from __future__ import annotations

import dataclasses
import heapq
import math
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.benchmarks.simulator import Simulation, SimulationCost, simulate
from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import SpecError, TableError, UnknownNameError
from xnas_ray.messages import Cost
from xnas_ray.scheduler import SchedulerConfig
from xnas_ray.spaces.base import Choice, Space
from xnas_ray.spaces.nasbench201 import NASBench201

EVOLUTION = {"population": 20, "sample": 5}
CONTROLLER_CASES = [("random_search", {}), ("regularized_evolution", EVOLUTION)]


class Grid(Space):
    """Eight options in each of five choices: 32,768 architectures, every one its own key."""

    name = "grid"
    builder = "nowhere:build"
    choices = tuple(Choice(f"c{i}", tuple(range(8))) for i in range(5))

    def key(self, genotype):
        return str(genotype)

    def graphs(self, genotype):
        raise NotImplementedError

    def cost(self, genotype, shape):
        return Cost(sum(genotype), 1)

    def format(self, genotype):
        return "".join(map(str, genotype))

    def parse(self, text):
        return tuple(map(int, text))


def values_of(genotypes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A smooth accuracy with a little noise, a cost, and a duration that differs from row to row."""
    array = np.array(genotypes, dtype=float)
    noise = np.random.default_rng(7).random((3, len(array)))
    return {
        "accuracy": np.tanh(array @ np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])[: array.shape[1]] / 3) + 0.01 * noise[0],
        "cost": array.sum(axis=1),
        "test": noise[1],
        "seconds": 0.5 + 2 * noise[2],
    }


def table_of(space: Space, genotypes: list[tuple[int, ...]]) -> pa.Table:
    return pa.table({"arch": [space.format(g) for g in genotypes], **values_of(genotypes)})


@pytest.fixture(scope="module")
def cells() -> pa.Table:
    space = NASBench201()
    return table_of(space, list(space.genotypes()))


@pytest.fixture(scope="module")
def task(cells: pa.Table) -> TabularTask:
    return TabularTask(cells, objectives={"val_accuracy": "accuracy"}, report={"test_accuracy": "test"})


def sequential(task: TabularTask, controller: str, params: dict[str, Any], trials: int) -> list[tuple[int, ...]]:
    """One after the other, as a textbook writes it."""
    search = CONTROLLERS.create(controller, params, task.space, task.goals, seed=3)
    found = []
    for _ in range(trials):
        candidate = search.propose()
        search.tell(task.evaluate(candidate))
        found.append(candidate.genotype)
    return found


def batches(task: TabularTask, controller: str, params: dict[str, Any], trials: int, k: int) -> list[tuple[int, ...]]:
    """Batches of k: they end together, one after the other is told and makes place for one of the next batch."""
    search = CONTROLLERS.create(controller, params, task.space, task.goals, seed=3)
    batch = [search.propose() for _ in range(min(k, trials))]
    found = list(batch)
    while batch:
        following = []
        for candidate in batch:
            search.tell(task.evaluate(candidate))
            if len(found) < trials:
                following.append(search.propose())
                found.append(following[-1])
        batch = following
    return [candidate.genotype for candidate in found]


def generations(task: TabularTask, params: dict[str, Any], trials: int, size: int) -> list[tuple[int, ...]]:
    """A generation is proposed, evaluated, and told in its order."""
    search = CONTROLLERS.create("regularized_evolution", params, task.space, task.goals, seed=3)
    found: list[tuple[int, ...]] = []
    while len(found) < trials:
        batch = [search.propose() for _ in range(min(size, trials - len(found)))]
        for candidate in batch:
            search.tell(task.evaluate(candidate))
        found += [candidate.genotype for candidate in batch]
    return found


def by_trial(frame: pd.DataFrame) -> list[tuple[int, ...]]:
    return list(frame.sort_values("trial")["genotype"])


class TestAgainstLoops:
    @pytest.mark.parametrize(("controller", "params"), CONTROLLER_CASES)
    def test_one_worker_is_the_sequential_loop(self, task, controller, params):
        frame = simulate(controller, task, trials=120, workers=1, seed=3, params=params)
        assert list(frame["genotype"]) == sequential(task, controller, params, 120)
        assert list(frame["trial"]) == list(range(120))
        assert list(frame["finished_at_s"]) == [float(i) for i in range(1, 121)]
        assert list(frame["asked_at_s"]) == [float(i) for i in range(120)]

    @pytest.mark.parametrize("workers", [2, 7, 64])
    @pytest.mark.parametrize(("controller", "params"), CONTROLLER_CASES)
    def test_equal_trials_are_batches(self, task, controller, params, workers):
        frame = simulate(controller, task, trials=150, workers=workers, seed=3, params=params)
        assert list(frame["trial"]) == list(range(150))
        assert list(frame["genotype"]) == batches(task, controller, params, 150, workers)
        assert list(frame["worker"]) == [i % workers for i in range(150)]
        assert list(frame["finished_at_s"]) == [float(1 + i // workers) for i in range(150)]

    @pytest.mark.parametrize(("workers", "size", "trials"), [(5, 8, 60), (64, 16, 100), (1, 10, 33), (8, 64, 40)])
    def test_generations_do_not_look_at_themselves(self, cells, workers, size, trials):
        timed = TabularTask(cells, objectives={"val_accuracy": "accuracy"}, duration_s="seconds")
        frame = simulate(
            "regularized_evolution", timed, trials, workers, 3, EVOLUTION, mode="generational", generation=size
        )
        assert by_trial(frame) == generations(timed, EVOLUTION, trials, size)
        number = frame["trial"] // size
        ended = frame.groupby(number)["finished_at_s"].max()
        begun = frame.groupby(number)["asked_at_s"].min()
        assert (begun.to_numpy()[1:] == ended.to_numpy()[:-1]).all()

    @given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60), st.integers(1, 9))
    @settings(max_examples=40, deadline=None)
    def test_any_durations_are_list_scheduling(self, durations, workers):
        space = Grid()
        rows = list(product(range(8), repeat=5))[:60]
        timed = TabularTask(table_of(space, rows), space=space, objectives={"val_accuracy": "accuracy"})
        timed.evaluate = _with_durations(timed.evaluate, durations)  # type: ignore[method-assign]
        frame = simulate("random_search", timed, len(durations), workers, space=timed.restricted())
        free = [0.0] * workers
        ends = []
        for duration_s in durations:
            ends.append(heapq.heappop(free) + duration_s)
            heapq.heappush(free, ends[-1])
        assert list(frame.sort_values("trial")["finished_at_s"]) == ends
        assert frame["finished_at_s"].is_monotonic_increasing


def _with_durations(evaluate: Any, durations: list[float]) -> Any:
    return lambda candidate: dataclasses.replace(evaluate(candidate), cost_s=durations[candidate.ask_number])


class TestFrame:
    def test_columns_hold_what_the_table_says(self, task):
        frame = simulate("regularized_evolution", task, trials=30, workers=4, params=EVOLUTION)
        assert list(frame.columns) == [
            "trial",
            "genotype",
            "architecture",
            "val_accuracy",
            "test_accuracy",
            "asked_at_s",
            "finished_at_s",
            "worker",
        ]
        for row in frame.itertuples():
            entry = task.lookup(row.genotype)
            assert task.space.parse(row.architecture) == row.genotype
            assert (row.val_accuracy, row.test_accuracy) == (
                entry.metrics["val_accuracy"],
                entry.report["test_accuracy"],
            )

    @given(st.integers(1, 80), st.integers(1, 90))
    @settings(max_examples=25, deadline=None)
    def test_wall_time_is_the_ideal(self, task, trials, workers):
        frame = simulate("random_search", task, trials=trials, workers=workers)
        assert sorted(frame["trial"]) == list(range(trials))
        assert frame["finished_at_s"].max() == math.ceil(trials / workers)
        assert frame.groupby(["worker", "finished_at_s"]).size().max() == 1

    def test_same_arguments_same_frame(self, cells):
        timed = TabularTask(cells, objectives={"val_accuracy": "accuracy"}, duration_s="seconds")
        costs = SimulationCost(ask_s=0.01, commit_s=0.03)

        def run(seed: int) -> pd.DataFrame:
            return simulate("regularized_evolution", timed, 100, 8, seed, EVOLUTION, cost=costs)

        first = run(5)
        pd.testing.assert_frame_equal(first, run(5))
        assert list(first["genotype"]) != list(run(6)["genotype"])

    def test_several_objectives(self, cells):
        params = {**EVOLUTION, "weights": {"val_accuracy": 0.0, "budget": 1.0}}
        late = {}
        for direction in ("min", "max"):
            both = TabularTask(cells, objectives={"val_accuracy": "accuracy", "budget": ("cost", direction)})
            frame = simulate("regularized_evolution", both, 200, 8, params=params)
            assert list(frame["budget"]) == [sum(g) for g in frame["genotype"]]
            assert frame["val_accuracy"].nunique() > 100
            late[direction] = frame["budget"].tail(50).mean()
        assert late["min"] < late["max"] - 4

    def test_sixteen_thousand_trials_on_4096_workers(self):
        space = Grid()
        task = TabularTask(
            table_of(space, list(space.genotypes())), space=space, objectives={"val_accuracy": "accuracy"}
        )
        frame = simulate("random_search", task, trials=16_000, workers=4_096)
        assert frame["finished_at_s"].value_counts().sort_index().to_list() == [4096, 4096, 4096, 3712]
        assert frame["worker"].nunique() == 4096
        assert frame["architecture"].is_unique


class TestFailures:
    def test_an_architecture_without_a_row_is_a_failed_trial(self, cells):
        half = TabularTask(cells.slice(0, 4000), objectives={"val_accuracy": "accuracy"}, report={"t": "test"})
        frame = simulate("random_search", half, trials=100, workers=4)
        failed = frame["val_accuracy"].isna()
        assert len(frame) == 100 and 0 < failed.sum() < 100
        assert frame["finished_at_s"].max() == 25.0
        for row in frame[failed].itertuples():
            with pytest.raises(TableError):
                half.lookup(row.genotype)
        inside = simulate("random_search", half, trials=100, workers=4, space=half.restricted())
        assert inside["val_accuracy"].notna().all()

    def test_a_table_of_nothing_but_nan(self, cells):
        size = cells.num_rows
        empty = cells.set_column(cells.column_names.index("accuracy"), "accuracy", pa.nulls(size, pa.float64()))
        task = TabularTask(empty, objectives={"val_accuracy": "accuracy"}, report={"t": "test"})
        frame = simulate("regularized_evolution", task, trials=40, workers=4)
        assert len(frame) == 40
        assert frame["val_accuracy"].isna().all() and frame["t"].notna().all()

    def test_a_search_that_pauses_says_so(self, cells):
        task = TabularTask(cells.slice(0, 1), objectives={"val_accuracy": "accuracy"})
        config = SchedulerConfig(failures_in_a_row=5, prefetch_below_s=0.0)
        with pytest.raises(TableError, match="5 trials failed in a row"):
            simulate("random_search", task, trials=100, workers=4, config=config)

    @pytest.mark.parametrize("mode", ["asynchronous", "generational"])
    def test_an_exhausted_space_ends_the_search(self, cells, mode):
        task = TabularTask(cells.slice(9000, 20), objectives={"val_accuracy": "accuracy"})
        space = task.restricted()
        frame = simulate("random_search", task, trials=500, workers=4, space=space, mode=mode, generation=16)
        assert sorted(frame["genotype"]) == sorted(space.enumerate())

    @pytest.mark.parametrize(
        ("field", "arguments"),
        [
            ("trials", {"trials": 0}),
            ("workers", {"workers": 0}),
            ("workers", {"workers": 2.0}),
            ("mode", {"mode": "batch"}),
            ("generation", {"mode": "generational", "generation": 0}),
        ],
    )
    def test_arguments_out_of_range(self, task, field, arguments):
        with pytest.raises(SpecError) as caught:
            simulate("random_search", task, **arguments)
        assert caught.value.field == field

    @pytest.mark.parametrize("values", [{"ask_s": -1.0}, {"ask_s": "cpu"}, {"commit_s": math.nan}, {"commit_s": True}])
    def test_costs_out_of_range(self, values):
        with pytest.raises(SpecError) as caught:
            SimulationCost(**values)
        assert caught.value.field == f"cost.{next(iter(values))}"

    def test_unknown_names(self, task):
        with pytest.raises(UnknownNameError, match="random_search"):
            simulate("random_serach", task)
        with pytest.raises(UnknownNameError, match="population"):
            simulate("regularized_evolution", task, params={"populaton": 3})


class TestCost:
    def test_proposals_queue_at_the_one_controller(self, task):
        frame = simulate("random_search", task, trials=8, workers=8, cost=SimulationCost(ask_s=0.25))
        assert list(frame["asked_at_s"]) == [0.25 * (i + 1) for i in range(8)]
        assert list(frame["finished_at_s"]) == [1 + 0.25 * (i + 1) for i in range(8)]

    def test_rows_of_a_running_commit_share_the_next(self, task):
        frame = simulate("random_search", task, trials=8, workers=4, cost=SimulationCost(commit_s=0.25))
        assert list(frame["asked_at_s"][:4]) == [0.0] * 4
        assert list(frame["finished_at_s"][:4]) == [1.25, 1.5, 1.5, 1.5]
        # a freed worker asks at once, not when its own outcome is durable; the asked row follows that outcome's commit
        assert frame["asked_at_s"][4] == 1.25 and frame["finished_at_s"][4] == 2.75

    def test_tells_wait_for_the_commit(self, task):
        """The second proposal is made for the freed worker, before the first outcome is durable."""
        params = {"population": 1, "sample": 1}
        told = simulate("regularized_evolution", task, 2, 1, 0, params)
        blind = simulate("regularized_evolution", task, 2, 1, 0, params, cost=SimulationCost(commit_s=0.25))
        untold = CONTROLLERS.create("regularized_evolution", params, task.space, task.goals, seed=0)
        assert list(blind["genotype"]) == [untold.propose().genotype, untold.propose().genotype]
        assert told["genotype"][0] == blind["genotype"][0]
        assert told["genotype"][1] != blind["genotype"][1]

    def test_measured_seconds_are_charged(self, task):
        controller = CONTROLLERS.create("random_search", {}, task.space, task.goals, seed=0)
        simulation = Simulation(controller, task, trials=50, workers=50, cost=SimulationCost(ask_s="measured"))
        simulation.run()
        frame = simulation.frame()
        assert (np.diff(frame["asked_at_s"]) > 0).all()
        assert 0 < frame["asked_at_s"].max() <= simulation.controller_s
        assert (frame["finished_at_s"] - frame["asked_at_s"]).to_numpy() == pytest.approx(1.0)


def test_the_real_table():
    folder = os.environ.get("XNAS_DATA")
    path = Path(folder or "") / "nasbench201.parquet"
    if not folder or not path.is_file():
        pytest.skip("needs nasbench201.parquet in XNAS_DATA")
    task = TabularTask.from_parquet(
        path, objectives={"val_accuracy": "cifar10_val_200"}, report={"test_accuracy": "cifar10_test_200"}
    )
    frame = simulate("regularized_evolution", task, trials=150, workers=8, params=EVOLUTION)
    assert len(frame) == 150 and frame["finished_at_s"].max() == 19.0
    assert list(frame["genotype"]) == list(simulate("regularized_evolution", task, 150, 8, 0, EVOLUTION)["genotype"])
    values = pd.read_parquet(path).set_index("arch")
    for row in frame.itertuples():
        assert row.val_accuracy == values.loc[row.architecture, "cifar10_val_200"]
        assert row.test_accuracy == values.loc[row.architecture, "cifar10_test_200"]
    last, first = frame["val_accuracy"].tail(50).mean(), frame["val_accuracy"].head(20).mean()
    assert last > first
