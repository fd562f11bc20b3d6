"""Lives of trials and searches: every transition, and what it orders. Who is served next is decided in ``planning``."""

from __future__ import annotations

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler.alarms import AlarmKind
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.records import Door, Phase, Search, Trial, Worker, WorkerState, smoothed

BUDGET_REASON = "budget exhausted: "


class Lifecycle:
    """Moves trials and searches from one state to the next."""

    def __init__(self, core: Core) -> None:
        """Work on the shared state."""
        self.core = core

    # ---- trials -----------------------------------------------------------------------------------------------------

    def propose(self, search: Search, number: int, reusable: bool) -> None:
        """A proposal arrived: its asked row must become durable."""
        if number != search.next_trial:
            raise TransitionError(
                f"search {search.search_id}: proposal {number} is out of turn, expected {search.next_trial}."
            )
        search.next_trial += 1
        search.outstanding = max(0, search.outstanding - 1)
        trial = Trial(number, Phase.PROPOSED, reusable=reusable)
        trial.asked_s = search.asked_at.popleft() if search.asked_at else None
        if search.ending is not None or search.state == SearchState.DRAINING:
            trial.doomed = search.reason or "the search ends"
        search.trials[number] = trial
        search.proposed += 1
        search.unreused += not reusable
        self.core.tell(m.WriteAsked(search.search_id, number))

    def asked_durable(self, search: Search, trial: Trial) -> None:
        """The asked row is on disk: the trial waits for a worker, or ends at once."""
        if trial.phase != Phase.PROPOSED:
            raise TransitionError(f"trial {search.search_id}/{trial.number} is {trial.phase}, not proposed.")
        search.proposed -= 1
        if trial.asked_s is not None:
            search.ask_s = smoothed(search.ask_s, self.core.now_s - trial.asked_s)
        if trial.doomed:
            self.conclude(search, trial, TrialStatus.CANCELLED, trial.doomed)
        elif trial.reusable:
            self.conclude(search, trial, TrialStatus.COMPLETED)
        else:
            search.push(trial)

    def begin(self, worker: Worker) -> None:
        """The trial at the head of a worker's line begins: its time limit counts from now."""
        if not worker.trials:
            return
        search_id, number = worker.trials[0]
        search = self.core.searches[search_id]
        trial = search.trials[number]
        if trial.begun_s is None:
            trial.begun_s = self.core.now_s
            if search.config.timeout_s is not None:
                at_s = self.core.now_s + search.config.timeout_s
                self.core.alarms.set(at_s, AlarmKind.TIMEOUT, search_id, number, trial.attempt)

    def assign(self, search: Search, trial: Trial, worker: Worker) -> None:
        """Hand a queued trial to a worker."""
        trial.phase = Phase.ASSIGNED
        trial.attempt = (self.core.epoch, trial.attempts)
        trial.attempts += 1
        trial.stop = ""
        self.hold(search, trial, worker)
        trial.charged = self.core.fair.charge(search, self.core.pool.share(worker.shape))
        self.core.tell(m.Dispatch(worker.worker_id, search.search_id, trial.number, trial.attempt))
        self.core.tell(m.LogTrial(search.search_id, trial.number, trial.attempt, "running", worker_id=worker.worker_id))

    def hold(self, search: Search, trial: Trial, worker: Worker) -> None:
        """Note that a worker holds a trial."""
        trial.phase = Phase.ASSIGNED
        trial.worker_id = worker.worker_id
        trial.begun_s = None
        worker.trials.append((search.search_id, trial.number))
        search.assigned += 1
        search.holders[worker.worker_id] = search.holders.get(worker.worker_id, 0) + 1
        self.begin(worker)
        self.place(worker)

    def let_go(self, search: Search, trial: Trial, worker: Worker, seconds: float) -> None:
        """A worker holds a trial no longer; the attempt took that many seconds."""
        worker.trials.remove((search.search_id, trial.number))
        search.assigned -= 1
        search.holders[worker.worker_id] -= 1
        if not search.holders[worker.worker_id]:
            del search.holders[worker.worker_id]
        search.gpu_s += seconds * worker.shape[1]
        self.core.fair.correct(search, self.core.pool.share(worker.shape), trial.charged, seconds)
        trial.charged = 0.0
        trial.worker_id = ""
        self.begin(worker)
        self.place(worker)

    def place(self, worker: Worker) -> None:
        """Note whether a worker has a place: empty, or with a short trial beside which it can hold another."""
        first = self.core.searches[worker.trials[0][0]] if worker.trials else None
        self.core.pool.list(worker, prefetch=first is not None and self.is_short(first))

    def is_short(self, search: Search) -> bool:
        """Whether its trials are so short that a worker should hold one in advance."""
        return search.trial_s is not None and search.trial_s < self.core.config.prefetch_below_s

    def attempt_failed(self, search: Search, trial: Trial, kind: FailureKind, seconds: float, detail: str) -> None:
        """An attempt ended without a result: another follows, or the trial ends."""
        config = self.core.config
        if search.ending is not None or trial.stop == "cancel" or trial.doomed:
            self.conclude(search, trial, TrialStatus.CANCELLED, trial.doomed or search.reason, kind)
            return
        if kind == FailureKind.PREEMPTED:
            self._again(search, trial, "requeued", kind, seconds, detail, wait_s=0.0)
            return
        if kind == FailureKind.CANCELLED:
            self.conclude(search, trial, TrialStatus.CANCELLED, detail, kind)
            return
        if kind.infrastructure:
            trial.infrastructure_failures += 1
            spent, allowed = trial.infrastructure_failures, config.infrastructure_retries
        else:
            trial.failures += 1
            spent, allowed = trial.failures, 0 if kind.deterministic else search.config.retries
        if spent > allowed:
            self.conclude(search, trial, TrialStatus.FAILED, detail or str(kind), kind)
            return
        wait_s = config.backoff_s[min(spent - 1, len(config.backoff_s) - 1)] if config.backoff_s else 0.0
        self._again(search, trial, "retrying", kind, seconds, detail, wait_s)

    def _again(
        self, search: Search, trial: Trial, state: str, kind: FailureKind, seconds: float, detail: str, wait_s: float
    ) -> None:
        assert trial.attempt is not None
        self.core.tell(
            m.LogTrial(
                search.search_id,
                trial.number,
                trial.attempt,
                state,
                failure=kind,
                duration_s=seconds,
                detail=detail,
            )
        )
        trial.retried = True
        trial.attempt = None
        trial.stop = ""
        if search.state == SearchState.DRAINING:
            self.conclude(search, trial, TrialStatus.CANCELLED, search.reason)
        elif wait_s > 0:
            trial.phase = Phase.BACKOFF
            self.core.alarms.set(self.core.now_s + wait_s, AlarmKind.BACKOFF, search.search_id, trial.number)
        else:
            search.push(trial)

    def put_back(self, search: Search, trial: Trial) -> None:
        """A trial that waited behind another on a worker that is gone: it never began, nothing is counted."""
        assert trial.attempt is not None
        self.core.tell(m.LogTrial(search.search_id, trial.number, trial.attempt, "requeued", detail="not begun"))
        trial.attempt = None
        if search.ending is not None or trial.stop == "cancel" or search.state == SearchState.DRAINING:
            self.conclude(search, trial, TrialStatus.CANCELLED, search.reason)
        else:
            trial.retried = True
            trial.stop = ""
            search.push(trial)

    def conclude(
        self,
        search: Search,
        trial: Trial,
        status: TrialStatus,
        reason: str = "",
        kind: FailureKind | None = None,
    ) -> None:
        """A trial has ended: its terminal row must become durable."""
        if trial.phase == Phase.QUEUED:
            search.queued -= 1
        trial.phase = Phase.REPORTED
        if status == TrialStatus.CANCELLED and not trial.reusable:
            search.unreused -= 1
            trial.reusable = True  # it counts neither as live nor, once durable, as finished
        reused = status == TrialStatus.COMPLETED and trial.reusable
        self.core.tell(m.WriteTerminal(search.search_id, trial.number, trial.attempt, status, reused, reason, kind))
        if not trial.reusable:
            search.unreused -= 1
            search.counted += 1
        if status == TrialStatus.COMPLETED:
            search.failed_in_a_row = 0
        elif status == TrialStatus.FAILED:
            search.failed_in_a_row += 1
            limit = self.core.config.failures_in_a_row
            if search.failed_in_a_row >= limit and search.state == SearchState.RUNNING:
                last = f"{kind}: {reason}" if kind and reason != kind else reason
                self.pause(search, f"{limit} trials failed in a row, the last with {last}")

    def terminal_durable(self, search: Search, trial: Trial) -> None:
        """The terminal row is on disk: the controller is told and the trial forgotten."""
        if trial.phase != Phase.REPORTED:
            raise TransitionError(f"trial {search.search_id}/{trial.number} is {trial.phase}, it has no outcome.")
        del search.trials[trial.number]
        search.exhausted = False
        self.core.tell(m.Tell(search.search_id, trial.number))

    def stop(self, search: Search, trial: Trial, *, checkpoint: bool) -> None:
        """Ask the worker of a trial to stop it."""
        if trial.stop == "cancel" or (trial.stop == "checkpoint" and checkpoint):
            return
        assert trial.attempt is not None
        trial.stop = "checkpoint" if checkpoint else "cancel"
        self.core.tell(m.StopTrial(trial.worker_id, search.search_id, trial.number, trial.attempt, checkpoint))
        at_s = self.core.now_s + self.core.config.kill_after_s
        self.core.alarms.set(at_s, AlarmKind.OBEY, search.search_id, trial.number, trial.attempt)

    # ---- searches ---------------------------------------------------------------------------------------------------

    def run(self, search: Search) -> None:
        """A search leaves the queue."""
        search.reason = ""
        self._enter(search, SearchState.RUNNING)
        self.core.fair.wake(search)
        if search.controller == Door.CLOSED:
            search.controller = Door.OPENING
            self.core.tell(m.OpenController(search.search_id))

    def pause(self, search: Search, reason: str, *, at_once: bool = False) -> None:
        """No new dispatch; with ``at_once`` running trials checkpoint and wait in the queue."""
        if search.state in (SearchState.RUNNING, SearchState.QUEUED):
            search.reason = reason
            search.dormant = True
            self._enter(search, SearchState.PAUSED)
        if at_once:
            for trial in self.held(search):
                self.stop(search, trial, checkpoint=True)
            self.stop_gang(search)

    def drain(self, search: Search, what: str) -> None:
        """A budget is exhausted: what waits is cancelled, what runs may finish unless the budget is hard."""
        if search.state == SearchState.DRAINING or search.ending is not None:
            return
        search.reason = BUDGET_REASON + what
        search.dormant = True
        self._enter(search, SearchState.DRAINING)
        self._cancel_waiting(search)
        if search.config.hard:
            for trial in self.held(search):
                self.stop(search, trial, checkpoint=False)
            self.stop_gang(search)

    def end(self, search: Search, ending: SearchState, reason: str) -> None:
        """A search is cancelled or has failed: everything of it stops."""
        if search.ending is not None:
            return
        search.ending = ending
        search.reason = reason
        search.dormant = True
        if search.state != SearchState.DRAINING:
            self._enter(search, SearchState.DRAINING)
        self._cancel_waiting(search)
        for trial in self.held(search):
            self.stop(search, trial, checkpoint=False)
        self.stop_gang(search)

    def stop_gang(self, search: Search) -> None:
        """End the job of a gang."""
        if search.gang == "running":
            self.core.tell(m.StopGang(search.search_id))
        elif search.gang == "waiting" and search.state == SearchState.DRAINING:
            search.gang = "done"

    def close(self, search: Search, state: SearchState) -> None:
        """Nothing of a search is live any more."""
        self._enter(search, state)
        search.dormant = True
        if search.controller != Door.CLOSED:
            search.controller = Door.CLOSED
            self.core.tell(m.CloseController(search.search_id))

    def settle(self, search: Search) -> None:
        """End a search of which nothing is live and nothing will come."""
        if search.state.ended or search.trials or search.outstanding:
            return
        if search.gang == "running" or (search.gang == "waiting" and search.ending is None):
            return
        if search.ending is not None:
            self.close(search, search.ending)
        elif search.state == SearchState.DRAINING:
            self.close(search, SearchState.FINISHED)
        elif search.state == SearchState.RUNNING and (search.headroom() <= 0 or search.exhausted):
            if search.headroom() > 0:
                search.reason = "every architecture that the controller can propose is evaluated"
            self.close(search, SearchState.FINISHED)

    def check_budgets(self, search: Search) -> None:
        """Drain a running search whose GPU hours or wall-clock time are spent."""
        if search.state != SearchState.RUNNING:
            return
        config = search.config
        if config.gpu_hours is not None and search.gpu_s >= config.gpu_hours * 3600:
            self.drain(search, f"{config.gpu_hours:g} GPU hours")
        elif config.wall_clock_s is not None and search.elapsed_s(self.core.now_s) >= config.wall_clock_s:
            self.drain(search, f"{config.wall_clock_s:g} s of running time")

    def held(self, search: Search) -> list[Trial]:
        """Trials that workers hold, by number."""
        return [t for t in search.trials.values() if t.phase == Phase.ASSIGNED]

    def _cancel_waiting(self, search: Search) -> None:
        for trial in list(search.trials.values()):
            if trial.phase == Phase.PROPOSED:
                trial.doomed = search.reason or "the search ends"
            elif trial.phase in (Phase.QUEUED, Phase.BACKOFF):
                self.conclude(search, trial, TrialStatus.CANCELLED, search.reason)

    def _enter(self, search: Search, state: SearchState) -> None:
        now_s = self.core.now_s
        ran = search.running_since is not None
        runs = state in (SearchState.RUNNING, SearchState.DRAINING)
        if ran and not runs:
            search.running_s = search.elapsed_s(now_s)
            search.running_since = None
        elif runs and not ran:
            search.running_since = now_s
            if search.config.wall_clock_s is not None:
                left_s = search.config.wall_clock_s - search.running_s
                self.core.alarms.set(now_s + max(0.0, left_s), AlarmKind.BUDGET, search.search_id)
        search.state = state
        self.core.tell(m.LogSearch(search.search_id, state, search.reason))

    # ---- workers ----------------------------------------------------------------------------------------------------

    def worker_gone(self, worker: Worker, kind: FailureKind, reason: str) -> None:
        """A worker ended: what it ran failed, what waited behind goes back to the queue."""
        pool = self.core.pool
        node = pool.nodes.get(worker.node_id)
        if worker.state == WorkerState.STARTING and node is not None:
            self._rest(node.node_id)
        pool.retire(worker, WorkerState.STOPPING)
        for position, (search_id, number) in enumerate(list(worker.trials)):
            search = self.core.searches[search_id]
            trial = search.trials[number]
            begun_s = trial.begun_s
            seconds = self.core.now_s - begun_s if begun_s is not None else 0.0
            stop = trial.stop
            self.let_go(search, trial, worker, seconds)
            if position > 0 or begun_s is None:
                self.put_back(search, trial)
            else:
                as_kind = worker.killed_as or kind
                if worker.killed_as is None and stop == "checkpoint":
                    as_kind = FailureKind.PREEMPTED
                self.attempt_failed(search, trial, as_kind, seconds, reason)
            self.check_budgets(search)
        pool.remove(worker)

    def _rest(self, node_id: str) -> None:
        node, config = self.core.pool.nodes[node_id], self.core.config
        node.start_failures += 1
        beyond = node.start_failures - config.start_attempts
        if beyond >= 0:
            node.rest_until_s = self.core.now_s + config.start_rest_s * 2 ** min(beyond, 10)
            self.core.alarms.set(node.rest_until_s, AlarmKind.NODE, node_id)

    def retire_if_empty(self, worker: Worker) -> None:
        """A draining worker without trials ends."""
        if worker.state == WorkerState.DRAINING and not worker.trials:
            self.core.pool.retire(worker, WorkerState.STOPPING)
            self.core.tell(m.StopWorker(worker.worker_id))

    def drain_worker(self, worker: Worker) -> None:
        """A worker gets no further trial and ends when it is empty."""
        if worker.state in (WorkerState.STARTING, WorkerState.READY):
            starting = worker.state == WorkerState.STARTING
            self.core.pool.retire(worker, WorkerState.DRAINING)
            if starting:
                self.core.pool.retire(worker, WorkerState.STOPPING)
                self.core.tell(m.KillWorker(worker.worker_id, "not needed any more"))
                return
            self.core.tell(m.DrainWorker(worker.worker_id))
            self.retire_if_empty(worker)
