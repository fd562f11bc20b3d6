"""A worker without Ray: order, stops, reports that are kept until somebody hears them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import NanLossError, OutOfMemoryError, SpecError, StoppedError
from xnas_ray.messages import Candidate, FailureKind, TrialStatus
from xnas_ray.service.reports import Assignment, EpochReport, Report, TrialResult
from xnas_ray.service.trial_worker import AttemptContext, TrialWorker, failure_kind, newest_checkpoint


class Scripted:
    """A runner whose behaviour is a function of the trial's number."""

    def __init__(self, act: Callable[[int, AttemptContext], dict[str, float]]) -> None:
        self.act = act
        self.ran: list[int] = []

    def run(self, assignment: Assignment, context: AttemptContext) -> TrialResult:
        self.ran.append(assignment.trial)
        metrics = self.act(assignment.trial, context)
        key = (assignment.search_id, assignment.trial, assignment.attempt)
        return TrialResult(*key, TrialStatus.COMPLETED, 0.0, metrics=metrics)


class Ears:
    """A head that hears, or does not."""

    def __init__(self) -> None:
        self.deaf = False
        self.batches: list[list[Report]] = []
        self.answers: list[Assignment] = []

    def send(self, worker_id: str, reports: list[Report]) -> list[Assignment]:
        if self.deaf:
            raise ConnectionError("nobody there")
        self.batches.append(list(reports))
        answers, self.answers = self.answers, []
        return answers

    def results(self) -> list[TrialResult]:
        return [r for batch in self.batches for r in batch if isinstance(r, TrialResult)]


def assignment(trial: int, attempt: int = 0) -> Assignment:
    return Assignment("S", trial, (1, attempt), Candidate(trial, (0,)), 7, f"artifacts/S/{trial}/1-{attempt}")


def until(condition: Callable[[], Any], timeout_s: float = 10) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.005)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes workers and ends them."""
    made: list[TrialWorker] = []

    def worker(act: Callable[[int, AttemptContext], dict[str, float]], ears: Ears, **settings: Any) -> TrialWorker:
        one = TrialWorker("w1", Scripted(act), tmp_path, ears.send, shape=(1.0, 0.5), node_id="n", **settings)
        made.append(one)
        return one

    yield worker
    for one in made:
        one.ended.set()
        one.shutdown()


def test_trials_run_in_order_and_the_answer_to_a_report_is_the_next_one(make) -> None:
    ears = Ears()
    worker = make(lambda trial, context: {"x": float(trial)}, ears)
    ears.answers = [assignment(1), assignment(2)]
    worker.submit(assignment(0))
    until(lambda: len(ears.results()) == 3)
    assert [r.trial for r in ears.results()] == [0, 1, 2]
    assert [r.metrics["x"] for r in ears.results()] == [0.0, 1.0, 2.0]
    assert all(r.duration_s >= 0 for r in ears.results())
    worker.submit(assignment(2, 1))
    until(lambda: len(ears.results()) == 4)


def test_what_nobody_heard_is_sent_again_once_and_shown_to_a_new_head(make) -> None:
    ears = Ears()
    worker = make(lambda trial, context: {}, ears)
    ears.deaf = True
    worker.submit(assignment(0))
    until(lambda: worker.attach()["running"] and not worker._held)
    assert worker.attach() == {
        "worker_id": "w1",
        "node_id": "n",
        "cpus": 1.0,
        "gpus": 0.5,
        "running": [("S", 0, (1, 0))],
    }
    ears.deaf = False
    until(lambda: ears.results())
    until(lambda: not worker.attach()["running"])
    assert len(ears.results()) == 1


def test_a_trial_is_held_once_however_often_it_is_submitted(make) -> None:
    ears, gate = Ears(), threading.Event()
    worker = make(lambda trial, context: {"x": float(gate.wait(10))}, ears)
    for _ in range(3):
        worker.submit(assignment(0))
    gate.set()
    until(lambda: ears.results())
    time.sleep(0.05)
    assert worker._runner.ran == [0]


@pytest.mark.parametrize(("checkpoint", "kind"), [(True, FailureKind.PREEMPTED), (False, FailureKind.CANCELLED)])
def test_a_stop_reaches_the_running_trial_and_one_that_waits(make, checkpoint, kind) -> None:
    def act(trial: int, context: AttemptContext) -> dict[str, float]:
        until(lambda: context.stop_requested())
        raise StoppedError(context.stop_requested())

    ears = Ears()
    worker = make(act, ears)
    worker.submit(assignment(0))
    worker.submit(assignment(1))
    until(lambda: worker._runner.ran == [0])
    worker.stop_trial("S", 1, (1, 0), checkpoint)
    worker.stop_trial("S", 0, (1, 0), checkpoint)
    worker.stop_trial("S", 5, (1, 0), checkpoint)
    until(lambda: len(ears.results()) == 2)
    assert worker._runner.ran == [0], "the waiting one never began"
    assert [(r.status, r.failure.kind) for r in ears.results()] == [(TrialStatus.CANCELLED, kind)] * 2


def test_a_cancel_overrides_a_checkpoint_but_not_the_other_way(tmp_path) -> None:
    context = AttemptContext(tmp_path, None, print, 1.0)
    context.stop(checkpoint=True)
    assert context.stop_requested() == "checkpoint"
    context.stop(checkpoint=False)
    context.stop(checkpoint=True)
    assert context.stop_requested() == "cancel"


def test_whatever_a_trial_raises_becomes_a_failure_and_the_worker_goes_on(make) -> None:
    errors = [ZeroDivisionError("zero"), NanLossError("nan"), OutOfMemoryError("oom"), SystemExit(3), SpecError("bad")]

    def act(trial: int, context: AttemptContext) -> dict[str, float]:
        if trial < len(errors):
            raise errors[trial]
        return {}

    ears = Ears()
    worker = make(act, ears)
    for trial in range(len(errors) + 1):
        worker.submit(assignment(trial))
    until(lambda: len(ears.results()) == len(errors) + 1)
    failures = [r.failure for r in ears.results()[:-1]]
    assert [f.kind for f in failures] == ["exception", "nan", "out_of_memory", "exception", "invalid"]
    assert failures[0].type == "ZeroDivisionError" and "in act" in failures[0].log
    assert ears.results()[-1].status == TrialStatus.COMPLETED


def test_epochs_are_streamed_and_not_repeated_beside_the_result(make) -> None:
    gate = threading.Event()

    def act(trial: int, context: AttemptContext) -> dict[str, float]:
        context.report({"epoch": 1.0})
        gate.wait(10)
        context.report({"epoch": 2.0})
        return {}

    ears = Ears()
    worker = make(act, ears)
    worker.submit(assignment(0))
    until(lambda: any(isinstance(r, EpochReport) for batch in ears.batches for r in batch))
    gate.set()
    until(lambda: ears.results())
    epochs = [r.record["epoch"] for batch in ears.batches for r in batch if isinstance(r, EpochReport)]
    assert epochs in ([1.0], [1.0, 2.0])


def test_a_worker_that_has_grown_asks_to_be_replaced(make) -> None:
    ears, kept = Ears(), []

    def act(trial: int, context: AttemptContext) -> dict[str, float]:
        kept.append(bytearray(b"x" * (64 * 2**20)) if trial == 1 else b"")
        return {}

    worker = make(act, ears, memory_growth_bytes=32 * 2**20)
    worker.submit(assignment(0))
    worker.submit(assignment(1))
    until(lambda: len(ears.results()) == 2)
    assert [r.recycle for r in ears.results()] == [False, True]


def test_a_shut_down_worker_ends_after_what_it_holds(make) -> None:
    ears = Ears()
    worker = make(lambda trial, context: {}, ears)
    worker.submit(assignment(0))
    worker.shutdown()
    assert worker.ended.wait(10)
    assert [r.trial for r in ears.results()] == [0]


def test_the_newest_checkpoint_is_the_latest_attempts(tmp_path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for name in ("1-0", "2-1", "2-10", "10-0"):
        (tmp_path / name).mkdir()
    for name in ("1-0", "2-1", "2-10"):
        (tmp_path / name / "checkpoint.pt").write_bytes(b"x")
    assert newest_checkpoint(tmp_path) == tmp_path / "2-10" / "checkpoint.pt"


def test_kinds_of_failures() -> None:
    assert failure_kind(MemoryError(), "") == FailureKind.OUT_OF_MEMORY
    assert failure_kind(StoppedError("x"), "") == FailureKind.CANCELLED
    assert failure_kind(StoppedError("x"), "checkpoint") == FailureKind.PREEMPTED
    assert failure_kind(KeyError("x"), "") == FailureKind.EXCEPTION
