"""What the scheduler knows of each trial and search. Records hold facts; decisions are made elsewhere."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from xnas_ray.messages import Attempt, SearchConfig, SearchState
from xnas_ray.scheduler.nodes import Shape

EMA_WEIGHT = 0.2
STORY_LENGTH = 12


def smoothed(old: float | None, new: float) -> float:
    """Exponential moving average with weight 0.2 for the newest value."""
    return new if old is None else old + EMA_WEIGHT * (new - old)


class Phase(StrEnum):
    """Where a live trial stands; a trial with a durable terminal row is forgotten."""

    PROPOSED = "proposed"
    QUEUED = "queued"
    BACKOFF = "backoff"
    ASSIGNED = "assigned"
    REPORTED = "reported"


@dataclass(slots=True)
class Trial:
    """A live trial.

    Attributes:
        number: its number in its search.
        phase: where it stands.
        reusable: the store has its result; it needs no worker.
        retried: it goes before new trials.
        attempts: attempts dispatched so far.
        failures: of these, those that spent a retry.
        infrastructure_failures: of these, those that died with a worker or node.
        attempt: the current one, while assigned or reported.
        worker_id: who holds it, while assigned.
        begun_s: when its worker came to it, None while it waits behind another.
        charged: fair-share charge of the current attempt, in seconds.
        stop: ``""``, ``"cancel"`` or ``"checkpoint"`` once its worker was asked to stop it.
        doomed: why it is to be cancelled once its asked row is durable, or its worker has stopped it.
        asked_s: when its proposal was asked for.
        story: its first and latest transitions, for error messages.
    """

    number: int
    phase: Phase
    reusable: bool = False
    retried: bool = False
    attempts: int = 0
    failures: int = 0
    infrastructure_failures: int = 0
    attempt: Attempt | None = None
    worker_id: str = ""
    begun_s: float | None = None
    charged: float = 0.0
    stop: str = ""
    doomed: str = ""
    asked_s: float | None = None
    story: list[tuple[float, str, str]] = field(default_factory=list)

    def note(self, now_s: float, what: str, detail: str = "") -> None:
        """Remember a transition; of a long story the middle is forgotten."""
        if len(self.story) == STORY_LENGTH:
            del self.story[1]
        self.story.append((now_s, what, detail))

    def tell_story(self) -> str:
        """The transitions with their times, such as ``proposed at 1.5 s, assigned at 2 s (w1-3)``."""
        lines = (f"{what} at {at_s:g} s" + (f" ({detail})" if detail else "") for at_s, what, detail in self.story)
        return ", ".join(lines)


class Door(StrEnum):
    """Whether a search's controller can be asked; a lost one is opened again when it is needed."""

    CLOSED = "closed"
    OPENING = "opening"
    READY = "ready"
    LOST = "lost"


class GangState(StrEnum):
    """Where the job of a gang-scheduled search stands."""

    NONE = "none"
    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"


@dataclass(slots=True)
class Search:
    """A search that was submitted to this service.

    Attributes:
        search_id: its id.
        order: counts the submissions, for the queue.
        config: budgets, shape, priority.
        shape: shape of the workers that can run its trials.
        state: where it stands.
        reason: why it is there.
        ending: the state that it goes to when nothing of it is live.
        was_running: it ran when an earlier service stopped: it goes before others in the queue.
        controller: whether it can be asked.
        trials: live trials by number.
        ready: heap of (not retried, number) of queued trials; entries of other phases are skipped.
        proposed: trials whose asked row is on its way to the disk.
        queued: trials that wait for a worker.
        backing_off: trials that wait before their next attempt.
        assigned: trials that workers hold.
        holders: workers that hold at least one, with how many.
        outstanding: proposals asked for and not answered.
        asked_at: when each of them was asked for, and how many outcomes had been told by then.
        told: outcomes that the controller was told.
        next_trial: number of the next proposal.
        exhausted: the controller had no candidate since the last tell.
        counted: finished trials of the budget.
        unreused: live trials that will count.
        gpu_s: GPU seconds of every attempt that has ended.
        gpu_rate: GPUs that run for it now.
        gpu_offset_s: sum over these GPUs of the time since when.
        running_s: seconds in state running or draining before ``running_since``.
        running_since: when it began to run, None while it does not.
        failed_in_a_row: failed trials since the last completed one.
        last_failure: what the last of them said.
        ask_s: moving average of the seconds from asking to a durable candidate.
        trial_s: moving average of the seconds of a trial.
        virtual_s: its pass of the stride scheduling.
        stale_reports: reports that were dropped.
        gang: where the job of its gang stands.
        gang_tried: version of the pool at which there was no place for it.
    """

    search_id: str
    order: int
    config: SearchConfig
    shape: Shape = field(init=False)
    state: SearchState = SearchState.QUEUED
    reason: str = ""
    ending: SearchState | None = None
    was_running: bool = False
    controller: Door = Door.CLOSED
    trials: dict[int, Trial] = field(default_factory=dict)
    ready: list[tuple[bool, int]] = field(default_factory=list)
    proposed: int = 0
    queued: int = 0
    backing_off: int = 0
    assigned: int = 0
    holders: dict[str, int] = field(default_factory=dict)
    outstanding: int = 0
    asked_at: deque[tuple[float, int]] = field(default_factory=deque)
    told: int = 0
    next_trial: int = 0
    exhausted: bool = False
    counted: int = 0
    unreused: int = 0
    gpu_s: float = 0.0
    gpu_rate: float = 0.0
    gpu_offset_s: float = 0.0
    running_s: float = 0.0
    running_since: float | None = None
    failed_in_a_row: int = 0
    last_failure: str = ""
    ask_s: float | None = None
    trial_s: float | None = None
    virtual_s: float = 0.0
    stale_reports: int = 0
    gang: GangState = GangState.NONE
    gang_tried: int = -1

    def __post_init__(self) -> None:
        """The shape never changes."""
        self.shape = (self.config.cpus, self.config.gpus)

    @property
    def dispatchable(self) -> bool:
        """Whether its queued trials may be given to workers."""
        return self.state == SearchState.RUNNING and self.gang in (GangState.NONE, GangState.DONE)

    @property
    def coming(self) -> int:
        """Candidates in the queue or on their way to it."""
        return self.outstanding + self.proposed + self.queued

    @property
    def may_use_another(self) -> bool:
        """Whether one more worker may hold a trial of it."""
        limit = self.config.max_workers
        return limit is None or len(self.holders) < limit

    def headroom(self) -> float:
        """Further proposals that the trial budget allows; infinite without one."""
        if self.config.trials is None:
            return math.inf
        return self.config.trials - self.counted - self.unreused - self.outstanding

    def may_propose(self) -> float:
        """Further proposals that the budget and the controller allow."""
        return 0.0 if self.exhausted else max(0.0, self.headroom())

    def elapsed_s(self, now_s: float) -> float:
        """Seconds in state running, up to now."""
        return self.running_s + (now_s - self.running_since if self.running_since is not None else 0.0)

    def used_gpu_s(self, now_s: float) -> float:
        """GPU seconds of every attempt, those that run included."""
        return self.gpu_s + self.gpu_rate * now_s - self.gpu_offset_s

    def gpus_begin(self, gpus: float, now_s: float) -> None:
        """GPUs start to run for it."""
        self.gpu_rate += gpus
        self.gpu_offset_s += gpus * now_s

    def gpus_end(self, gpus: float, since_s: float, seconds: float) -> None:
        """GPUs have run for it since then; ``seconds`` is what counts, measured on the worker."""
        self.gpu_s += gpus * seconds
        self.gpu_rate -= gpus
        self.gpu_offset_s -= gpus * since_s

    def push(self, trial: Trial) -> None:
        """Queue a trial."""
        trial.phase = Phase.QUEUED
        self.queued += 1
        heapq.heappush(self.ready, (not trial.retried, trial.number))

    def pop(self) -> Trial:
        """The next queued trial: retried ones first, then by number."""
        while True:
            _, number = heapq.heappop(self.ready)
            trial = self.trials.get(number)
            if trial is not None and trial.phase == Phase.QUEUED:
                self.queued -= 1
                return trial
