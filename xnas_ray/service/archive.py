"""What the store alone tells about searches, with or without a service: where they stand, and their best trials."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.messages import SearchState, TrialStatus
from xnas_ray.pareto import non_dominated
from xnas_ray.service.ranking import comparable, signed_objectives
from xnas_ray.service.reports import WEIGHTS_FILE
from xnas_ray.store.fence import current_writer
from xnas_ray.store.layout import Layout
from xnas_ray.store.parts import read_table
from xnas_ray.store.reader import last_of, load_explanations, search_rows
from xnas_ray.store.replay import replay, search_state
from xnas_ray.store.schema import METRIC_PREFIX

if TYPE_CHECKING:
    import pandas as pd

RECENT = 10
"""Ended trials that a status shows."""


def stored_state(root: Path | str, search_id: str) -> SearchState:
    """The last state of a search.

    Raises:
        SearchNotFoundError: no such search.
    """
    return search_state(_rows(root, search_id)[-1]["state"])


def transitions(root: Path | str, search_id: str) -> list[dict[str, Any]]:
    """Every transition of a search in order: ``at``, ``state``, ``reason``, ``epoch``."""
    return [{name: row[name] for name in ("at", "state", "reason", "epoch")} for row in _rows(root, search_id)]


def stored_card(root: Path | str, search_id: str) -> dict[str, Any]:
    """The card of a search as it was submitted or last extended (see ``resolve.Search.card``)."""
    return _card(search_id, _rows(root, search_id))


def _card(search_id: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    text = last_of(rows, "spec")
    if text is None:
        raise StoreError(f"search {search_id} was stored without a specification.", field="search_id")
    return json.loads(text)


def stored_status(root: Path | str, search_id: str) -> dict[str, Any]:
    """Where a search stands.

    Keys: search_id, name, submitted_by, state, reason, task, controller, priority, counts (asked, queued, running,
    completed, failed, cancelled, reused), budget (trials, gpu_hours, wall_clock), running_s, gpu_s, workers, best
    (trial, value, objective, architecture, metrics; or None), running (what the service alone knows: empty), recent
    (the last ten trials: trial, status, metrics, architecture, duration_s), stale_reports, executions.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    rows = _rows(root, search_id)
    card = _card(search_id, rows)
    spec = card["spec"]
    history = replay(root, search_id, curves=False)
    trials = trial_records(root, search_id)
    winner = next(iter(_ranked(Layout(root), card, trials, 1)), None)
    ended = {status: sum(t["status"] == status for t in trials) for status in TrialStatus}
    return {
        "search_id": search_id,
        "name": last_of(rows, "name") or "",
        "submitted_by": card.get("submitted_by"),
        "state": str(history.state),
        "reason": history.reason,
        "task": card["task"],
        "controller": spec["controller"]["name"],
        "priority": spec["priority"],
        "counts": {
            "asked": history.next_trial,
            "queued": 0 if history.state.ended else len(history.pending),
            "running": 0,
            **{str(status): count for status, count in ended.items()},
            "reused": sum(t["reused_from"] is not None for t in trials),
        },
        "budget": {name: spec["budget"].get(name) for name in ("trials", "gpu_hours", "wall_clock")},
        "running_s": history.running_s,
        "gpu_s": history.gpu_s,
        "workers": 0,
        "best": _best(card, winner),
        "running": [],
        "recent": [
            {name: t[name] for name in ("trial", "status", "metrics", "architecture", "duration_s")}
            for t in trials[-RECENT:]
        ],
        "stale_reports": 0,
        "executions": sum(t["attempts"] for t in trials),
    }


def stored_summary(root: Path | str, search_id: str) -> dict[str, Any]:
    """What ``Book.summary`` says of an ended search, for one that has not ended: counted from its trials."""
    card, trials = stored_card(root, search_id), trial_records(root, search_id)
    return {
        **{str(status): sum(t["status"] == status for t in trials) for status in TrialStatus},
        "reused": sum(t["reused_from"] is not None for t in trials),
        "budget_trials": card["spec"]["budget"]["trials"],
        "best": _best(card, next(iter(_ranked(Layout(root), card, trials, 1)), None)),
    }


def _best(card: Mapping[str, Any], winner: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if winner is None:
        return None
    objective = card["objectives"][0]["name"]
    facts = {name: winner[name] for name in ("trial", "architecture", "metrics")}
    return {**facts, "value": winner["objectives"][objective], "objective": objective}


def trial_records(root: Path | str, search_id: str) -> list[dict[str, Any]]:
    """Finished trials in the order of their tells: their rows, with ``metrics`` by name instead of columns."""
    records = read_table(Layout(root), "trials", [search_id]).to_pylist()
    for record in records:
        columns = [name for name in record if name.startswith(METRIC_PREFIX)]
        values = {name.removeprefix(METRIC_PREFIX): record.pop(name) for name in columns}
        record["metrics"] = {name: value for name, value in values.items() if value is not None}
    return records


def trial_record(root: Path | str, search_id: str, trial: int) -> dict[str, Any]:
    """The row of a finished trial, as ``trial_records`` has it.

    Raises:
        StoreError: the search has no such finished trial; lists those that it has.
    """
    records = {record["trial"]: record for record in trial_records(root, search_id)}
    if trial not in records:
        raise StoreError(
            f"search {search_id} has no finished trial {trial}.", field="trial", got=trial, valid=sorted(records)
        )
    return records[trial]


def best_trials(root: Path | str, search_id: str, count: int | None = None) -> list[dict[str, Any]]:
    """Completed trials that satisfy the constraints, best first by the first objective; ties in order of the tells.

    Args:
        root: folder of the store.
        search_id: whole id.
        count: at most so many, None for all.

    Returns:
        Mappings of ``trial``, ``architecture``, ``genotype``, ``metrics``, ``objectives`` (of these the optimised
        ones), ``front`` (not dominated by another one), ``duration_s`` and ``weights`` (whether they were kept).
    """
    return _ranked(Layout(root), stored_card(root, search_id), trial_records(root, search_id), count)


def _ranked(
    layout: Layout, card: Mapping[str, Any], records: list[dict[str, Any]], count: int | None
) -> list[dict[str, Any]]:
    objectives = card["objectives"]
    found = [t for t in records if t["status"] == TrialStatus.COMPLETED and comparable(t["metrics"], card)]
    signed = [signed_objectives(t["metrics"], objectives) for t in found]
    order = sorted(range(len(found)), key=lambda i: -signed[i][0])
    front = non_dominated(signed)
    return [
        {
            "trial": int(found[i]["trial"]),
            "architecture": found[i]["architecture"],
            "genotype": list(found[i]["genotype"]),
            "metrics": found[i]["metrics"],
            "objectives": {o["name"]: found[i]["metrics"][o["name"]] for o in objectives},
            "front": i in front,
            "duration_s": float(found[i]["duration_s"]),
            "weights": weights_of(layout, found[i]) is not None,
        }
        for i in order[:count]
    ]


def weights_of(layout: Layout, record: Mapping[str, Any]) -> Path | None:
    """The weights of a finished trial; None if they were not kept."""
    if not record["artifacts"]:
        return None
    path = layout.inside(record["artifacts"]) / WEIGHTS_FILE
    return path if path.is_file() else None


def living_writer(root: Path | str) -> str:
    """Who works on the store now, ``""`` if nobody does."""
    writer = current_writer(Layout(root))
    if writer is None or not writer.holds(time.time()):
        return ""
    return f"process {writer.process.pid} on {writer.process.host}" if writer.process else "a process"


def _rows(root: Path | str, search_id: str) -> list[dict[str, Any]]:
    rows = search_rows(Layout(root), only=search_id).get(search_id)
    if rows is None:
        raise SearchNotFoundError(f"there is no search {search_id!r} in {root}.", field="search_id")
    return rows


def stored_explanations(root: Path, search_id: str, kind: str) -> pd.DataFrame | None:
    """The newest table of a kind, None if there is none."""
    if kind not in Layout(root).explanation_kinds():
        return None
    table = load_explanations(root, kind, search_id)
    return table if len(table) else None
