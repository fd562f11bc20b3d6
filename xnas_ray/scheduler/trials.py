"""Lives of trials: every transition, and what it orders. Who is served next is decided in ``planning``."""

from __future__ import annotations

import math

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler.alarms import AlarmKind
from xnas_ray.scheduler.config import MAX_LINE
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.nodes import Worker
from xnas_ray.scheduler.records import Phase, Search, Trial, smoothed

BEYOND_BUDGET = "beyond the budget of trials"


class Trials:
    """Moves trials from one state to the next."""

    def __init__(self, core: Core) -> None:
        """Work on the shared state."""
        self.core = core

    # ---- from the proposal to the queue -----------------------------------------------------------------------------

    def propose(self, search: Search, number: int, reusable: bool) -> None:
        """A proposal arrived: its asked row must become durable."""
        search.next_trial += 1
        search.outstanding -= 1
        trial = Trial(number, Phase.PROPOSED, reusable=reusable)
        trial.asked_s, _ = search.asked_at.popleft()
        trial.note(self.core.now_s, "proposed")
        search.trials[number] = trial
        search.proposed += 1
        search.unreused += not reusable
        if search.state == SearchState.DRAINING:
            trial.doomed = search.reason
        elif not reusable and self._excess(search) > 0:
            trial.doomed = BEYOND_BUDGET
        self.core.tell(m.WriteAsked(search.search_id, number))

    def asked_durable(self, event: m.AskedDurable) -> None:
        """The asked row is on disk: the trial waits for a worker, or ends at once."""
        search = self.core.search(event.search_id, "queue a trial of")
        trial = self.core.trial(search, event.trial, "queue")
        self._require(search, trial, Phase.PROPOSED, "its asked row cannot become durable again")
        search.proposed -= 1
        if trial.asked_s is not None:
            search.ask_s = smoothed(search.ask_s, self.core.now_s - trial.asked_s)
        if trial.doomed:
            self.conclude(search, trial, TrialStatus.CANCELLED, trial.doomed)
        elif trial.reusable:
            self.conclude(search, trial, TrialStatus.COMPLETED)
        else:
            self._queue(search, trial)

    def _queue(self, search: Search, trial: Trial) -> None:
        trial.note(self.core.now_s, "queued")
        search.push(trial)

    def _require(self, search: Search, trial: Trial, phase: Phase, problem: str) -> None:
        if trial.phase != phase:
            raise TransitionError(
                f"trial {search.search_id}/{trial.number} is {trial.phase}, not {phase}: {problem}. "
                f"Its story: {trial.tell_story()}."
            )

    # ---- on a worker ------------------------------------------------------------------------------------------------

    def assign(self, search: Search, trial: Trial, worker: Worker) -> None:
        """Hand a queued trial to a worker."""
        trial.attempt = (self.core.epoch, trial.attempts)
        trial.attempts += 1
        self.hold(search, trial, worker)
        trial.charged = self.core.fair.charge(search, self.core.pool.share(worker.shape))
        self.core.tell(m.Dispatch(worker.worker_id, search.search_id, trial.number, trial.attempt))
        self.core.tell(m.LogTrial(search.search_id, trial.number, trial.attempt, "running", worker_id=worker.worker_id))

    def hold(self, search: Search, trial: Trial, worker: Worker) -> None:
        """Note that a worker holds a trial."""
        trial.phase = Phase.ASSIGNED
        trial.worker_id = worker.worker_id
        trial.begun_s = None
        trial.stop = trial.doomed = ""
        trial.note(self.core.now_s, "assigned", worker.worker_id)
        worker.trials.append((search.search_id, trial.number))
        search.assigned += 1
        search.holders[worker.worker_id] = search.holders.get(worker.worker_id, 0) + 1
        self._begin(worker)
        self.place(worker)

    def let_go(self, search: Search, trial: Trial, worker: Worker, seconds: float) -> None:
        """A worker holds a trial no longer; the attempt took that many seconds."""
        worker.trials.remove((search.search_id, trial.number))
        search.assigned -= 1
        search.holders[worker.worker_id] -= 1
        if not search.holders[worker.worker_id]:
            del search.holders[worker.worker_id]
        if trial.begun_s is not None:
            search.gpus_end(worker.shape[1], trial.begun_s, seconds)
        self.core.fair.correct(search, self.core.pool.share(worker.shape), trial.charged, seconds)
        trial.charged = 0.0
        trial.worker_id = ""
        self._begin(worker)
        self.place(worker)

    def _begin(self, worker: Worker) -> None:
        """The trial at the head of a worker's line begins: its time counts from now."""
        core = self.core
        if not worker.trials:
            return
        search_id, number = worker.trials[0]
        search = core.searches[search_id]
        trial = search.trials[number]
        if trial.begun_s is not None:
            return
        trial.begun_s = core.now_s
        search.gpus_begin(worker.shape[1], core.now_s)
        limit_s = search.config.timeout_s
        worker.deadline_s = core.now_s + limit_s if limit_s is not None else math.inf
        if worker.deadline_s < worker.alarm_s:
            worker.alarm_s = worker.deadline_s
            core.alarms.set(worker.deadline_s, AlarmKind.TIMEOUT, worker.worker_id)
        if trial.stop:
            self._expect_obedience(search, trial)

    def place(self, worker: Worker) -> None:
        """Note whether a worker has a place: empty, or with so short trials that it should hold another."""
        self.core.pool.list(worker, more=self._can_hold_more(worker))

    def _can_hold_more(self, worker: Worker) -> bool:
        line = worker.trials
        if not line or not self.is_short(self.core.searches[line[0][0]]):
            return False
        if len(line) == 1:
            return True
        # Nothing may wait long behind another: what is held together must be short, whatever search it is of.
        held_s = (self.core.searches[search_id].trial_s for search_id, _ in line)
        return len(line) < MAX_LINE and sum(math.inf if s is None else s for s in held_s) < self.core.config.line_s

    def is_short(self, search: Search) -> bool:
        """Whether its trials are so short that their workers should hold another one in advance."""
        return search.trial_s is not None and search.trial_s < self.core.config.prefetch_below_s

    def stop(self, search: Search, trial: Trial, *, checkpoint: bool) -> None:
        """Ask the worker of a trial to stop it; one that waits behind another must obey only once it begins."""
        if trial.stop == "cancel" or (trial.stop == "checkpoint" and checkpoint):
            return
        assert trial.attempt is not None
        trial.stop = "checkpoint" if checkpoint else "cancel"
        trial.doomed = "" if checkpoint else search.reason
        trial.note(self.core.now_s, "asked to stop", trial.stop)
        self.core.tell(m.StopTrial(trial.worker_id, search.search_id, trial.number, trial.attempt, checkpoint))
        if trial.begun_s is not None:
            self._expect_obedience(search, trial)

    def _expect_obedience(self, search: Search, trial: Trial) -> None:
        at_s = self.core.now_s + self.core.config.kill_after_s
        self.core.alarms.set(at_s, AlarmKind.OBEY, search.search_id, trial.number, trial.attempt)

    def held(self, search: Search) -> list[Trial]:
        """Trials that workers hold, by number."""
        return sorted((t for t in search.trials.values() if t.phase == Phase.ASSIGNED), key=lambda t: t.number)

    # ---- after an attempt -------------------------------------------------------------------------------------------

    def attempt_failed(self, search: Search, trial: Trial, kind: FailureKind, seconds: float, detail: str) -> None:
        """An attempt ended without a result: another follows, or the trial ends."""
        config = self.core.config
        if search.ending is not None or trial.stop == "cancel":
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
        trial.note(self.core.now_s, state, str(kind))
        trial.attempt = None
        trial.retried = True
        if search.state == SearchState.DRAINING:
            self.conclude(search, trial, TrialStatus.CANCELLED, search.reason)
        elif wait_s > 0:
            trial.phase = Phase.BACKOFF
            search.backing_off += 1
            self.core.alarms.set(self.core.now_s + wait_s, AlarmKind.BACKOFF, search.search_id, trial.number)
        else:
            self._queue(search, trial)

    def backoff_over(self, search_id: str, number: int) -> None:
        """A trial has waited long enough for its next attempt."""
        found = self.core.live(search_id, number)
        if found is not None and found[1].phase == Phase.BACKOFF:
            search, trial = found
            search.backing_off -= 1
            self._queue(search, trial)

    def put_back(self, search: Search, trial: Trial, seconds: float, detail: str) -> None:
        """Its worker is gone, but not because of it: nothing is counted."""
        assert trial.attempt is not None
        self.core.tell(
            m.LogTrial(search.search_id, trial.number, trial.attempt, "requeued", duration_s=seconds, detail=detail)
        )
        trial.note(self.core.now_s, "requeued", detail)
        trial.attempt = None
        if trial.stop == "cancel" or search.state == SearchState.DRAINING:
            self.conclude(search, trial, TrialStatus.CANCELLED, trial.doomed or search.reason)
        else:
            trial.retried = True
            self._queue(search, trial)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def conclude(
        self, search: Search, trial: Trial, status: TrialStatus, reason: str = "", kind: FailureKind | None = None
    ) -> None:
        """A trial has ended: its terminal row must become durable."""
        search.queued -= trial.phase == Phase.QUEUED
        search.backing_off -= trial.phase == Phase.BACKOFF
        trial.phase = Phase.REPORTED
        trial.note(self.core.now_s, status)
        reused = status == TrialStatus.COMPLETED and trial.reusable
        self.core.tell(m.WriteTerminal(search.search_id, trial.number, trial.attempt, status, reused, reason, kind))
        if not trial.reusable:
            search.unreused -= 1
            search.counted += status != TrialStatus.CANCELLED
        if status == TrialStatus.COMPLETED:
            search.failed_in_a_row = 0
        elif status == TrialStatus.FAILED:
            search.failed_in_a_row += 1
            search.last_failure = f"{kind}: {reason}" if kind and reason != kind else reason

    def cancel_waiting(self, search: Search) -> None:
        """What no worker holds ends now, or as soon as its asked row is durable."""
        for trial in list(search.trials.values()):
            if trial.phase == Phase.PROPOSED:
                trial.doomed = search.reason
            elif trial.phase in (Phase.QUEUED, Phase.BACKOFF):
                self.conclude(search, trial, TrialStatus.CANCELLED, search.reason)

    def trim(self, search: Search) -> None:
        """Cancel what waits beyond a trial budget that was made smaller: first what never ran, the latest first."""
        excess = self._excess(search)
        if excess <= 0:
            return
        phases = (Phase.PROPOSED, Phase.QUEUED, Phase.BACKOFF)
        waiting = [t for t in search.trials.values() if t.phase in phases and not (t.reusable or t.doomed)]
        for trial in sorted(waiting, key=lambda t: (t.attempts == 0, t.number), reverse=True)[: int(excess)]:
            if trial.phase == Phase.PROPOSED:
                trial.doomed = BEYOND_BUDGET
            else:
                self.conclude(search, trial, TrialStatus.CANCELLED, BEYOND_BUDGET)

    @staticmethod
    def _excess(search: Search) -> float:
        """By how much the live trials exceed the trial budget, apart from those that are to be cancelled anyway."""
        excess = -search.headroom()
        if excess <= 0:
            return 0.0
        return excess - sum(1 for t in search.trials.values() if t.doomed and not t.reusable)

    @staticmethod
    def spare(search: Search) -> None:
        """What was to be cancelled because the search was about to end goes on."""
        for trial in search.trials.values():
            if trial.phase == Phase.PROPOSED:
                trial.doomed = ""

    def terminal_durable(self, event: m.TerminalDurable) -> None:
        """The terminal row is on disk: the controller is told and the trial forgotten."""
        search = self.core.search(event.search_id, "end a trial of")
        trial = self.core.trial(search, event.trial, "end")
        self._require(search, trial, Phase.REPORTED, "it has no terminal row that could become durable")
        del search.trials[trial.number]
        search.exhausted = False
        search.told += 1
        self.core.tell(m.Tell(search.search_id, trial.number))
