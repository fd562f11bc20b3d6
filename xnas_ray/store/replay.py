"""What a service needs to go on with a search that another one started: everything follows from its rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xnas_ray.errors import SearchNotFoundError
from xnas_ray.messages import (
    Candidate,
    Failure,
    FailureKind,
    Outcome,
    PendingTrial,
    SearchProgress,
    SearchState,
    TrialStatus,
)
from xnas_ray.store.layout import Layout
from xnas_ray.store.parts import read_table
from xnas_ray.store.reader import last_of, search_rows
from xnas_ray.store.rows import Position, candidate_from_text
from xnas_ray.store.schema import METRIC_PREFIX

Curve = tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A proposal as it was recorded.

    Attributes:
        candidate: what was proposed.
        position: of its row.
        told_through: position of the last tell that the controller had seen; (-1, -1) if none.
        detail: of its row.
        at: when it was asked, UNIX seconds.
    """

    candidate: Candidate
    position: Position
    told_through: Position
    detail: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class SearchReplay:
    """Where a search stands.

    Attributes:
        search_id: which search.
        spec: its resolved specification.
        state: the last one.
        reason: of the last transition.
        next_trial: one more than the highest trial number.
        asked: every proposal, in the order of the rows.
        outcomes: every finished trial, in the order of the tells.
        positions: of the outcomes' rows, one each.
        pending: trials that were asked and have not ended, by number.
        counted: outcomes that count towards ``budget.trials`` (completed or failed, not reused).
        gpu_s: GPU seconds of all attempts whose end is known.
        running_s: seconds in state running, without the time between two services.
    """

    search_id: str
    spec: Mapping[str, Any]
    state: SearchState
    reason: str
    next_trial: int
    asked: tuple[Asked, ...]
    outcomes: tuple[Outcome, ...]
    positions: tuple[Position, ...]
    pending: tuple[PendingTrial, ...]
    counted: int
    gpu_s: float
    running_s: float

    def progress(self) -> SearchProgress:
        """What the scheduler needs to know of it."""
        return SearchProgress(
            state=self.state,
            next_trial=self.next_trial,
            counted=self.counted,
            gpu_s=self.gpu_s,
            running_s=self.running_s,
            pending=self.pending,
            reason=self.reason,
        )


def unfinished_searches(root: Path | str) -> list[str]:
    """Searches that have not ended, in the order of submission.

    Raises:
        StoreError: a part is damaged.
    """
    found = search_rows(Layout(root), ["search_id", "state"])
    return [search_id for search_id, rows in found.items() if not search_state(rows[-1]["state"]).ended]


def replay(root: Path | str, search_id: str, *, curves: bool = True) -> SearchReplay:
    """Read a search back.

    Args:
        root: folder of the store.
        search_id: the whole id.
        curves: whether outcomes get their learning curves.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    layout = Layout(root)
    searches = search_rows(layout, only=search_id).get(search_id)
    if searches is None:
        raise SearchNotFoundError(f"there is no search {search_id!r} in {layout.root}.", field="search_id")
    log = read_table(layout, "log", [search_id])
    trials = read_table(layout, "trials", [search_id])
    asked = _asked(log)
    candidates = {one.candidate.ask_number: one.candidate for one in asked}
    outcomes = _outcomes(trials, candidates, _curves(layout, search_id, trials) if curves else {})
    ended = {outcome.trial for outcome in outcomes}
    spec = json.loads(last_of(searches, "spec") or "{}")
    return SearchReplay(
        search_id=search_id,
        spec=spec,
        state=search_state(searches[-1]["state"]),
        reason=searches[-1]["reason"],
        next_trial=1 + max([*candidates, *ended], default=-1),
        asked=asked,
        outcomes=outcomes,
        positions=tuple(_positions(trials)),
        pending=_pending(log, sorted(candidates.keys() - ended)),
        counted=_counted(trials),
        gpu_s=_busy_s(trials, log) * _gpus(spec),
        running_s=_running_s(searches, trials, log),
    )


def _gpus(spec: Mapping[str, Any]) -> float:
    """GPUs of a worker; the specification stands alone, or in a card under ``"spec"``."""
    resources = (spec.get("spec") or spec).get("resources") or {}
    return float(resources.get("gpus") or 0)


def search_state(text: str) -> SearchState:
    """The state of a search's row: one that was only submitted waits in the queue."""
    return SearchState.QUEUED if text == "submitted" else SearchState(text)


def _columns(table: pa.Table, *names: str) -> Iterable[tuple[Any, ...]]:
    """Rows of these columns as tuples."""
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


def _positions(table: pa.Table) -> Iterable[Position]:
    return zip(table.column("epoch").to_pylist(), table.column("seq").to_pylist(), strict=True)


def _asked(log: pa.Table) -> tuple[Asked, ...]:
    """Proposals in order; the first row of a trial counts."""
    rows = log.filter(pc.equal(log.column("state"), "asked"))
    found: dict[int, Asked] = {}
    told = _columns(rows, "told_epoch", "told_through")
    texts = _columns(rows, "candidate", "detail", "at")
    for (text, detail, at), position, (epoch, seq) in zip(texts, _positions(rows), told, strict=True):
        candidate = candidate_from_text(text)
        through = (-1, -1) if seq is None else (epoch, seq)
        asked = Asked(candidate, position, through, detail, at.timestamp())
        found.setdefault(candidate.ask_number, asked)
    return tuple(found.values())


# --------------------------------------------------------------------------------------------------------------------
# Outcomes
# --------------------------------------------------------------------------------------------------------------------


def _outcomes(
    trials: pa.Table, candidates: Mapping[int, Candidate], curves: Mapping[int, Curve]
) -> tuple[Outcome, ...]:
    """Terminal rows as the controller was told them."""
    names = [name for name in trials.column_names if name.startswith(METRIC_PREFIX)]
    metrics = _metrics(trials, names)
    failures = _columns(trials, "failure_kind", "failure_type", "failure_message", "failure_log")
    heads = _columns(trials, "trial", "status", "duration_s")
    found = []
    for index, ((trial, status, duration_s), failure) in enumerate(zip(heads, failures, strict=True)):
        candidate = candidates.get(trial)
        found.append(
            Outcome(
                trial=trial,
                candidate=candidate if candidate is not None else _candidate_of(trials, index),
                status=TrialStatus(status),
                metrics=metrics[index],
                curve=curves.get(trial, ()),
                cost_s=duration_s,
                failure=None if failure[0] is None else _failure(*failure),
            )
        )
    return tuple(found)


def _metrics(trials: pa.Table, names: Sequence[str]) -> list[dict[str, float]]:
    found: list[dict[str, float]] = [{} for _ in range(trials.num_rows)]
    for name in names:
        short = name.removeprefix(METRIC_PREFIX)
        for metrics, value in zip(found, trials.column(name).to_pylist(), strict=True):
            if value is not None:
                metrics[short] = value
    return found


def _failure(kind: str, name: str | None, message: str | None, log: str | None) -> Failure:
    return Failure(FailureKind(kind), name or "", message or "", log or "")


def _candidate_of(trials: pa.Table, index: int) -> Candidate:
    """The candidate of a trial without an ``asked`` row, as far as the terminal row has it."""
    row = trials.slice(index, 1).to_pylist()[0]
    return Candidate(
        ask_number=row["trial"],
        genotype=tuple(row["genotype"]),
        recipe=json.loads(row["recipe"]),
        fidelity=row["fidelity"],
        schedule_epochs=row["schedule_epochs"],
        replicate=row["replicate"],
        origin=json.loads(row["origin"]),
    )


def _curves(layout: Layout, search_id: str, trials: pa.Table) -> dict[int, Curve]:
    """Curve of each trial: a value of each epoch and metric, from the last attempt up to the one that decided."""
    deciding = dict(zip(trials.column("trial").to_pylist(), _columns(trials, "attempt_epoch", "attempt"), strict=True))
    rows = read_table(layout, "curves", [search_id])
    values: dict[int, dict[int, dict[str, float]]] = {}
    names = ("trial", "attempt_epoch", "attempt", "epoch", "metric", "value")
    for trial, attempt_epoch, attempt, epoch, metric, value in _columns(rows, *names):  # sorted by attempt
        last = deciding.get(trial, (None, None))
        if last[0] is not None and (attempt_epoch, attempt) <= last:
            values.setdefault(trial, {}).setdefault(epoch, {"epoch": epoch})[metric] = value
    return {trial: tuple(points[epoch] for epoch in sorted(points)) for trial, points in values.items()}


# --------------------------------------------------------------------------------------------------------------------
# Progress
# --------------------------------------------------------------------------------------------------------------------


def _pending(log: pa.Table, trials: Sequence[int]) -> tuple[PendingTrial, ...]:
    attempts, failures, infrastructure = Counter[int](), Counter[int](), Counter[int]()
    unfinished = log.filter(pc.is_in(log.column("trial"), pa.array(trials, pa.int32())))
    for trial, state, detail in _columns(unfinished, "trial", "state", "detail"):
        if state == "running":
            attempts[trial] += 1
        elif state == "retrying":
            kind = (detail.replace(":", " ").split() or [""])[0]
            if kind in (FailureKind.WORKER_DIED, FailureKind.NODE_DIED):
                infrastructure[trial] += 1
            elif kind != FailureKind.PREEMPTED:
                failures[trial] += 1
    return tuple(PendingTrial(trial, attempts[trial], failures[trial], infrastructure[trial]) for trial in trials)


def _counted(trials: pa.Table) -> int:
    rows = _columns(trials, "status", "reused_from")
    return sum(status != TrialStatus.CANCELLED and reused is None for status, reused in rows)


def _busy_s(trials: pa.Table, log: pa.Table) -> float:
    """Worker seconds of every attempt that ended, whatever came of it."""
    trained = sum(duration_s for duration_s, reused in _columns(trials, "duration_s", "reused_from") if reused is None)
    return float(trained + sum(filter(None, log.column("duration_s").to_pylist())))


def _running_s(searches: Sequence[Mapping[str, Any]], trials: pa.Table, log: pa.Table) -> float:
    """Seconds in state running: within each service from its first sign of the search to its last one."""
    spans: dict[int, list[float]] = {}
    transitions: dict[int, list[tuple[float, str]]] = {}
    for row in searches:
        at_s = row["at"].timestamp()
        transitions.setdefault(row["epoch"], []).append((at_s, row["state"]))
        spans.setdefault(row["epoch"], []).append(at_s)
    for table, column in ((trials, "finished_at"), (log, "at")):
        extremes = table.group_by("epoch").aggregate([(column, "min"), (column, "max")])
        for epoch, first, last in _columns(extremes, "epoch", f"{column}_min", f"{column}_max"):
            spans.setdefault(epoch, []).extend((first.timestamp(), last.timestamp()))
    total_s, state = 0.0, ""
    for epoch in sorted(spans):
        since_s = min(spans[epoch])
        for at_s, following in [*transitions.get(epoch, []), (max(spans[epoch]), "")]:
            total_s += max(0.0, at_s - since_s) if state == SearchState.RUNNING else 0.0
            since_s, state = at_s, following or state
    return total_s
