"""What the scheduler shows of itself: frozen, for status displays and tests."""

from __future__ import annotations

from dataclasses import dataclass

from xnas_ray.messages import SearchState
from xnas_ray.scheduler.nodes import Shape, WorkerState


@dataclass(frozen=True, slots=True)
class SearchView:
    """A search as it stands.

    Attributes:
        search_id: its id.
        state: queued, running, paused …
        reason: why.
        priority: weight of its fair share.
        queued: trials that wait for a worker.
        waiting: trials that wait for a new attempt.
        running: trials that workers hold.
        outstanding: proposals asked for and not answered.
        counted: finished trials of the budget.
        next_trial: how many were proposed.
        running_s: seconds in state running.
        gpu_s: GPU seconds of every attempt.
        workers: workers that hold a trial of it.
        virtual_s: its pass of the stride scheduling.
        ask_s: recent seconds from asking to a durable candidate, None before the first.
        trial_s: recent seconds of a trial, None before the first.
        stale_reports: reports that were dropped: late, duplicate, of an older attempt.
        note: what keeps it from running, for people.
    """

    search_id: str
    state: SearchState
    reason: str
    priority: float
    queued: int
    waiting: int
    running: int
    outstanding: int
    counted: int
    next_trial: int
    running_s: float
    gpu_s: float
    workers: int
    virtual_s: float
    ask_s: float | None
    trial_s: float | None
    stale_reports: int
    note: str


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as it stands; ``trials`` are (search, trial) in the order of execution."""

    worker_id: str
    node_id: str
    shape: Shape
    state: WorkerState
    trials: tuple[tuple[str, int], ...]
