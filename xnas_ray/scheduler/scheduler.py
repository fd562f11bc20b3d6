"""The scheduler: a pure state machine. Events in, commands out; no clock, no file, no process, no chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.scheduler.alarms import AlarmKind
from xnas_ray.scheduler.config import SchedulerConfig
from xnas_ray.scheduler.controllers import Controllers
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.gangs import Gangs
from xnas_ray.scheduler.nodes import Shape
from xnas_ray.scheduler.planning import Planner
from xnas_ray.scheduler.records import GangState, Search
from xnas_ray.scheduler.searches import Searches
from xnas_ray.scheduler.sizing import Sizer
from xnas_ray.scheduler.trials import Trials
from xnas_ray.scheduler.views import SearchView, WorkerView
from xnas_ray.scheduler.workers import Workers


class Scheduler:
    """Decides which search runs, which trial goes to which worker, and what happens when something dies.

    ``handle(event)`` returns what must be done now, in this order; the driver does it and reports with further events.
    Nothing is dispatched before the first ``Tick``, so that a restarted service can describe the world first: nodes,
    searches with their progress, then workers that lived on.

    Args:
        config: limits and time-outs.
        writer_epoch: of the store's writer: first part of every attempt and worker id.
    """

    def __init__(self, config: SchedulerConfig | None = None, writer_epoch: int = 1) -> None:
        """Nothing known."""
        self.config = config or SchedulerConfig()
        self._core = core = Core(self.config, writer_epoch)
        self._trials = Trials(core)
        self._searches = Searches(core, self._trials)
        self._workers = Workers(core, self._trials)
        self._gangs = Gangs(core, self._searches, self._workers)
        self._planner = Planner(core, self._trials, self._searches)
        self._sizer = Sizer(core, self._workers)
        controllers = Controllers(core, self._trials, self._searches)
        self._handlers: dict[type[m.Event], Callable[[Any], None]] = {
            m.Tick: self._tick,
            m.NodeJoined: self._workers.node_joined,
            m.NodeDraining: self._node_draining,
            m.NodeLeft: self._node_left,
            m.WorkerReady: self._workers.ready,
            m.WorkerAdopted: self._workers.adopted,
            m.WorkerGone: self._workers.gone,
            m.WorkerBeat: self._workers.beat,
            m.TrialReported: self._workers.reported,
            m.SearchSubmitted: self._searches.submit,
            m.PauseRequested: self._searches.request_pause,
            m.ResumeRequested: self._searches.request_resume,
            m.CancelRequested: self._searches.request_cancel,
            m.ExtendRequested: self._searches.request_extend,
            m.ControllerReady: controllers.ready,
            m.ControllerLost: controllers.lost,
            m.ControllerFailed: controllers.failed,
            m.Proposed: controllers.proposed,
            m.ProposalRefused: controllers.refused,
            m.AskedDurable: self._trials.asked_durable,
            m.TerminalDurable: self._trials.terminal_durable,
            m.GangEnded: self._gangs.ended,
        }
        self._alarms: dict[AlarmKind, Callable[..., None]] = {
            AlarmKind.BACKOFF: self._trials.backoff_over,
            AlarmKind.TIMEOUT: self._workers.timed_out,
            AlarmKind.OBEY: self._workers.disobeyed,
            AlarmKind.STOP: self._workers.did_not_end,
            AlarmKind.LEASE: self._workers.lease_over,
            AlarmKind.GANG: self._gangs.hurry,
            AlarmKind.NODE: self._workers.node_rested,
        }

    def handle(self, event: m.Event) -> list[m.Command]:
        """What must be done because of an event.

        Late and duplicate reports of workers, nodes, controllers and gangs are dropped (and counted, where they report
        a result). Requests, proposals and durable rows that cannot be are errors.

        Raises:
            TransitionError: the event is impossible in this state; the state is as it was before, but for the time.
        """
        core = self._core
        core.now_s = max(core.now_s, event.now_s)
        core.out = []
        self._handlers[type(event)](event)
        while core.open:
            self._planner.start_searches()
            for search in list(core.running.values()):
                self._searches.watch(search)
            self._gangs.plan()
            self._planner.plan()
            self._sizer.size()
            if not any([self._searches.settle(search) for search in list(core.running.values())]):
                break  # otherwise a slot is free for the next search in the queue
        return core.out

    def _node_draining(self, event: m.NodeDraining) -> None:
        self._workers.node_draining(event)
        if event.checkpoint:
            self._gangs.leave(event.node_id)

    def _node_left(self, event: m.NodeLeft) -> None:
        self._workers.node_left(event)
        self._gangs.leave(event.node_id)

    def _tick(self, event: m.Tick) -> None:
        self._core.open = True
        for alarm in self._core.alarms.due(self._core.now_s):
            self._alarms[alarm.kind](*alarm.payload)

    # ---- views ------------------------------------------------------------------------------------------------------

    @property
    def next_wakeup_s(self) -> float | None:
        """Earliest time at which a Tick matters."""
        core = self._core
        times = [self._searches.spent_s(search) for search in core.running.values()]
        if len(core.running) > 1:
            times += [self._planner.late_s(search) for search in core.running.values()]
        if core.alarms.next_s is not None:
            times.append(core.alarms.next_s)
        earliest_s = min(times, default=math.inf)
        return earliest_s if earliest_s < math.inf else None

    def search(self, search_id: str) -> SearchView:
        """One search as it stands.

        Raises:
            TransitionError: it was never submitted to this scheduler.
        """
        search = self._core.search(search_id, "show")
        return SearchView(
            search_id=search_id,
            state=search.state,
            reason=search.reason,
            priority=search.config.priority,
            queued=search.queued,
            waiting=search.backing_off,
            running=search.assigned,
            outstanding=search.outstanding,
            counted=search.counted,
            next_trial=search.next_trial,
            running_s=search.elapsed_s(self._core.now_s),
            gpu_s=search.used_gpu_s(self._core.now_s),
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
        if not nodes:
            return "no node has joined"
        if not any(n.could_hold(search.shape) for n in nodes):
            return f"no node offers {cpus:g} CPUs and {gpus:g} GPUs"
        if search.gang == GangState.WAITING:
            return f"waits for {search.config.gang_workers} workers of {cpus:g} CPUs and {gpus:g} GPUs at once"
        return ""

    def searches(self) -> list[SearchView]:
        """All searches that were submitted to this scheduler, in that order."""
        return [self.search(search_id) for search_id in self._core.searches]

    def demand(self) -> dict[Shape, float]:
        """How many workers of each shape the running searches could use at once, perhaps infinitely many."""
        return self._sizer.demand()

    def workers(self) -> list[WorkerView]:
        """All workers."""
        return [
            WorkerView(w.worker_id, w.node_id, w.shape, w.state, tuple(w.trials))
            for w in self._core.pool.workers.values()
        ]
