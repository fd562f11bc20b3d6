"""What the scheduler knows of each trial, search, worker and node. Records hold facts; decisions are made elsewhere."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from xnas_ray.messages import Attempt, FailureKind, SearchConfig, SearchState

Shape = tuple[float, float]
"""(cpus, gpus) of a worker."""

EMA_WEIGHT = 0.2
EPSILON = 1e-9


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
        doomed: why it is to be cancelled as soon as its asked row is durable.
        asked_s: when its proposal was asked for.
        story: its transitions so far, for error messages.
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
    story: list[str] = field(default_factory=list)


class Door(StrEnum):
    """Whether a search's controller can be asked."""

    CLOSED = "closed"
    OPENING = "opening"
    READY = "ready"


@dataclass(slots=True)
class Search:
    """A search that has not ended for good.

    Attributes:
        search_id: its id.
        order: when it was submitted, for the queue.
        config: budgets, shape, priority.
        state: where it stands.
        reason: why it is there.
        ending: the state that it goes to when nothing of it is live.
        controller: whether it can be asked.
        trials: live trials by number.
        ready: heap of (not retried, number) of queued trials; entries of other phases are skipped.
        proposed: trials whose asked row is on its way to the disk.
        queued: number of queued trials.
        assigned: trials that workers hold.
        holders: workers that hold at least one, with how many.
        outstanding: proposals asked for and not answered.
        asked_at: when each of them was asked for.
        next_trial: number of the next proposal.
        exhausted: the controller had no candidate since the last tell.
        counted: finished trials of the budget.
        unreused: live trials that will count.
        gpu_s: GPU seconds of every attempt.
        running_s: seconds in state running or draining before ``running_since``.
        running_since: when it began to run, None while it does not.
        failed_in_a_row: failed trials since the last completed one.
        ask_s: moving average of the seconds from asking to a durable candidate.
        trial_s: moving average of the seconds of a trial.
        virtual_s: its pass of the stride scheduling.
        dormant: it wanted nothing lately: it may not bank credit.
        stale_reports: reports that were dropped.
        gang: state of its gang: ``""``, ``"waiting"``, ``"running"`` or ``"done"``.
    """

    search_id: str
    order: int
    config: SearchConfig
    state: SearchState = SearchState.QUEUED
    reason: str = ""
    ending: SearchState | None = None
    controller: Door = Door.CLOSED
    trials: dict[int, Trial] = field(default_factory=dict)
    ready: list[tuple[bool, int]] = field(default_factory=list)
    proposed: int = 0
    queued: int = 0
    assigned: int = 0
    holders: dict[str, int] = field(default_factory=dict)
    outstanding: int = 0
    asked_at: deque[float] = field(default_factory=deque)
    next_trial: int = 0
    exhausted: bool = False
    counted: int = 0
    unreused: int = 0
    gpu_s: float = 0.0
    running_s: float = 0.0
    running_since: float | None = None
    failed_in_a_row: int = 0
    ask_s: float | None = None
    trial_s: float | None = None
    virtual_s: float = 0.0
    dormant: bool = True
    stale_reports: int = 0
    gang: str = ""

    @property
    def shape(self) -> Shape:
        """Shape of the workers that can run its trials."""
        return (self.config.cpus, self.config.gpus)

    @property
    def dispatchable(self) -> bool:
        """Whether its queued trials may be given to workers."""
        return self.state == SearchState.RUNNING and self.gang in ("", "done")

    @property
    def coming(self) -> int:
        """Candidates in the queue or on their way to it."""
        return self.outstanding + self.proposed + self.queued

    def headroom(self) -> float:
        """Further proposals that the trial budget allows; infinite without one."""
        if self.config.trials is None:
            return math.inf
        return self.config.trials - self.counted - self.unreused - self.outstanding

    def elapsed_s(self, now_s: float) -> float:
        """Seconds in state running, up to now."""
        return self.running_s + (now_s - self.running_since if self.running_since is not None else 0.0)

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


class WorkerState(StrEnum):
    """Life of a worker."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"


@dataclass(slots=True)
class Worker:
    """A worker process.

    Attributes:
        worker_id: its id.
        node_id: where it runs.
        shape: its CPUs and GPUs, for life.
        state: where it stands.
        trials: (search, trial number) in the order of execution.
        gpu: GPUs of its node that it holds, with the share of each.
        seen_s: when it was last heard.
        killed_as: why it was killed: the failure of the attempt that it was running.
    """

    worker_id: str
    node_id: str
    shape: Shape
    state: WorkerState = WorkerState.STARTING
    trials: deque[tuple[str, int]] = field(default_factory=deque)
    gpu: tuple[tuple[int, float], ...] = ()
    seen_s: float = 0.0
    killed_as: FailureKind | None = None


@dataclass(slots=True)
class Node:
    """A machine of the cluster.

    Attributes:
        node_id: its id.
        cpus: CPUs that it offers.
        gpus: GPUs that it offers.
        free_cpus: CPUs that no worker or gang holds.
        free_gpu: free share of each GPU.
        workers: ids of its workers.
        draining: none start here.
        claimed_by: a gang or a worker shape for which its workers drain; others do not start here.
        start_failures: workers that died while starting since the last success.
        rest_until_s: no worker starts before.
    """

    node_id: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpu: list[float]
    workers: set[str] = field(default_factory=set)
    draining: bool = False
    claimed_by: str | Shape | None = None
    start_failures: int = 0
    rest_until_s: float = -math.inf

    @classmethod
    def of(cls, node_id: str, cpus: float, gpus: float) -> Node:
        """An empty node."""
        whole = int(gpus + EPSILON)
        shares = [1.0] * whole + ([gpus - whole] if gpus - whole > EPSILON else [])
        return cls(node_id, cpus, gpus, cpus, shares)

    def fits(self, shape: Shape) -> bool:
        """Whether a worker of this shape fits beside what is held."""
        return self.free_cpus + EPSILON >= shape[0] and self._gpus_for(shape[1]) is not None

    def could_hold(self, shape: Shape) -> bool:
        """Whether a worker of this shape would fit if the node were empty."""
        return self.cpus + EPSILON >= shape[0] and self.gpus + EPSILON >= shape[1]

    def take(self, shape: Shape) -> tuple[tuple[int, float], ...]:
        """Hold the resources of a worker that fits; returns its share of each GPU."""
        chosen = self._gpus_for(shape[1])
        assert chosen is not None, f"{shape} does not fit on {self}"
        self.free_cpus -= shape[0]
        for index, share in chosen:
            self.free_gpu[index] -= share
        return chosen

    def release(self, shape: Shape, gpu: tuple[tuple[int, float], ...]) -> None:
        """Give back what ``take`` held."""
        self.free_cpus += shape[0]
        for index, share in gpu:
            self.free_gpu[index] += share

    def after(self, gone: Iterable[Worker]) -> Node:
        """A copy of the node without some of its workers."""
        copy = replace(self, free_gpu=list(self.free_gpu), workers=set(self.workers))
        for worker in gone:
            copy.release(worker.shape, worker.gpu)
            copy.workers.discard(worker.worker_id)
        return copy

    def places(self, shape: Shape, limit: int) -> int:
        """How many workers of this shape fit at once, at most ``limit``."""
        copy = self.after(())
        found = 0
        while found < limit and copy.fits(shape):
            copy.take(shape)
            found += 1
        return found

    def _gpus_for(self, gpus: float) -> tuple[tuple[int, float], ...] | None:
        """Whole GPUs, or the fullest one on which a fraction still fits; None when there is no place."""
        if gpus <= EPSILON:
            return ()
        if gpus < 1 - EPSILON:
            places = [(free, i) for i, free in enumerate(self.free_gpu) if free + EPSILON >= gpus]
            return ((min(places)[1], gpus),) if places else None
        whole = [i for i, free in enumerate(self.free_gpu) if free >= 1 - EPSILON]
        count = round(gpus)
        return tuple((i, 1.0) for i in whole[:count]) if len(whole) >= count else None
