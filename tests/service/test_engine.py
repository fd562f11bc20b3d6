"""The loop of the head without Ray: what is written, when, and what workers are handed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xnas_ray import messages as m
from xnas_ray.messages import Candidate, Failure, FailureKind, TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.service.books import Book
from xnas_ray.service.engine import Engine
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.reports import Assignment, EpochReport, TrialResult
from xnas_ray.spec import SearchSpec
from xnas_ray.store.ids import new_search_id
from xnas_ray.store.reuse import ReuseIndex
from xnas_ray.store.rows import CurveRow

SEARCH = new_search_id(1_700_000_000)


class Writer:
    """Only the numbers of a writer."""

    epoch = 1

    def __init__(self) -> None:
        self.next_seq = itertools.count().__next__


class Disk:
    """Rows become durable when ``sync`` is called."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.rows: list[Any] = []
        self.waiting: list[Callable[[], None]] = []

    def append(self, rows: Any, when_durable: Callable[[], None] | None = None, *, lazy: bool = False) -> None:
        self.rows.extend(rows if isinstance(rows, list) else [rows])
        if when_durable is not None:
            self.waiting.append(when_durable)

    def finish(self, search_id: str) -> None:
        pass

    def sync(self) -> None:
        waiting, self.waiting = self.waiting, []
        for tell in waiting:
            tell()


class Workers:
    """Remembers what it is ordered."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.given: list[Assignment] = []

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> None:
        self.engine.post(lambda now: m.WorkerReady(now, worker_id))

    def node_of(self, worker_id: str) -> str:
        return f"node of {worker_id}"

    def dispatch(self, worker_id: str, assignment: Assignment) -> None:
        self.given.append(assignment)


class Proposer:
    """A controller that always has another candidate."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked = 0
        self.told: list[int] = []

    def open(self, search_id: str, card: Any) -> None:
        self.engine.post(lambda now: m.ControllerReady(now, search_id))

    def propose(self, search_id: str, count: int) -> None:
        for _ in range(count):
            candidate = Candidate(self.asked, (self.asked,))
            self.asked += 1
            key = str(candidate.ask_number)
            self.engine.proposal(search_id, Proposal(candidate, key, key, "{}", 1, 1, 1, (-1, -1), 0.0))

    def tell(self, search_id: str, told: Told) -> None:
        self.told.append(told.outcome.trial)


def service(root: Path, **spec: Any) -> tuple[Engine, Disk, Workers, Proposer]:
    """One node with one CPU, one search."""
    disk = Disk()
    config = SchedulerConfig(lease_s=None, backoff_s=())
    engine = Engine(Scheduler(config), disk, ReuseIndex(root), discard=lambda folders: None)  # type: ignore[arg-type]
    workers, proposer = Workers(engine), Proposer(engine)
    engine.connect(workers, proposer, SimpleNamespace(last_epoch=lambda search_id: None))  # type: ignore[arg-type]
    given = SearchSpec.from_mapping({"task": "t", "seed": 1, "fidelity": 9, **spec}).to_json()
    objectives = [{"name": "val_accuracy", "maximize": True, "unit": "%"}]
    card = {"spec": given, "task": "t", "task_hash": "0" * 32, "space": "any", "objectives": objectives}
    book = engine.books[SEARCH] = Book(SEARCH, card)
    engine.post(lambda now: m.NodeJoined(now, "n", 1.0, 0.0))
    engine.post(lambda now: m.SearchSubmitted(now, SEARCH, book.config()))
    engine.post(m.Tick)
    return engine, disk, workers, proposer


def completed(given: Assignment) -> TrialResult:
    metrics = {"val_accuracy": 50.0}
    return TrialResult(given.search_id, given.trial, given.attempt, TrialStatus.COMPLETED, 5.0, metrics)


def epoch(given: Assignment, number: int) -> EpochReport:
    return EpochReport(given.search_id, given.trial, given.attempt, {"epoch": number, "val_loss": 1.0 / number})


def test_a_candidate_runs_after_its_row_and_is_told_after_its_result(tmp_path: Path) -> None:
    engine, disk, workers, proposer = service(tmp_path)
    assert proposer.asked == 1 and workers.given == []
    disk.sync()
    assert [a.trial for a in workers.given] == [0]
    engine.report("w1-1", [completed(workers.given[0])])
    assert proposer.told == []
    disk.sync()
    assert proposer.told == [0]


def test_epochs_of_a_second_attempt_are_written_as_they_come(tmp_path: Path) -> None:
    engine, disk, workers, _ = service(tmp_path)
    disk.sync()
    first = workers.given[0]
    engine.report("w1-1", [epoch(first, 1)])
    failure = Failure(FailureKind.EXCEPTION, "OSError", "gone")
    again = engine.report(
        "w1-1", [TrialResult(SEARCH, first.trial, first.attempt, TrialStatus.FAILED, 1.0, failure=failure)]
    )
    assert workers.given == [first], "what follows travels in the answer, not by a call of its own"
    second = again[0]
    assert second.trial == first.trial and second.attempt > first.attempt
    engine.report("w1-1", [epoch(first, 2), epoch(second, 1), epoch(second, 2)])
    curve = [(row.attempt, row.epoch) for row in disk.rows if isinstance(row, CurveRow)]
    assert curve == [(first.attempt, 1), (second.attempt, 1), (second.attempt, 2)]
