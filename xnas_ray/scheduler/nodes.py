"""Machines and the workers on them: what is free, and what fits where."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from xnas_ray.messages import Attempt, FailureKind

Shape = tuple[float, float]
"""(cpus, gpus) of a worker."""

EPSILON = 1e-9


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
        deadline_s: when the attempt at the head of its line takes too long, infinite without a limit.
        alarm_s: when its deadline is looked at next, infinite if no alarm is set.
        killed: whether its end was ordered with KillWorker.
        blamed: the attempt for which it was killed, if it was killed for one; the others did nothing wrong.
        killed_as: how that attempt failed.
    """

    worker_id: str
    node_id: str
    shape: Shape
    state: WorkerState = WorkerState.STARTING
    trials: deque[tuple[str, int]] = field(default_factory=deque)
    gpu: tuple[tuple[int, float], ...] = ()
    seen_s: float = 0.0
    deadline_s: float = math.inf
    alarm_s: float = math.inf
    killed: bool = False
    blamed: tuple[str, int, Attempt] | None = None
    killed_as: FailureKind | None = None

    @property
    def stays(self) -> bool:
        """Whether it may get trials, now or when it has started."""
        return self.state in (WorkerState.STARTING, WorkerState.READY)


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
        claimed_by: a gang (its search) or a worker shape for which workers drain; others do not start here.
        claimed_places: how many workers of the claimant are to start here.
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
    claimed_places: int = 0
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
        return Node.of(self.node_id, self.cpus, self.gpus).fits(shape)

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
