"""Nodes and workers: they come, report, hang, leave; what they held goes on elsewhere."""

from __future__ import annotations

import math

from xnas_ray import messages as m
from xnas_ray.messages import Attempt, FailureKind, TrialStatus
from xnas_ray.scheduler.alarms import AlarmKind
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.nodes import Node, Worker, WorkerState
from xnas_ray.scheduler.records import Phase, Search, Trial, smoothed
from xnas_ray.scheduler.trials import Trials

LONGEST_REST = 2**6


class Workers:
    """Handles what nodes and workers do."""

    def __init__(self, core: Core, trials: Trials) -> None:
        """Work on the shared state."""
        self.core = core
        self.trials = trials

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def node_joined(self, event: m.NodeJoined) -> None:
        """A node offers its resources; one that is known already changes nothing."""
        if event.node_id not in self.core.pool.nodes:
            self.core.pool.join(Node.of(event.node_id, event.cpus, event.gpus))

    def node_draining(self, event: m.NodeDraining) -> None:
        """A node will leave: its workers finish, or checkpoint and move."""
        node = self.core.pool.nodes.get(event.node_id)
        if node is None:
            return
        node.draining = True
        self.core.pool.unclaim(node)
        for worker in self.core.pool.workers_of(node):
            self.drain(worker)
            if event.checkpoint:
                self.checkpoint(worker)

    def checkpoint(self, worker: Worker) -> None:
        """What a worker holds makes a checkpoint and goes back to the queue."""
        for search_id, number in list(worker.trials):
            search = self.core.searches[search_id]
            self.trials.stop(search, search.trials[number], checkpoint=True)

    def node_left(self, event: m.NodeLeft) -> None:
        """A node is gone with everything on it; what a draining one still ran was preempted, not lost."""
        kind = FailureKind.PREEMPTED if self._is_draining(event.node_id) else FailureKind.NODE_DIED
        for worker in self.core.pool.leave(event.node_id):
            self._gone(worker, kind, f"node {event.node_id} is gone")

    def _is_draining(self, node_id: str) -> bool:
        node = self.core.pool.nodes.get(node_id)
        return node is not None and node.draining

    def node_rested(self, node_id: str) -> None:
        """Workers may start again on a node where they died."""
        self.core.pool.version += 1

    # ---- workers come -----------------------------------------------------------------------------------------------

    def ready(self, event: m.WorkerReady) -> None:
        """A started worker can take trials."""
        worker = self.core.pool.workers.get(event.worker_id)
        if worker is None or worker.state != WorkerState.STARTING:
            return
        worker.state = WorkerState.READY
        self.core.pool.nodes[worker.node_id].start_failures = 0
        self._lease(worker)
        self.trials.place(worker)

    def adopted(self, event: m.WorkerAdopted) -> None:
        """A worker of an earlier service lives; what it holds must be what waits for a worker here.

        A worker that holds anything else is killed: it would spend its time on what nobody wants. Of several attempts
        of one trial only the last counts.
        """
        core = self.core
        latest: dict[tuple[str, int], Attempt] = {}
        for search_id, number, attempt in event.running:
            latest[search_id, number] = max(attempt, latest.get((search_id, number), attempt))
        held = [(core.live(*key), attempt) for key, attempt in latest.items()]
        ours = all(found is not None and found[1].phase == Phase.QUEUED for found, _ in held)
        if event.node_id not in core.pool.nodes or not ours or event.worker_id in core.pool.workers:
            if event.worker_id not in core.pool.workers:
                core.tell(m.KillWorker(event.worker_id, "it holds what is not pending, or is on an unknown node"))
            return
        worker = Worker(event.worker_id, event.node_id, (event.cpus, event.gpus), WorkerState.READY)
        core.pool.adopt(worker)
        for found, attempt in held:
            assert found is not None
            search, trial = found
            search.queued -= 1
            trial.attempt = attempt
            trial.attempts = max(1, trial.attempts)
            self.trials.hold(search, trial, worker)
        self._lease(worker)
        self.trials.place(worker)
        if core.pool.nodes[event.node_id].draining:
            self.drain(worker)

    def _lease(self, worker: Worker) -> None:
        """From now on it must be heard regularly; one alarm follows the worker through its life."""
        worker.seen_s = self.core.now_s
        if self.core.config.lease_s is not None:
            self.core.alarms.set(self.core.now_s + self.core.config.lease_s, AlarmKind.LEASE, worker.worker_id)

    def beat(self, event: m.WorkerBeat) -> None:
        """A worker is alive."""
        worker = self.core.pool.workers.get(event.worker_id)
        if worker is not None:
            worker.seen_s = self.core.now_s

    # ---- workers report ---------------------------------------------------------------------------------------------

    def reported(self, event: m.TrialReported) -> None:
        """An attempt ended; reports of other attempts than the current one are dropped."""
        core = self.core
        worker = core.pool.workers.get(event.worker_id)
        found = core.live(event.search_id, event.trial)
        if worker is None:
            core.stale(event.search_id)
            return
        worker.seen_s = core.now_s
        if (
            found is None
            or found[1].phase != Phase.ASSIGNED
            or found[1].attempt != event.attempt
            or found[1].worker_id != event.worker_id
        ):
            core.stale(event.search_id)
        else:
            self._attempt_ended(*found, worker, event)
        if event.recycle and worker.state == WorkerState.READY:
            self.drain(worker)
        else:
            self._stop_if_empty(worker)

    def _attempt_ended(self, search: Search, trial: Trial, worker: Worker, event: m.TrialReported) -> None:
        completed = event.status == TrialStatus.COMPLETED
        if completed:
            search.trial_s = smoothed(search.trial_s, event.duration_s)
        self.trials.let_go(search, trial, worker, event.duration_s)
        if completed:
            self.trials.conclude(search, trial, TrialStatus.COMPLETED)
            return
        kind = event.failure or FailureKind.CANCELLED
        if event.status == TrialStatus.CANCELLED and trial.stop == "checkpoint":
            kind = FailureKind.PREEMPTED
        self.trials.attempt_failed(search, trial, kind, event.duration_s, "")

    # ---- workers leave ----------------------------------------------------------------------------------------------

    def drain(self, worker: Worker) -> None:
        """A worker gets no further trial and ends when it is empty; one that still starts ends at once."""
        if worker.state == WorkerState.STARTING:
            self._kill(worker, "not needed any more")
        elif worker.state == WorkerState.READY:
            self.core.pool.retire(worker, WorkerState.DRAINING)
            self.core.tell(m.DrainWorker(worker.worker_id))
            self._stop_if_empty(worker)

    def _stop_if_empty(self, worker: Worker) -> None:
        if worker.state == WorkerState.DRAINING and not worker.trials:
            self.core.pool.retire(worker, WorkerState.STOPPING)
            self.core.tell(m.StopWorker(worker.worker_id))
            at_s = self.core.now_s + self.core.config.kill_after_s
            self.core.alarms.set(at_s, AlarmKind.STOP, worker.worker_id)

    def gone(self, event: m.WorkerGone) -> None:
        """A worker's process ended, asked or not; on a draining node the machine's end is no failure."""
        worker = self.core.pool.workers.get(event.worker_id)
        if worker is not None:
            leaves = event.kind.infrastructure and self._is_draining(worker.node_id)
            self._gone(worker, FailureKind.PREEMPTED if leaves else event.kind, event.reason)

    def _gone(self, worker: Worker, kind: FailureKind, reason: str) -> None:
        """What it ran failed, what waited behind goes back to the queue.

        If it was killed for one attempt, that one alone is to blame; otherwise the one that it was running is.
        """
        core = self.core
        if worker.state == WorkerState.STARTING:
            self._rest(worker.node_id)
        core.pool.retire(worker, WorkerState.STOPPING)
        running = worker.trials[0] if worker.trials else None
        for key in list(worker.trials):
            search = core.searches[key[0]]
            trial = search.trials[key[1]]
            seconds = core.now_s - trial.begun_s if trial.begun_s is not None else 0.0
            self.trials.let_go(search, trial, worker, seconds)
            guilty = key == running if worker.blamed is None else worker.blamed == (*key, trial.attempt)
            if not guilty:
                detail = "its worker ended because of another trial" if key == running else "not begun"
                self.trials.put_back(search, trial, seconds, detail)
                continue
            as_kind = worker.killed_as or (FailureKind.PREEMPTED if trial.stop == "checkpoint" else kind)
            self.trials.attempt_failed(search, trial, as_kind, seconds, reason)
        core.pool.remove(worker)

    def _rest(self, node_id: str) -> None:
        """Workers that die one after the other while they start give their node a rest, longer every time."""
        node, config = self.core.pool.nodes.get(node_id), self.core.config
        if node is None or self.core.now_s < node.rest_until_s:
            return
        node.start_failures += 1
        beyond = node.start_failures - config.start_attempts
        if beyond >= 0:
            node.rest_until_s = self.core.now_s + config.start_rest_s * min(2**beyond, LONGEST_REST)
            if not isinstance(node.claimed_by, str):
                self.core.pool.unclaim(node)
            self.core.alarms.set(node.rest_until_s, AlarmKind.NODE, node_id)

    # ---- workers that hang ------------------------------------------------------------------------------------------

    def timed_out(self, worker_id: str) -> None:
        """The deadline of a worker was set for now, or has moved since."""
        worker = self.core.pool.workers.get(worker_id)
        if worker is None:
            return
        worker.alarm_s = math.inf
        if not worker.trials or worker.deadline_s == math.inf:
            return
        if worker.deadline_s > self.core.now_s:
            worker.alarm_s = worker.deadline_s
            self.core.alarms.set(worker.deadline_s, AlarmKind.TIMEOUT, worker_id)
            return
        search_id, number = worker.trials[0]
        search = self.core.searches[search_id]
        attempt = search.trials[number].attempt
        assert attempt is not None
        reason = f"trial {search_id}/{number} took longer than {search.config.timeout_s:g} s"
        self._kill(worker, reason, (search_id, number, attempt), FailureKind.TIMEOUT)

    def disobeyed(self, search_id: str, number: int, attempt: Attempt) -> None:
        """An attempt was asked to stop and had its time."""
        found = self.core.live(search_id, number)
        if found is None or found[1].phase != Phase.ASSIGNED or found[1].attempt != attempt:
            return
        worker = self.core.pool.workers[found[1].worker_id]
        kind = FailureKind.PREEMPTED if found[1].stop == "checkpoint" else FailureKind.CANCELLED
        limit_s = self.core.config.kill_after_s
        reason = f"trial {search_id}/{number} did not stop within {limit_s:g} s"
        self._kill(worker, reason, (search_id, number, attempt), kind)

    def did_not_end(self, worker_id: str) -> None:
        """An empty worker was asked to end and had its time."""
        worker = self.core.pool.workers.get(worker_id)
        if worker is not None:
            self._kill(worker, f"did not end within {self.core.config.kill_after_s:g} s")

    def lease_over(self, worker_id: str) -> None:
        """A worker has to have been heard by now."""
        worker, lease_s = self.core.pool.workers.get(worker_id), self.core.config.lease_s
        if worker is None or worker.killed or lease_s is None:
            return
        if worker.seen_s + lease_s > self.core.now_s:
            self.core.alarms.set(worker.seen_s + lease_s, AlarmKind.LEASE, worker_id)
        else:
            self._kill(worker, f"not heard for {lease_s:g} s")

    def _kill(
        self,
        worker: Worker,
        reason: str,
        blamed: tuple[str, int, Attempt] | None = None,
        kind: FailureKind | None = None,
    ) -> None:
        if not worker.killed:
            self.core.pool.kill(worker, blamed, kind)
            self.core.tell(m.KillWorker(worker.worker_id, reason))
