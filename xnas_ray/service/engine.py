"""The loop of the head: events go into the scheduler, its commands become rows, calls and messages."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from xnas_ray import messages as m
from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.scheduler import Scheduler
from xnas_ray.service.books import Book, LiveTrial
from xnas_ray.service.happened import Happened
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.reports import Assignment, EpochReport, Report, TrialResult
from xnas_ray.store.layout import attempt_folder
from xnas_ray.store.reuse import ReuseIndex
from xnas_ray.store.rows import LogRow, SearchRow, asked_row, curve_rows

log = logging.getLogger(__name__)

CANCEL_REQUESTED = "cancel requested"


class Commits(Protocol):
    """See ``commits.Commits``."""

    writer: Any

    def append(self, rows: Any, when_durable: Callable[[], None] | None = None, *, lazy: bool = False) -> None:
        """Buffer rows."""

    def append_explanation(self, kind: str, search_id: str, table: Any) -> None:
        """Buffer a table of explanations."""

    def finish(self, search_id: str) -> None:
        """A search has ended."""


class Fleet(Protocol):
    """See ``fleet.Fleet``."""

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> None:
        """Start a worker."""

    def node_of(self, worker_id: str) -> str | None:
        """Where a worker runs."""

    def dispatch(self, worker_id: str, assignment: Assignment) -> None:
        """Hand over a trial."""

    def stop_trial(self, worker_id: str, search_id: str, trial: int, attempt: m.Attempt, checkpoint: bool) -> None:
        """Ask an attempt to end."""

    def shutdown(self, worker_id: str) -> None:
        """Let a worker end."""

    def kill(self, worker_id: str) -> None:
        """End a worker at once."""


class Hosts(Protocol):
    """See ``hosts.Hosts``."""

    def open(self, search_id: str, card: Mapping[str, Any]) -> None:
        """Open a controller."""

    def propose(self, search_id: str, count: int) -> None:
        """Ask for candidates."""

    def tell(self, search_id: str, told: Told) -> None:
        """Tell an outcome."""

    def close(self, search_id: str) -> None:
        """Close a controller."""


class Jobs(Protocol):
    """See ``supernet_job.SupernetJobs``."""

    def start(self, search_id: str, card: Mapping[str, Any], placement: Sequence[tuple[str, int]]) -> None:
        """Start a job."""

    def stop(self, search_id: str) -> None:
        """End a job."""

    def last_epoch(self, search_id: str) -> tuple[int, int, Mapping[str, float]] | None:
        """Supernet, epoch and record of what a running job told last."""


class Engine:
    """Drives one scheduler; every method runs in the head's event loop.

    Args:
        scheduler: decides.
        commits: makes rows durable.
        reuse: finds finished trials of the store.
        discard: deletes artifact files that are no longer wanted, given by their paths in the store.

    Attributes:
        books: live searches.
        silent: searches change their state without a row: the service stops, the next one goes on as if nothing was.
        on_change: called with the id of a search that has changed.
        on_finished: called with the id of a search that has finished and the reason; writes its row, now or later.
        finishing: finished searches whose row is still to come.
        happened: counts and durations since the last look at them, for the metrics.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        commits: Commits,
        reuse: ReuseIndex,
        *,
        discard: Callable[[list[str]], None],
    ) -> None:
        """Without searches; ``connect`` gives it workers and controllers."""
        self.scheduler = scheduler
        self.commits = commits
        self.reuse = reuse
        self.books: dict[str, Book] = {}
        self.fleet: Fleet
        self.hosts: Hosts
        self.jobs: Jobs
        self._discard = discard
        self._events: collections.deque[m.Event] = collections.deque()
        self._handling = False
        self._inline: tuple[str, list[Assignment]] | None = None
        self.on_change: Callable[[str], None] = lambda search_id: None
        self.on_finished: Callable[[str, str], None] = self._finished
        self.finishing: set[str] = set()
        self.silent = False
        self.happened = Happened()
        self._do: dict[type[m.Command], Callable[[Any], None]] = {
            m.StartWorker: lambda c: self.fleet.start(c.worker_id, c.node_id, c.cpus, c.gpus),
            m.DrainWorker: lambda c: log.debug("worker %s drains", c.worker_id),
            m.StopWorker: lambda c: self.fleet.shutdown(c.worker_id),
            m.KillWorker: self._kill_worker,
            m.OpenController: lambda c: self.hosts.open(c.search_id, self.books[c.search_id].card),
            m.CloseController: lambda c: self.hosts.close(c.search_id),
            m.Propose: lambda c: self.hosts.propose(c.search_id, c.count),
            m.Tell: self._tell,
            m.WriteAsked: self._write_asked,
            m.WriteTerminal: self._write_terminal,
            m.LogTrial: self._log_trial,
            m.LogSearch: self._log_search,
            m.Dispatch: self._dispatch,
            m.StopTrial: lambda c: self.fleet.stop_trial(c.worker_id, c.search_id, c.trial, c.attempt, c.checkpoint),
            m.StartGang: lambda c: self.jobs.start(c.search_id, self.books[c.search_id].card, c.placement),
            m.StopGang: lambda c: self.jobs.stop(c.search_id),
        }

    def connect(self, fleet: Fleet, hosts: Hosts, jobs: Jobs) -> None:
        """Give the engine its workers, controllers and jobs."""
        self.fleet = fleet
        self.hosts = hosts
        self.jobs = jobs

    # ---- events -----------------------------------------------------------------------------------------------------

    def post(self, event: m.Event | Callable[[float], m.Event]) -> None:
        """Let the scheduler handle an event (given as it is, or as a function of the time) and do what it orders.

        What goes wrong is logged, not raised: one event that does not fit must not stop those behind it.
        """
        self._events.append(event if isinstance(event, m.Event) else event(time.monotonic()))
        if not self._handling:
            self._drain()

    def request(self, event: Callable[[float], m.Event]) -> None:
        """A client's wish: like ``post``, but the client is told when it does not fit.

        Raises:
            TransitionError: the search is not in a state for this; nothing was changed.
        """
        commands = self.scheduler.handle(event(time.monotonic()))
        self._handling = True
        self._obey(commands)
        self._drain()

    def _drain(self) -> None:
        self._handling = True
        while self._events:
            event = self._events.popleft()
            try:
                commands = self.scheduler.handle(event)
            except Exception:
                log.exception("the scheduler refused %r", event)
                continue
            self._obey(commands)
        self._handling = False

    def _obey(self, commands: list[m.Command]) -> None:
        for command in commands:
            try:
                self._do[type(command)](command)
            except Exception:
                log.exception("%r was not carried out", command)

    def proposal(self, search_id: str, proposal: Proposal) -> None:
        """A controller proposed: remember it, look for its result, tell the scheduler."""
        book = self.books.get(search_id)
        if book is None:
            return
        live = LiveTrial(proposal, asked_at=time.time())
        book.live[proposal.candidate.ask_number] = live
        if book.spec.reuse == "completed":
            candidate = proposal.candidate
            row = self.reuse.find(
                book.card["task_hash"], proposal.key, proposal.recipe, candidate.fidelity, proposal.train_seed
            )
            if row is not None and book.reusable_metrics(row, proposal) is not None:
                live.reused = row
        reusable = live.reused is not None
        self.post(lambda now: m.Proposed(now, search_id, proposal.candidate.ask_number, reusable))

    def refusal(self, search_id: str) -> None:
        """A controller had no candidate."""
        if search_id in self.books:
            self.post(lambda now: m.ProposalRefused(now, search_id))

    def report(self, worker_id: str, reports: list[Report]) -> list[Assignment]:
        """A worker speaks; returns the trials that it is given in answer."""
        self._inline = (worker_id, [])
        try:
            for report in reports:
                if isinstance(report, EpochReport):
                    self._epoch(report)
                else:
                    self._result(worker_id, report)
            if not reports:
                self.post(lambda now: m.WorkerBeat(now, worker_id))
            return self._inline[1]
        finally:
            self._inline = None

    def _epoch(self, report: EpochReport) -> None:
        book = self.books.get(report.search_id)
        live = book.live.get(report.trial) if book else None
        if book is None or live is None or live.attempts == 0:
            return
        if live.result is not None and live.result.attempt >= report.attempt:
            return  # its curve is in the result
        if live.curve_attempt != report.attempt:
            live.curve_attempt, live.curve_epochs, live.curve = report.attempt, 0, []
        live.curve_epochs += 1
        live.curve.append(report.record)
        rows = curve_rows(report.search_id, report.trial, report.attempt, [report.record])
        with contextlib.suppress(StoreError):  # a name that cannot be stored is told with the result
            self.commits.append(rows, lazy=True)
        self.on_change(report.search_id)

    def _result(self, worker_id: str, result: TrialResult) -> None:
        book = self.books.get(result.search_id)
        if book is not None:
            book.executions += 1
        live = book.live.get(result.trial) if book else None
        if live is not None and (live.result is None or live.result.attempt < result.attempt) and not live.position:
            live.result, live.arrived_s = result, time.monotonic()
        self.post(
            lambda now: m.TrialReported(
                now,
                worker_id,
                result.search_id,
                result.trial,
                result.attempt,
                result.status,
                result.duration_s,
                result.failure.kind if result.failure else None,
                result.recycle,
            )
        )

    # ---- commands ---------------------------------------------------------------------------------------------------

    def _kill_worker(self, command: m.KillWorker) -> None:
        log.warning("worker %s is killed: %s", command.worker_id, command.reason)
        self.fleet.kill(command.worker_id)

    def _dispatch(self, command: m.Dispatch) -> None:
        book = self.books[command.search_id]
        live = book.live[command.trial]
        live.attempts += 1
        live.started_at = time.time()
        live.worker, live.node = command.worker_id, self.fleet.node_of(command.worker_id)
        keep = book.spec.keep_weights
        better_than = book.best_signed() if keep == "best" and book.best is not None else None
        assignment = Assignment(
            command.search_id,
            command.trial,
            command.attempt,
            live.proposal.candidate,
            live.proposal.train_seed,
            attempt_folder(command.search_id, command.trial, command.attempt),
            keep_weights=keep != "none",
            better_than=better_than,
            keep_activations=book.spec.keep_activations != "none",
            front=book.front_points(),
        )
        if self._inline is not None and self._inline[0] == command.worker_id:
            self._inline[1].append(assignment)
        else:
            self.fleet.dispatch(command.worker_id, assignment)
        self.on_change(command.search_id)

    def _tell(self, command: m.Tell) -> None:
        live = self.books[command.search_id].live.pop(command.trial)
        assert live.told is not None and live.position is not None
        self.hosts.tell(command.search_id, Told(live.position, live.told))

    def _write_asked(self, command: m.WriteAsked) -> None:
        live = self.books[command.search_id].live[command.trial]
        writer = self.commits.writer
        row = asked_row(
            live.proposal.candidate,
            search_id=command.search_id,
            epoch=writer.epoch,
            seq=writer.next_seq(),
            at=live.asked_at,
            told_through=live.proposal.told_through,
        )
        row = dataclasses.replace(row, detail=live.proposal.note())
        self.commits.append(row, lambda: self.post(lambda now: m.AskedDurable(now, command.search_id, command.trial)))

    def _write_terminal(self, command: m.WriteTerminal) -> None:
        book = self.books[command.search_id]
        writer = self.commits.writer
        row, curve = book.conclude(command, writer.epoch, writer.next_seq(), time.time())
        with contextlib.suppress(StoreError):
            self.commits.append(curve, lazy=True)
        live = book.live[command.trial]
        if live.result is not None and live.result.attempt == command.attempt:
            for kind, table in live.result.tables.items():
                self.commits.append_explanation(kind, command.search_id, table.assign(trial=command.trial))

        def durable() -> None:
            superfluous = book.count(
                row.trial,
                row.status,
                row.metrics,
                row.architecture,
                row.artifacts,
                duration_s=row.duration_s,
                reused=row.reused_from is not None,
            )
            if superfluous:
                self._discard(superfluous)
            self.happened.end(row.status, live.arrived_s)
            self.post(lambda now: m.TerminalDurable(now, command.search_id, command.trial))
            self.on_change(command.search_id)

        try:
            self.commits.append(row, durable)
        except StoreError as error:  # a value that cannot be stored: the trial fails, and is stored as failed
            row = book.refuse(row, str(error))
            self.commits.append(row, durable)

    def _log_trial(self, command: m.LogTrial) -> None:
        writer = self.commits.writer
        detail = self._detail(command)
        row = LogRow(
            search_id=command.search_id,
            trial=command.trial,
            epoch=writer.epoch,
            seq=writer.next_seq(),
            state=command.state,
            at=time.time(),
            attempt=command.attempt,
            duration_s=command.duration_s or None,
            detail=detail,
        )
        self.commits.append(row, lazy=True)

    def _detail(self, command: m.LogTrial) -> str:
        """What a log row says: the kind of a failure first, then what the worker told of it."""
        if command.failure is None:
            return command.detail
        live = self.books[command.search_id].live.get(command.trial)
        result = live.result if live is not None else None
        own = result.failure if result is not None and result.attempt == command.attempt else None
        if own is None:  # of what its worker told, that has a line
            about = {"search": command.search_id, "trial": command.trial, "attempt": command.attempt}
            log.warning("the attempt ended: %s: %s", command.failure, command.detail, extra={"about": about})
        told = f"{own.type}: {own.message}\n{own.log}" if own is not None else command.detail
        return f"{command.failure}: {told}"

    def _log_search(self, command: m.LogSearch) -> None:
        if command.search_id not in self.books or self.silent:
            return
        if command.state == m.SearchState.FINISHED:
            self.on_finished(command.search_id, command.reason)
        else:
            self.log_search(command.search_id, command.state, command.reason)

    def _finished(self, search_id: str, reason: str) -> None:
        self.log_search(search_id, m.SearchState.FINISHED, reason)

    def log_search(
        self,
        search_id: str,
        state: m.SearchState,
        reason: str = "",
        when_durable: Callable[[], None] | None = None,
        **columns: str | None,
    ) -> None:
        """Write a search's row; ``columns`` are those that only ``submitted`` gives, its first summary among them."""
        writer = self.commits.writer
        book = self.books.get(search_id)
        given: dict[str, Any] = {"summary": book.summary() if book else None, **columns}
        row = SearchRow(
            search_id=search_id,
            epoch=writer.epoch,
            seq=writer.next_seq(),
            at=time.time(),
            state=state,
            reason=reason,
            **given,
        )

        def durable() -> None:
            if state.ended and self.scheduler.search(search_id).state.ended:  # else it was extended meanwhile
                self.books.pop(search_id, None)
                self.commits.finish(search_id)
            self.on_change(search_id)
            if when_durable is not None:
                when_durable()

        self.commits.append(row, durable)

    def book(self, search_id: str) -> Book:
        """A live search; SearchNotFoundError with the fix otherwise."""
        if search_id not in self.books:
            raise SearchNotFoundError(
                f"search {search_id} does not run in this service.",
                got=search_id,
                valid=self.books,
                fix="`xnas list` shows the searches of the store; `xnas extend` reopens a finished one.",
            )
        return self.books[search_id]
