"""What workers say to the head: progress of an epoch, and the end of an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xnas_ray.messages import Attempt, Candidate, Failure, TrialStatus

WEIGHTS_FILE = "weights.pt"
"""In an attempt's folder: the network's state dictionary."""

HEAD_SILENCE_S = 600.0
"""A worker that has not reached a head for so long gives up."""

RETRY_S = 0.5
"""Between two tries of a worker to reach the head."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial as a worker receives it.

    Attributes:
        search_id: its search; the worker opens the search's card once.
        trial: its number.
        attempt: which attempt.
        candidate: what to evaluate.
        train_seed: of every random number of the training.
        artifacts: folder of this attempt, relative to the store.
        keep_weights: whether to write the weights when it completes.
        better_than: write them only when the first objective is better than this.
        keep_activations: whether to write class-mean activations when it completes.
        front: objectives of the search's front, larger is better; what it dominates now it will always dominate, so a
            search that keeps files for its front writes none of such a trial.
    """

    search_id: str
    trial: int
    attempt: Attempt
    candidate: Candidate
    train_seed: int
    artifacts: str
    keep_weights: bool = False
    better_than: float | None = None
    keep_activations: bool = False
    front: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch of a running attempt."""

    search_id: str
    trial: int
    attempt: Attempt
    record: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How an attempt ended.

    Attributes:
        search_id: its search.
        trial: its number.
        attempt: which attempt.
        status: completed, failed, or cancelled when it was stopped on request.
        duration_s: seconds from taking the trial to its end.
        metrics: finite values by name.
        curve: one mapping an epoch.
        tables: explanation tables of the objectives, by kind: columns to values.
        failure: set unless completed.
        environment: JSON text: host, device, versions.
        weights: whether weights lie in the attempt's folder.
        activations: whether class-mean activations do.
        recycle: the worker asks to be replaced.
    """

    search_id: str
    trial: int
    attempt: Attempt
    status: TrialStatus
    duration_s: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Mapping[str, float], ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    environment: str = "{}"
    weights: bool = False
    activations: bool = False
    recycle: bool = False


Report = EpochReport | TrialResult
