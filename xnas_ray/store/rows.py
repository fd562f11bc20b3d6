"""What is appended to the store: one frozen dataclass a table, and how to make them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from xnas_ray.messages import Attempt, Candidate, Outcome
from xnas_ray.randomness import canonical_json

Position = tuple[int, int]
"""(epoch of the writer, number within it): the order of rows."""

NEVER_TOLD: Position = (-1, -1)
"""``told_through`` of a proposal that was made before any tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One finished trial. Times are UNIX seconds (kept to the microsecond), mappings are JSON text.

    Attributes:
        search_id: its search.
        trial: its number in the search.
        epoch: of the writer.
        seq: position within the epoch.
        status: completed, failed or cancelled.
        attempts: attempts that were dispatched.
        task: name of the task.
        task_hash: of the task's code.
        space: name of the space.
        key: isomorphism class of the architecture.
        genotype: one option index per choice.
        architecture: the genotype as the field writes it.
        recipe: with which it was trained, the search's and the candidate's settings together.
        fidelity: epochs trained.
        schedule_epochs: epochs of the learning-rate schedule.
        replicate: which repetition of the same training.
        train_seed: seed of the training.
        asked_at: when it was proposed.
        finished_at: when its outcome arrived.
        duration_s: seconds of worker time of the last attempt.
        metrics: finite values by name; each becomes a column ``metric_<name>``.
        attempt: (writer epoch, number) of the attempt that decided, None if none was dispatched.
        started_at: when that attempt started.
        reused_from: ``<search>/<n>`` whose result was taken instead of training.
        origin: where the candidate came from.
        worker: who trained it.
        node: where.
        environment: versions, device and threads.
        failure_kind: why it failed, None unless it did.
        failure_type: class of the exception.
        failure_message: its text.
        failure_log: the last log lines.
        artifacts: folder of its files, relative to the store.
    """

    search_id: str
    trial: int
    epoch: int
    seq: int
    status: str
    attempts: int
    task: str
    task_hash: str
    space: str
    key: str
    genotype: Sequence[int]
    architecture: str
    recipe: str
    fidelity: int
    schedule_epochs: int
    replicate: int
    train_seed: int
    asked_at: float
    finished_at: float
    duration_s: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    attempt: Attempt | None = None
    started_at: float | None = None
    reused_from: str | None = None
    origin: str = "{}"
    worker: str | None = None
    node: str | None = None
    environment: str = "{}"
    failure_kind: str | None = None
    failure_type: str | None = None
    failure_message: str | None = None
    failure_log: str | None = None
    artifacts: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """A transition of a trial that is not terminal.

    Attributes:
        search_id: its search.
        trial: its number.
        epoch: of the writer.
        seq: position within the epoch; trials and log count together.
        state: ``asked``, ``running``, ``retrying``, ``requeued`` …
        at: when, UNIX seconds.
        attempt: (writer epoch, number) of the attempt, None for ``asked``.
        duration_s: seconds of worker time that an ended attempt took.
        told_through: of an ``asked`` row: position of the last tell that the controller had seen.
        candidate: of an ``asked`` row: the candidate as JSON text.
        detail: of a ``retrying`` row: the kind of the failure, then anything after a colon or a space.
    """

    search_id: str
    trial: int
    epoch: int
    seq: int
    state: str
    at: float
    attempt: Attempt | None = None
    duration_s: float | None = None
    told_through: Position | None = None
    candidate: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """A transition of a search.

    Attributes:
        search_id: which search.
        epoch: of the writer.
        seq: position within the epoch.
        at: when, UNIX seconds.
        state: the new state.
        reason: why.
        name: of the search; like the next four, a row without it leaves it as it was.
        task: name of the task.
        controller: name of the controller.
        spec: the resolved specification as JSON text.
        summary: what there is to say about the search as a JSON object.
        idempotency_key: of the submission.
        submitted_by: user as whom it was submitted.
    """

    search_id: str
    epoch: int
    seq: int
    at: float
    state: str
    reason: str = ""
    name: str | None = None
    task: str | None = None
    controller: str | None = None
    spec: str | None = None
    summary: str | None = None
    idempotency_key: str | None = None
    submitted_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One value of a learning curve.

    Attributes:
        search_id: its search.
        trial: number of the trial.
        attempt: (writer epoch, number) of the attempt.
        epoch: of the training.
        metric: what was measured.
        value: as measured; may be NaN or infinite.
    """

    search_id: str
    trial: int
    attempt: Attempt
    epoch: int
    metric: str
    value: float


Row = TrialRow | LogRow | SearchRow | CurveRow

# --------------------------------------------------------------------------------------------------------------------
# Making rows
# --------------------------------------------------------------------------------------------------------------------

_CANDIDATE = tuple(entry.name for entry in fields(Candidate))


def candidate_text(candidate: Candidate) -> str:
    """A candidate as the ``asked`` row keeps it."""
    return _exact_text({name: getattr(candidate, name) for name in _CANDIDATE})


def _exact_text(value: Mapping[str, Any]) -> str:
    """JSON that gives the same values back, 1.0 as a float (unlike the canonical text, made to be compared)."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def candidate_from_text(text: str) -> Candidate:
    """The candidate of ``candidate_text``."""
    return Candidate(**json.loads(text))


def asked_row(
    candidate: Candidate, *, search_id: str, epoch: int, seq: int, at: float, told_through: Position = NEVER_TOLD
) -> LogRow:
    """The row that must be durable before the candidate may be dispatched."""
    return LogRow(
        search_id=search_id,
        trial=candidate.ask_number,
        epoch=epoch,
        seq=seq,
        state="asked",
        at=at,
        told_through=told_through,
        candidate=candidate_text(candidate),
    )


def trial_row(outcome: Outcome, **columns: Any) -> TrialRow:
    """The terminal row of an outcome.

    Args:
        outcome: gives trial, status, genotype, fidelity, origin, metrics, duration and failure.
        **columns: the other fields of ``TrialRow``; those that the outcome gives too are replaced.
    """
    candidate, failure = outcome.candidate, outcome.failure
    given: dict[str, Any] = {
        "trial": outcome.trial,
        "status": outcome.status,
        "genotype": candidate.genotype,
        "recipe": canonical_json(candidate.recipe),
        "fidelity": candidate.fidelity,
        "schedule_epochs": candidate.schedule_epochs,
        "replicate": candidate.replicate,
        "origin": _exact_text(candidate.origin),
        "metrics": outcome.metrics,
        "duration_s": outcome.cost_s,
    }
    if failure is not None:
        given |= {f"failure_{name}": getattr(failure, name) for name in ("kind", "type", "message", "log")}
    return TrialRow(**(given | columns))


def curve_rows(search_id: str, trial: int, attempt: Attempt, curve: Iterable[Mapping[str, float]]) -> list[CurveRow]:
    """The rows of a learning curve, given as ``Outcome.curve`` has it: one mapping an epoch, ``"epoch"`` in each."""
    return [
        CurveRow(search_id=search_id, trial=trial, attempt=attempt, epoch=int(point["epoch"]), metric=name, value=value)
        for point in curve
        for name, value in point.items()
        if name != "epoch"
    ]
