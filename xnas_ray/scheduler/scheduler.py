"""The scheduler: a pure state machine. Events in, commands out; no clock, no file, no process, no chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler.alarms import Alarm, AlarmKind
from xnas_ray.scheduler.config import SchedulerConfig
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.gangs import Gangs
from xnas_ray.scheduler.lifecycle import Lifecycle
from xnas_ray.scheduler.planning import Planner
from xnas_ray.scheduler.records import Door, Node, Phase, Search, Trial, Worker, WorkerState, smoothed
from xnas_ray.scheduler.views import SearchView, WorkerView


class Scheduler:
    """Decides which search runs, which trial goes to which worker, and what happens when something dies.

    ``handle(event)`` returns what must be done now; the driver does it and reports with further events. Nothing is
    dispatched before the first ``Tick``, so that a restarted service can describe the world first.

    Args:
        config: limits and time-outs.
        writer_epoch: of the store's writer: first part of every attempt and worker id.
    """

    def __init__(self, config: SchedulerConfig | None = None, writer_epoch: int = 1) -> None:
        """Nothing known."""
        self.config = config or SchedulerConfig()
        self._core = Core(self.config, writer_epoch)
        self._life = Lifecycle(self._core)
        self._gangs = Gangs(self._core, self._life)
        self._planner = Planner(self._core, self._life)
        self._handlers: dict[type[m.Event], Callable[[Any], None]] = {
            m.Tick: self._tick,
            m.NodeJoined: self._node_joined,
            m.NodeDraining: self._node_draining,
            m.NodeLeft: self._node_left,
            m.WorkerReady: self._worker_ready,
            m.WorkerAdopted: self._worker_adopted,
            m.WorkerGone: self._worker_gone,
            m.WorkerBeat: self._worker_beat,
            m.SearchSubmitted: self._search_submitted,
            m.PauseRequested: self._pause_requested,
            m.ResumeRequested: self._resume_requested,
            m.CancelRequested: self._cancel_requested,
            m.ExtendRequested: self._extend_requested,
            m.ControllerReady: self._controller_ready,
            m.ControllerLost: self._controller_lost,
            m.ControllerFailed: self._controller_failed,
            m.Proposed: self._proposed,
            m.ProposalRefused: self._proposal_refused,
            m.AskedDurable: self._asked_durable,
            m.TerminalDurable: self._terminal_durable,
            m.TrialReported: self._trial_reported,
            m.GangEnded: self._gang_ended,
        }

    def handle(self, event: m.Event) -> list[m.Command]:
        """What must be done because of an event.

        Raises:
            TransitionError: the event is impossible in this state; the state is as it was before, but for the time.
        """
        core = self._core
        core.now_s = max(core.now_s, event.now_s)
        core.out = []
        self._handlers[type(event)](event)
        if core.open:
            self._gangs.plan()
            self._planner.plan()
            for search in list(core.running()):
                self._life.settle(search)
            if any(isinstance(c, m.LogSearch) for c in core.out):
                self._planner.start_searches()
        return core.out

    # ---- views ------------------------------------------------------------------------------------------------------

    @property
    def next_wakeup_s(self) -> float | None:
        """Earliest time at which a Tick matters."""
        return self._core.alarms.next_s

    def search(self, search_id: str) -> SearchView:
        """One search as it stands."""
        search = self._core.search(search_id, "show")
        waiting = len(search.trials) - search.proposed - search.queued - search.assigned
        return SearchView(
            search_id=search_id,
            state=search.state,
            reason=search.reason,
            priority=search.config.priority,
            queued=search.queued,
            waiting=waiting,
            running=search.assigned,
            outstanding=search.outstanding,
            counted=search.counted,
            next_trial=search.next_trial,
            running_s=search.elapsed_s(self._core.now_s),
            gpu_s=search.gpu_s,
            workers=len(search.holders),
            virtual_s=search.virtual_s,
            ask_s=search.ask_s,
            trial_s=search.trial_s,
            stale_reports=search.stale_reports,
            note=self._note(search),
        )

    def _note(self, search: Search) -> str:
        if search.state != SearchState.RUNNING:
            return ""
        cpus, gpus = search.shape
        nodes = self._core.pool.nodes.values()
        if nodes and not any(n.could_hold(search.shape) for n in nodes):
            return f"no node offers {cpus:g} CPUs and {gpus:g} GPUs"
        if search.gang == "waiting":
            return f"waits for {search.config.gang_workers} workers of {cpus:g} CPUs and {gpus:g} GPUs at once"
        if not nodes:
            return "no node has joined"
        return ""

    def searches(self) -> list[SearchView]:
        """All searches that were submitted to this scheduler, in that order."""
        return [self.search(search_id) for search_id in self._core.searches]

    def workers(self) -> list[WorkerView]:
        """All workers."""
        return [
            WorkerView(w.worker_id, w.node_id, w.shape, w.state, tuple(w.trials))
            for w in self._core.pool.workers.values()
        ]

    # ---- time -------------------------------------------------------------------------------------------------------

    def _tick(self, event: m.Tick) -> None:
        self._core.open = True
        handlers: dict[AlarmKind, Callable[..., None]] = {
            AlarmKind.BACKOFF: self._backoff_over,
            AlarmKind.TIMEOUT: self._timed_out,
            AlarmKind.OBEY: self._disobeyed,
            AlarmKind.LEASE: self._lease_over,
            AlarmKind.BUDGET: self._budget_due,
            AlarmKind.GANG: self._gangs.hurry,
            AlarmKind.NODE: self._node_rested,
        }
        alarm: Alarm
        for alarm in self._core.alarms.due(self._core.now_s):
            handlers[alarm.kind](*alarm.payload)

    def _live(self, search_id: str, number: int) -> tuple[Search, Trial] | None:
        search = self._core.searches.get(search_id)
        trial = search.trials.get(number) if search else None
        return (search, trial) if search is not None and trial is not None else None

    def _backoff_over(self, search_id: str, number: int) -> None:
        found = self._live(search_id, number)
        if found is not None and found[1].phase == Phase.BACKOFF:
            found[0].push(found[1])

    def _timed_out(self, search_id: str, number: int, attempt: m.Attempt) -> None:
        found = self._live(search_id, number)
        if found is not None and found[1].attempt == attempt and found[1].phase == Phase.ASSIGNED:
            limit_s = found[0].config.timeout_s
            self._kill(found[1].worker_id, f"trial {number} took longer than {limit_s:g} s", FailureKind.TIMEOUT)

    def _disobeyed(self, search_id: str, number: int, attempt: m.Attempt) -> None:
        found = self._live(search_id, number)
        if found is not None and found[1].attempt == attempt and found[1].phase == Phase.ASSIGNED:
            limit_s = self.config.kill_after_s
            self._kill(found[1].worker_id, f"trial {number} did not stop within {limit_s:g} s", None)

    def _kill(self, worker_id: str, reason: str, kind: FailureKind | None) -> None:
        worker = self._core.pool.workers.get(worker_id)
        if worker is not None and worker.state != WorkerState.STOPPING:
            self._core.pool.kill(worker, kind)
            self._core.tell(m.KillWorker(worker_id, reason))

    def _lease_over(self, worker_id: str) -> None:
        worker, lease_s = self._core.pool.workers.get(worker_id), self.config.lease_s
        if worker is None or lease_s is None:
            return
        if worker.seen_s + lease_s > self._core.now_s:
            self._core.alarms.set(worker.seen_s + lease_s, AlarmKind.LEASE, worker_id)
        else:
            self._kill(worker_id, f"not heard for {lease_s:g} s", None)

    def _budget_due(self, search_id: str) -> None:
        if search_id in self._core.searches:
            self._life.check_budgets(self._core.searches[search_id])

    def _node_rested(self, node_id: str) -> None:
        self._core.pool.changed = True

    # ---- nodes and workers ------------------------------------------------------------------------------------------

    def _node_joined(self, event: m.NodeJoined) -> None:
        if event.node_id in self._core.pool.nodes:
            return
        self._core.pool.join(Node.of(event.node_id, event.cpus, event.gpus))

    def _node_draining(self, event: m.NodeDraining) -> None:
        node = self._core.pool.nodes.get(event.node_id)
        if node is None:
            return
        node.draining = True
        for worker_id in sorted(node.workers):
            worker = self._core.pool.workers[worker_id]
            self._life.drain_worker(worker)
            if event.checkpoint:
                for search_id, number in list(worker.trials):
                    search = self._core.searches[search_id]
                    self._life.stop(search, search.trials[number], checkpoint=True)

    def _node_left(self, event: m.NodeLeft) -> None:
        for worker in self._core.pool.leave(event.node_id):
            self._life.worker_gone(worker, FailureKind.NODE_DIED, f"node {event.node_id} is gone")

    def _worker_ready(self, event: m.WorkerReady) -> None:
        worker = self._core.pool.workers.get(event.worker_id)
        if worker is None or worker.state != WorkerState.STARTING:
            return
        worker.state = WorkerState.READY
        self._core.pool.nodes[worker.node_id].start_failures = 0
        self._hear(worker)
        self._life.place(worker)

    def _hear(self, worker: Worker) -> None:
        first = worker.seen_s == 0.0 or worker.state == WorkerState.READY
        worker.seen_s = self._core.now_s
        if first and self.config.lease_s is not None:
            self._core.alarms.set(self._core.now_s + self.config.lease_s, AlarmKind.LEASE, worker.worker_id)

    def _worker_beat(self, event: m.WorkerBeat) -> None:
        worker = self._core.pool.workers.get(event.worker_id)
        if worker is not None:
            worker.seen_s = self._core.now_s

    def _worker_adopted(self, event: m.WorkerAdopted) -> None:
        shape = (event.cpus, event.gpus)
        known = event.node_id in self._core.pool.nodes
        wanted = [self._live(search_id, number) for search_id, number, _ in event.running]
        ours = all(found is not None and found[1].phase == Phase.QUEUED for found in wanted)
        if not known or not ours or event.worker_id in self._core.pool.workers:
            self._core.tell(m.KillWorker(event.worker_id, "holds trials that are not pending"))
            return
        worker = Worker(event.worker_id, event.node_id, shape, WorkerState.READY)
        self._core.pool.adopt(worker)
        for (_, _, attempt), found in zip(event.running, wanted, strict=True):
            assert found is not None
            search, trial = found
            search.queued -= 1
            trial.attempt = attempt
            trial.attempts = max(1, trial.attempts)
            self._life.hold(search, trial, worker)
        self._hear(worker)
        self._life.place(worker)

    def _worker_gone(self, event: m.WorkerGone) -> None:
        worker = self._core.pool.workers.get(event.worker_id)
        if worker is not None:
            self._life.worker_gone(worker, event.kind, event.reason)

    # ---- searches ---------------------------------------------------------------------------------------------------

    def _search_submitted(self, event: m.SearchSubmitted) -> None:
        core = self._core
        known = core.searches.get(event.search_id)
        if known is not None and not known.state.ended:
            raise TransitionError(f"search {event.search_id} was submitted before, it is {known.state}.")
        search = Search(event.search_id, len(core.searches), event.config)
        search.gang = "waiting" if event.config.gang_workers else ""
        progress = event.progress
        if progress is not None:
            self._restore(search, progress)
        core.searches[event.search_id] = search

    @staticmethod
    def _restore(search: Search, progress: m.SearchProgress) -> None:
        search.next_trial = progress.next_trial
        search.counted = progress.counted
        search.gpu_s = progress.gpu_s
        search.running_s = progress.running_s
        search.reason = progress.reason
        if progress.state == SearchState.PAUSED or progress.state.ended:
            search.state = progress.state
        for pending in progress.pending:
            trial = Trial(
                pending.trial,
                Phase.QUEUED,
                retried=True,
                attempts=pending.attempts,
                failures=pending.failures,
                infrastructure_failures=pending.infrastructure_failures,
            )
            search.trials[pending.trial] = trial
            search.unreused += 1
            search.push(trial)

    def _pause_requested(self, event: m.PauseRequested) -> None:
        search = self._core.search(event.search_id, "pause")
        if search.state.ended or search.ending is not None:
            raise TransitionError(f"search {event.search_id} is {search.state}, it cannot be paused.")
        self._life.pause(search, event.reason, at_once=event.at_once)

    def _resume_requested(self, event: m.ResumeRequested) -> None:
        search = self._core.search(event.search_id, "resume")
        if search.state != SearchState.PAUSED:
            raise TransitionError(
                f"search {event.search_id} is {search.state}, not paused.",
                fix="A finished search goes on with `xnas extend`." if search.state.ended else None,
            )
        self._requeue(search)

    def _requeue(self, search: Search) -> None:
        search.state = SearchState.QUEUED
        search.reason = ""
        search.exhausted = False
        search.failed_in_a_row = 0
        self._core.tell(m.LogSearch(search.search_id, SearchState.QUEUED))

    def _cancel_requested(self, event: m.CancelRequested) -> None:
        search = self._core.search(event.search_id, "cancel")
        if search.state.ended:
            raise TransitionError(f"search {event.search_id} is {search.state} already.")
        self._life.end(search, SearchState.CANCELLED, "cancelled on request")

    def _extend_requested(self, event: m.ExtendRequested) -> None:
        search = self._core.search(event.search_id, "extend")
        if search.ending is not None or search.state in (SearchState.CANCELLED, SearchState.FAILED):
            raise TransitionError(
                f"search {event.search_id} is {search.ending or search.state}, it cannot be extended.",
                fix="Submit a new one with reuse = 'completed': its results are taken over.",
            )
        changes = {
            name: value
            for name in ("trials", "gpu_hours", "wall_clock_s")
            if (value := getattr(event, name)) is not None
        }
        search.config = dataclasses.replace(search.config, **changes)
        search.exhausted = False
        if search.state == SearchState.DRAINING:
            search.reason = ""
            self._life.run(search)
        elif search.state == SearchState.FINISHED:
            self._requeue(search)
        self._life.check_budgets(search)

    # ---- controllers ------------------------------------------------------------------------------------------------

    def _controller_ready(self, event: m.ControllerReady) -> None:
        search = self._core.search(event.search_id, "use the controller of")
        if search.controller == Door.OPENING:
            search.controller = Door.READY

    def _controller_lost(self, event: m.ControllerLost) -> None:
        search = self._core.searches.get(event.search_id)
        if search is None or search.controller == Door.CLOSED:
            return
        search.outstanding = 0
        search.asked_at.clear()
        search.exhausted = False
        search.controller = Door.OPENING
        self._core.tell(m.OpenController(event.search_id))

    def _controller_failed(self, event: m.ControllerFailed) -> None:
        search = self._core.searches.get(event.search_id)
        if search is None or search.state.ended:
            return
        search.outstanding = 0
        search.asked_at.clear()
        self._life.end(search, SearchState.FAILED, f"the controller failed: {event.reason}")

    def _proposed(self, event: m.Proposed) -> None:
        self._life.propose(self._core.search(event.search_id, "propose for"), event.trial, event.reusable)

    def _proposal_refused(self, event: m.ProposalRefused) -> None:
        search = self._core.search(event.search_id, "propose for")
        search.outstanding = max(0, search.outstanding - 1)
        if search.asked_at:
            search.asked_at.popleft()
        search.exhausted = True

    # ---- trials -----------------------------------------------------------------------------------------------------

    def _asked_durable(self, event: m.AskedDurable) -> None:
        search = self._core.search(event.search_id, "queue a trial of")
        self._life.asked_durable(search, self._core.trial(search, event.trial, "queue"))

    def _terminal_durable(self, event: m.TerminalDurable) -> None:
        search = self._core.search(event.search_id, "end a trial of")
        self._life.terminal_durable(search, self._core.trial(search, event.trial, "end"))

    def _trial_reported(self, event: m.TrialReported) -> None:
        worker = self._core.pool.workers.get(event.worker_id)
        if worker is not None:
            worker.seen_s = self._core.now_s
        found = self._live(event.search_id, event.trial)
        current = (
            found is not None
            and worker is not None
            and found[1].phase == Phase.ASSIGNED
            and found[1].attempt == event.attempt
            and found[1].worker_id == event.worker_id
        )
        if not current:
            self._stale(event.search_id)
        else:
            assert found is not None and worker is not None
            self._end_attempt(found[0], found[1], worker, event)
        if worker is not None:
            if event.recycle and worker.state == WorkerState.READY:
                self._life.drain_worker(worker)
            self._life.retire_if_empty(worker)

    def _end_attempt(self, search: Search, trial: Trial, worker: Worker, event: m.TrialReported) -> None:
        if event.status == TrialStatus.COMPLETED:
            search.trial_s = smoothed(search.trial_s, event.duration_s)
        self._life.let_go(search, trial, worker, event.duration_s)
        if event.status == TrialStatus.COMPLETED:
            self._life.conclude(search, trial, TrialStatus.COMPLETED)
        else:
            kind = event.failure or FailureKind.CANCELLED
            if event.status == TrialStatus.CANCELLED and trial.stop == "checkpoint":
                kind = FailureKind.PREEMPTED
            self._life.attempt_failed(search, trial, kind, event.duration_s, "")
        self._life.check_budgets(search)

    def _stale(self, search_id: str) -> None:
        self._core.stale_reports += 1
        if search_id in self._core.searches:
            self._core.searches[search_id].stale_reports += 1

    # ---- gangs ------------------------------------------------------------------------------------------------------

    def _gang_ended(self, event: m.GangEnded) -> None:
        search = self._core.search(event.search_id, "end the gang of")
        if search.gang != "running":
            self._stale(event.search_id)
            return
        self._gangs.ended(search)
        if search.state == SearchState.PAUSED:
            search.gang = "waiting"
            return
        search.gang = "done"
        if not event.ok and search.ending is None and search.state == SearchState.RUNNING:
            self._life.end(search, SearchState.FAILED, event.reason)
        else:
            self._life.check_budgets(search)
