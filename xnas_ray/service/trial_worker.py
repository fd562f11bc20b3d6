"""A warm process that evaluates candidates one after the other and tells the head until the head has heard.

One thread runs trials, one reports; the Ray methods only touch queues and flags, so that a stop request gets through
while a network trains. What the head has not acknowledged is kept and sent again, to this head or to its successor.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
import platform
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil

from xnas_ray.errors import StoppedError, TrainingError, XnasError
from xnas_ray.messages import Attempt, Failure, FailureKind, TrialStatus
from xnas_ray.service.logs import about
from xnas_ray.service.reports import HEAD_SILENCE_S, RETRY_S, Assignment, EpochReport, Report, TrialResult
from xnas_ray.service.shown import RunningTrial
from xnas_ray.training.checkpoint import CHECKPOINT_NAME
from xnas_ray.training.context import Stop

EPOCH_REPORT_INTERVAL_S = 1.0
REPORT_INTERVAL_S = 0.05  # that of the head's commits: what ends within it becomes durable together anyway
BEAT_INTERVAL_S = 5.0
LOG_LINES = 40
LOGGED_FROM_S = 1.0
"""A completed attempt that was shorter has no line of its own: look-ups take a millisecond."""


log = logging.getLogger(__name__)


class Runner(Protocol):
    """Evaluates one assignment; raises TrainingError, XnasError or anything else."""

    def run(self, assignment: Assignment, context: AttemptContext) -> TrialResult:
        """The completed attempt's result."""


class AttemptContext:
    """What a running trial sees of its surroundings (a ``training.context.TrialContext``)."""

    def __init__(
        self, folder: Path, resume_from: Path | None, send: Callable[[Mapping[str, float]], None], every_s: float
    ) -> None:
        """Make the context of one attempt; its folder is created when something is written."""
        self.folder = folder
        self.resume_from = resume_from
        self.checkpoint_every_s = every_s
        self._send = send
        self._stop: Stop = ""

    def report(self, record: Mapping[str, float]) -> None:
        """One epoch ended."""
        self._send(record)

    def stop_requested(self) -> Stop:
        """``""``, ``"cancel"`` or ``"checkpoint"``."""
        return self._stop

    def stop(self, *, checkpoint: bool) -> None:
        """Ask the trial to end at its next batch; a cancel overrides a checkpoint."""
        if self._stop != "cancel":
            self._stop = "checkpoint" if checkpoint else "cancel"


class TrialWorker:
    """Takes assignments, runs them in order, reports.

    Args:
        worker_id: name given by the scheduler.
        runner: evaluates assignments.
        root: the store; only ``artifacts/`` below it is written.
        send: delivers ``(worker_id, reports)`` to the head and returns further assignments; raises ConnectionError
            while there is no head.
        shape: (cpus, gpus) of the worker.
        node_id: where it runs.
        memory_growth_bytes: ask to be replaced when the process grew by more than this since its first trial.
        checkpoint_every_s: least seconds between two checkpoints of a trial.

    Attributes:
        ended: set when no trial will run any more.
        running: the trial under way.
    """

    def __init__(
        self,
        worker_id: str,
        runner: Runner,
        root: Path,
        send: Callable[[str, list[Report]], list[Assignment]],
        *,
        shape: tuple[float, float],
        node_id: str,
        memory_growth_bytes: int = 2 * 2**30,
        checkpoint_every_s: float = 30.0,
    ) -> None:
        """Start both threads."""
        self.worker_id = worker_id
        self.shape = shape
        self.node_id = node_id
        self.ended = threading.Event()
        self.running: RunningTrial | None = None
        self._runner = runner
        self._root = root
        self._send = send
        self._memory_growth_bytes = memory_growth_bytes
        self._checkpoint_every_s = checkpoint_every_s
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self._held: dict[tuple[str, int, Attempt], Assignment] = {}
        self._stops: dict[tuple[str, int, Attempt], bool] = {}
        self._context: AttemptContext | None = None
        self._current: tuple[str, int, Attempt] | None = None
        self._outbox: collections.deque[Report] = collections.deque()
        self._wake = threading.Event()
        self._last_epoch_s = 0.0
        self._base_memory_bytes: int | None = None
        self._log = _LastLines(LOG_LINES)
        logging.getLogger().addHandler(self._log)
        threading.Thread(target=self._run, name="xnas-trials", daemon=True).start()
        threading.Thread(target=self._report, name="xnas-reports", daemon=True).start()

    # ---- called by the head ---------------------------------------------------------------------------------------

    def submit(self, assignment: Assignment) -> None:
        """Queue a trial; one that is already held is ignored."""
        key = (assignment.search_id, assignment.trial, assignment.attempt)
        with self._lock:
            if key in self._held:
                return
            self._held[key] = assignment
        self._todo.put(assignment)

    def stop_trial(self, search_id: str, trial: int, attempt: Attempt, checkpoint: bool) -> None:
        """Ask one attempt to end at its next batch, or never to begin."""
        key = (search_id, trial, attempt)
        with self._lock:
            if key not in self._held:
                return
            self._stops[key] = self._stops.get(key, True) and checkpoint
            if self._current == key and self._context is not None:
                self._context.stop(checkpoint=checkpoint)

    def attach(self) -> dict[str, Any]:
        """What a new head must know: shape, node and every attempt that is held or not yet acknowledged."""
        with self._lock:
            held = [*self._held, *((r.search_id, r.trial, r.attempt) for r in self._results())]
        self._wake.set()
        return {
            "worker_id": self.worker_id,
            "node_id": self.node_id,
            "cpus": self.shape[0],
            "gpus": self.shape[1],
            "running": list(dict.fromkeys(held)),
        }

    def shutdown(self) -> None:
        """End after what is held."""
        self._todo.put(None)

    # ---- the trial thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (assignment := self._todo.get()) is not None:
            with about(search=assignment.search_id, trial=assignment.trial, attempt=assignment.attempt):
                result = self._attempt(assignment)
                if result.duration_s >= LOGGED_FROM_S and result.status == TrialStatus.COMPLETED:
                    log.info("the attempt ended: completed", extra={"about": dict(result.metrics)})
            with self._lock:
                key = (assignment.search_id, assignment.trial, assignment.attempt)
                self._held.pop(key)
                self._stops.pop(key, None)
                self._current, self._context = None, None
                self._outbox.append(result)
                if self.running is not None:
                    self.running.result, self.running = result, None
            self._wake.set()
        deadline = time.monotonic() + HEAD_SILENCE_S
        while self._outbox and time.monotonic() < deadline:
            time.sleep(0.01)
        self.ended.set()

    def _attempt(self, assignment: Assignment) -> TrialResult:
        started = time.monotonic()
        key = (assignment.search_id, assignment.trial, assignment.attempt)
        folder = self._root / assignment.artifacts
        self._log.clear()
        context = AttemptContext(
            folder, newest_checkpoint(folder.parent), lambda r: self._epoch(assignment, r), self._checkpoint_every_s
        )
        with self._lock:
            self._current, self._context = key, context
            self.running = RunningTrial(assignment, started)
            if key in self._stops:
                context.stop(checkpoint=self._stops[key])
        try:
            if context.stop_requested():
                raise StoppedError("stopped before it began")
            result = self._runner.run(assignment, context)
        except BaseException as error:
            result = self._failed(assignment, context, error)
        recycle = self._outgrown()
        return dataclasses.replace(result, duration_s=time.monotonic() - started, recycle=result.recycle or recycle)

    def _failed(self, assignment: Assignment, context: AttemptContext, error: BaseException) -> TrialResult:
        kind = failure_kind(error, context.stop_requested())
        text = "" if isinstance(error, StoppedError) else self._log.text() + traceback.format_exc(limit=-12)
        message = error.message if isinstance(error, XnasError) else str(error)
        log.warning("the attempt ended: %s, %s: %s", kind, type(error).__name__, message)
        stopped = kind in (FailureKind.CANCELLED, FailureKind.PREEMPTED)
        return TrialResult(
            assignment.search_id,
            assignment.trial,
            assignment.attempt,
            TrialStatus.CANCELLED if stopped else TrialStatus.FAILED,
            0.0,
            failure=Failure(kind, type(error).__name__, _storable(message)[:2000], _storable(text)[-8000:]),
        )

    def _outgrown(self) -> bool:
        rss = psutil.Process().memory_info().rss
        if self._base_memory_bytes is None:
            self._base_memory_bytes = rss
        return rss - self._base_memory_bytes > self._memory_growth_bytes

    # ---- the report thread ------------------------------------------------------------------------------------------

    def _epoch(self, assignment: Assignment, record: Mapping[str, float]) -> None:
        log.info("epoch ended", extra={"about": dict(record)})
        report = EpochReport(assignment.search_id, assignment.trial, assignment.attempt, dict(record))
        with self._lock:
            self._outbox.append(report)
            if self.running is not None:
                self.running.epoch = int(record.get("epoch", self.running.epoch + 1))
        now = time.monotonic()
        if now - self._last_epoch_s >= EPOCH_REPORT_INTERVAL_S:
            self._last_epoch_s = now
            self._wake.set()

    def _report(self) -> None:
        heard_s = time.monotonic()
        sent_s = heard_s - REPORT_INTERVAL_S
        while not self.ended.is_set():
            self._wake.wait(BEAT_INTERVAL_S)
            self._wake.clear()
            self._gather(until_s=sent_s + REPORT_INTERVAL_S)
            sent_s = time.monotonic()
            with self._lock:
                batch = self._merged()
            try:
                assignments = self._send(self.worker_id, batch)
            except (ConnectionError, XnasError) as error:
                if time.monotonic() - heard_s > HEAD_SILENCE_S:
                    log.error("no head for %.0f s, the worker ends: %s", HEAD_SILENCE_S, error)
                    self.ended.set()
                time.sleep(RETRY_S)
                self._wake.set()
                continue
            heard_s = time.monotonic()
            with self._lock:
                heard = {id(report) for report in batch}
                self._outbox = collections.deque(r for r in self._outbox if id(r) not in heard)
                if any(isinstance(r, TrialResult) for r in self._outbox):
                    self._wake.set()
            for assignment in assignments:
                self.submit(assignment)

    def _gather(self, until_s: float) -> None:
        """Let more trials end, so that one call tells of them all, while there is a next one to run."""
        while (wait_s := until_s - time.monotonic()) > 0 and len(self._held) > 1:
            self._wake.wait(wait_s)
            self._wake.clear()

    def _merged(self) -> list[Report]:
        """What to send: epochs of attempts that ended are in their result's curve already."""
        ended = {(r.search_id, r.trial, r.attempt) for r in self._results()}
        kept = [r for r in self._outbox if isinstance(r, TrialResult) or (r.search_id, r.trial, r.attempt) not in ended]
        self._outbox = collections.deque(kept)
        return kept

    def _results(self) -> list[TrialResult]:
        return [r for r in self._outbox if isinstance(r, TrialResult)]


class _LastLines(logging.Handler):
    """Keeps the last log lines of the running trial."""

    def __init__(self, lines: int) -> None:
        super().__init__(logging.INFO)
        self._lines: collections.deque[str] = collections.deque(maxlen=lines)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.levelname} {record.name}: {record.getMessage()}\n")

    def clear(self) -> None:
        self._lines.clear()

    def text(self) -> str:
        return "".join(self._lines)


def _storable(text: str) -> str:
    """Text that any encoder takes: half characters, which a log may well have, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def newest_checkpoint(trial_folder: Path) -> Path | None:
    """The checkpoint of the latest attempt that wrote one; attempts are folders ``<epoch>-<n>``."""
    found = [p for p in trial_folder.glob(f"*-*/{CHECKPOINT_NAME}") if p.is_file()]
    return max(found, key=lambda p: tuple(int(x) for x in p.parent.name.split("-"))) if found else None


def failure_kind(error: BaseException, stop: str) -> FailureKind:
    """What kind of failure an exception is."""
    if isinstance(error, StoppedError):
        return FailureKind.PREEMPTED if stop == "checkpoint" else FailureKind.CANCELLED
    if isinstance(error, TrainingError):
        return FailureKind(error.kind)
    if isinstance(error, MemoryError):
        return FailureKind.OUT_OF_MEMORY
    return FailureKind.INVALID if isinstance(error, XnasError) else FailureKind.EXCEPTION


def environment_text(device: str) -> str:
    """JSON text of where a trial ran."""
    from importlib.metadata import version

    packages = {name: version(name) for name in ("torch", "numpy", "ray")}
    return json.dumps({"host": platform.node(), "device": device, "python": platform.python_version(), **packages})
