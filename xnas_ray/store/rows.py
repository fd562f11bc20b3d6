"""What is appended to the store: a frozen dataclass a table, checked when appended, turned into Arrow by column."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from xnas_ray.errors import StoreError
from xnas_ray.messages import Attempt, Candidate, Outcome, TrialStatus
from xnas_ray.randomness import canonical_json
from xnas_ray.store import schema
from xnas_ray.store.layout import check_search_id

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

_TABLES: dict[type, schema.Table] = {
    TrialRow: schema.TRIALS,
    LogRow: schema.LOG,
    SearchRow: schema.SEARCHES,
    CurveRow: schema.CURVES,
}


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


# --------------------------------------------------------------------------------------------------------------------
# Checking rows
# --------------------------------------------------------------------------------------------------------------------

_STATUSES = tuple(str(status) for status in TrialStatus)
_LATEST_S = 253402300799  # the last second of the year 9999, the last that datetime knows


def table_of_row(row: Row) -> str:
    """Name of the table that a row belongs to."""
    return _TABLES[type(row)].name


def check_row(row: Row) -> None:
    """Refuse what could not be written, while the caller still knows where it came from.

    Raises:
        StoreError: naming the field: no row, a null or a value that does not fit its column, a metric that is not
            finite or whose name cannot be a column, a malformed search id.
    """
    checks = _CHECKS.get(type(row))
    if checks is None:
        raise StoreError(f"{type(row).__name__} is not a row.", valid=[kind.__name__ for kind in _TABLES])
    check_search_id(row.search_id)
    for name, fits in checks:
        value = getattr(row, name)
        try:
            fine = fits(value)
        except (TypeError, ValueError, OverflowError):
            fine = False
        if not fine:
            raise StoreError(f"{value!r} does not fit into this column.", field=f"{type(row).__name__}.{name}")
    if type(row) is TrialRow:
        schema.check_metric_names(tuple(row.metrics))
        if row.status not in _STATUSES:
            raise StoreError("no such status.", field="TrialRow.status", got=row.status, valid=_STATUSES)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_int32(value: Any) -> bool:
    return -(2**31) <= operator.index(value) < 2**31


def _is_int64(value: Any) -> bool:
    return -(2**63) <= operator.index(value) < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(float(value), float)


def _is_time(value: Any) -> bool:
    return 0 <= value <= _LATEST_S


def _are_int32(value: Any) -> bool:
    return all(map(_is_int32, value))


def _is_attempt(value: Any) -> bool:
    return len(value) == 2 and _are_int32(value)


def _is_position(value: Any) -> bool:
    return len(value) == 2 and _is_int32(value[0]) and _is_int64(value[1])


def _are_metrics(value: Any) -> bool:
    return all(map(math.isfinite, value.values()))


_BY_NAME = {"attempt": _is_attempt, "told_through": _is_position, "metrics": _are_metrics, "search_id": _is_text}
_BY_TYPE = {
    pa.int32(): _is_int32,
    pa.int64(): _is_int64,
    pa.string(): _is_text,
    pa.float64(): _is_number,
    pa.timestamp("us", tz="UTC"): _is_time,
    pa.list_(pa.int32()): _are_int32,
}


def _or_none(fits: Any) -> Any:
    return lambda value: value is None or fits(value)


def _checks_of(kind: type, table: schema.Table) -> list[tuple[str, Any]]:
    """What each field of a row must satisfy, read off the schema."""
    checks = []
    for entry in fields(kind):
        fits = _BY_NAME.get(entry.name) or _BY_TYPE[table.schema.field(entry.name).type]
        optional = entry.default is None
        checks.append((entry.name, _or_none(fits) if optional else fits))
    return checks


_CHECKS = {kind: _checks_of(kind, table) for kind, table in _TABLES.items()}


# --------------------------------------------------------------------------------------------------------------------
# Rows to columns
# --------------------------------------------------------------------------------------------------------------------

_PAIRS = {"attempt": ("attempt_epoch", "attempt"), "told_through": ("told_epoch", "told_through")}
_NO_PAIR = (None, None)


def to_arrow(rows: Sequence[Row]) -> pa.Table:
    """Rows of one table as columns; rows of a partitioned table must be of one search (its id is not a column)."""
    table = _TABLES[type(rows[0])]
    names = [entry.name for entry in fields(type(rows[0])) if entry.name != "metrics"]
    columns = dict(zip(names, zip(*map(operator.attrgetter(*names), rows), strict=True), strict=True))
    for name, pair in _PAIRS.items():
        if name in columns:
            halves = zip(*(value or _NO_PAIR for value in columns[name]), strict=True)
            columns |= zip(pair, halves, strict=True)
    metrics = _metric_names(rows) if table is schema.TRIALS else ()
    for name in metrics:
        columns[schema.METRIC_PREFIX + name] = tuple(row.metrics.get(name) for row in rows)  # type: ignore[union-attr]
    file_schema = schema.file_schema(table.name, metrics)
    arrays = [_array(columns[entry.name], entry.type) for entry in file_schema]
    return pa.Table.from_arrays(arrays, schema=file_schema)


def _metric_names(rows: Sequence[Any]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys(row.metrics)
    return tuple(sorted(names))


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        values = tuple(None if v is None else round(v * 1e6) for v in values)
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # lone surrogates: what a program printed was not UTF-8
        return pa.array([v and v.encode("utf-8", "backslashreplace").decode() for v in values], kind)
