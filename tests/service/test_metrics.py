"""The numbers that leave the service, without Ray: names, tags and values; tests/system/test_monitoring.py has Ray."""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray import messages as m
from xnas_ray.messages import SearchState, TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.scheduler.nodes import WorkerState
from xnas_ray.scheduler.views import WorkerView
from xnas_ray.service.books import Book
from xnas_ray.service.engine import Engine
from xnas_ray.service.happened import Happened
from xnas_ray.service.metrics import METRICS, Monitor, Point, search_label, search_points, service_points
from xnas_ray.service.proposals import Proposal
from xnas_ray.service.reports import Assignment, TrialResult
from xnas_ray.spec import SearchSpec
from xnas_ray.store.ids import new_search_id
from xnas_ray.store.reuse import ReuseIndex


def by_name(points: list[Point], name: str) -> dict[tuple[str, ...], float]:
    return {point.tags: point.value for point in points if point.name == name}


def worker(state: WorkerState, *trials: tuple[str, int]) -> WorkerView:
    return WorkerView("w", "n", (1.0, 0.0), state, trials)


def test_numbers_of_the_service():
    happened = Happened(ended=Counter({"completed": 3}), busy=3, ready=4)
    happened.asks_s.add(0.25)
    workers = [worker(WorkerState.READY, ("s", 1)), worker(WorkerState.READY), worker(WorkerState.STARTING)]
    points = service_points([SearchState.RUNNING, SearchState.FINISHED], 7, workers, happened)
    searches = by_name(points, "xnas_searches")
    assert searches == {("queued",): 0, ("running",): 1, ("paused",): 0, ("draining",): 0}
    states = by_name(points, "xnas_workers")
    assert states == {("starting",): 1, ("idle",): 1, ("busy",): 1, ("draining",): 0, ("stopping",): 0}
    assert by_name(points, "xnas_worker_busy_share") == {(): 0.75}
    assert by_name(points, "xnas_queued_trials") == {(): 7}
    assert by_name(points, "xnas_finished_trials") == {("completed",): 3}, "Ray refuses a counter that grows by 0"
    assert by_name(points, "xnas_ask_seconds") == {(): 0.25} and not by_name(points, "xnas_store_lag_seconds")


def test_numbers_of_a_search(live_status: dict[str, Any]):
    label = ("01HF7YATZ8", "half done")
    points = search_points(label, {**live_status, "ask_s": 0.5, "trial_s": None}, 1.5)
    assert by_name(points, "xnas_search_trials") == {
        (*label, state): value
        for state, value in dict(queued=1, running=2, completed=3, failed=1, cancelled=0, reused=1).items()
    }
    assert by_name(points, "xnas_search_best") == {(*label, "val_accuracy"): 97.2222}
    assert by_name(points, "xnas_search_hypervolume") == {label: 1.5}
    assert by_name(points, "xnas_search_ask_seconds") == {label: 0.5}
    assert not by_name(points, "xnas_search_trial_seconds")
    assert by_name(points, "xnas_search_budget_trials") == {label: 32}


def test_what_is_not_known_has_no_series(live_status: dict[str, Any]):
    status = copy.deepcopy(live_status) | {"best": None, "ask_s": float("nan")}
    status["budget"]["trials"] = None
    names = {point.name for point in search_points(("s", "n"), status, None)}
    assert names == {"xnas_search_trials", "xnas_search_workers"}


def test_every_point_fits_its_metric(live_status: dict[str, Any]):
    happened = Happened(ended=Counter({str(s): 1 for s in TrialStatus}))
    happened.lags_s.add(0.1)
    points = service_points(list(SearchState), 0, [worker(state) for state in WorkerState], happened)
    points += search_points(("s", "n"), {**live_status, "ask_s": 1.0, "trial_s": 1.0}, 1.0)
    for point in points:
        assert len(point.tags) == len(METRICS[point.name].tags), point
    assert {point.name for point in points} | {"xnas_ask_seconds"} == set(METRICS)


@given(st.text(max_size=200))
def test_a_hostile_name_becomes_a_harmless_tag(name: str):
    _, shown = search_label("01HF7YATZ8YGFNH8N1N46ZFA2K", name)
    assert len(shown) <= 40 and shown.isascii() and shown.isprintable() and not set(shown) & set("\"'\\{}<>$`\n")


def test_searches_that_were_submitted_at_once_keep_apart():
    first, second = "01HF7YATZ8YGFNH8N1N46ZFA2K", "01HF7YATZ8YGFNH8N1N46ZFA2M"
    short = search_label(first, "")[0]
    assert first.startswith(short) and search_label(second, "", [short])[0] == second


# ---- of an engine ---------------------------------------------------------------------------------------------------


class Kept:
    """Takes the place of ``RayMetrics``."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def publish(self, points: list[Point]) -> None:
        self.points = list(points)


class Surroundings:
    """The store, the workers and the controllers of an engine: rows become durable when ``sync`` is called."""

    epoch = 1

    def __init__(self) -> None:
        self.writer, self.next_seq = self, itertools.count().__next__
        self.waiting: list[Any] = []
        self.given: list[Assignment] = []
        self.asked = 0
        self.engine: Engine

    def append(self, rows: Any, when_durable: Any = None, *, lazy: bool = False) -> None:
        self.waiting += [when_durable] if when_durable else []

    def sync(self) -> None:
        waiting, self.waiting = self.waiting, []
        for tell in waiting:
            tell()

    def start(self, worker_id: str, *_: Any) -> None:
        self.engine.post(lambda now: m.WorkerReady(now, worker_id))

    def node_of(self, worker_id: str) -> str:
        return f"node of {worker_id}"

    def dispatch(self, worker_id: str, assignment: Assignment) -> None:
        self.given.append(assignment)

    def open(self, search_id: str, card: Any) -> None:
        self.engine.post(lambda now: m.ControllerReady(now, search_id))

    def propose(self, search_id: str, count: int) -> None:
        for _ in range(count):
            candidate, key = m.Candidate(self.asked, (self.asked,)), str(self.asked)
            self.asked += 1
            self.engine.proposal(search_id, Proposal(candidate, key, key, "{}", 1, 1, 1, (-1, -1), 0.0))

    def tell(self, search_id: str, told: Any) -> None:
        pass

    def finish_trial(self) -> None:
        one = self.given.pop(0)
        metrics = {"val_accuracy": 50.0}
        result = TrialResult(one.search_id, one.trial, one.attempt, TrialStatus.COMPLETED, 5.0, metrics)
        self.engine.report("w1-1", [result])


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    """Of an engine with one node of one CPU; search "first" runs and "second" is queued."""
    around = Surroundings()
    scheduler = Scheduler(SchedulerConfig(lease_s=None, max_running_searches=1))
    engine = Engine(scheduler, around, ReuseIndex(tmp_path), discard=lambda folders: None)  # type: ignore[arg-type]
    engine.connect(around, around, SimpleNamespace(last_epoch=lambda search_id: None))  # type: ignore[arg-type]
    around.engine = engine
    engine.post(lambda now: m.NodeJoined(now, "n", 1.0, 0.0))
    for number, name in enumerate(("first", "second")):
        search_id = new_search_id(1_700_000_000 + 60 * number)
        spec = SearchSpec.from_mapping({"task": "t", "seed": 1, "name": name}).to_json()
        objectives = [{"name": "val_accuracy", "maximize": True, "unit": "%"}]
        card = {"spec": spec, "task": "t", "task_hash": "0" * 32, "space": "any", "objectives": objectives}
        book = engine.books[search_id] = Book(search_id, card)
        engine.post(m.SearchSubmitted(time.monotonic(), search_id, book.config()))
    engine.post(m.Tick)
    return around


def test_the_monitor_shows_searches_that_run_first_and_not_more_than_the_limit(around: Surroundings):
    engine, kept = around.engine, Kept()
    around.sync()
    asyncio.run(Monitor(engine, 1, kept).publish())  # type: ignore[arg-type]
    [label] = {point.tags[:2] for point in kept.points if point.name == "xnas_search_trials"}
    trials = by_name(kept.points, "xnas_search_trials")
    assert trials[(*label, "running")] == 1 and label[1] == "first"
    assert by_name(kept.points, "xnas_searches")[("queued",)] == 1
    asyncio.run(Monitor(engine, 5, kept).publish())  # type: ignore[arg-type]
    assert len({point.tags[:2] for point in kept.points if point.name == "xnas_search_trials"}) == 2


def test_results_are_counted_when_they_are_durable_and_only_once(around: Surroundings):
    around.sync()
    around.finish_trial()
    kept = Kept()
    monitor = Monitor(around.engine, 5, kept)  # type: ignore[arg-type]
    asyncio.run(monitor.publish())
    assert not by_name(kept.points, "xnas_finished_trials") and not by_name(kept.points, "xnas_store_lag_seconds")
    around.sync()
    asyncio.run(monitor.publish())
    assert by_name(kept.points, "xnas_finished_trials") == {("completed",): 1}
    assert len(by_name(kept.points, "xnas_store_lag_seconds")) == 1
    asyncio.run(monitor.publish())
    assert not by_name(kept.points, "xnas_finished_trials")
    assert [value for tags, value in by_name(kept.points, "xnas_search_best").items()] == [50.0]


def test_a_search_that_is_being_submitted_and_metrics_that_fail_harm_nobody(around: Surroundings, caplog: Any):
    engine = around.engine
    engine.books["01NEW"] = next(iter(engine.books.values()))

    class Broken(Kept):
        def publish(self, points: list[Point]) -> None:
            super().publish(points)
            raise OSError("no agent")

    async def life(broken: Broken) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("xnas_ray.service.metrics.LOOK_S", 0.001)
            patch.setattr("xnas_ray.service.metrics.INTERVAL_S", 0.001)
            task = asyncio.create_task(Monitor(engine, 5, broken).run())  # type: ignore[arg-type]
            while len(caplog.records) < 2:
                await asyncio.sleep(0.001)
            assert not task.done()
            task.cancel()

    broken = Broken()
    asyncio.run(life(broken))
    assert broken.points and "no agent" in caplog.text
