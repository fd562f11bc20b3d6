"""Which worker trained what, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.messages import TrialStatus
from xnas_ray.report.material import Material

SHORT_NODE = 8


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker and the share of the time between its first start and its last end that it was busy."""

    node: str
    name: str
    trials: int
    busy: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened when, in seconds since the search was submitted.

    Attributes:
        workers: by node, then name.
        worker: of every finished trial its place in ``workers``, -1 if it was never dispatched.
        start_s: when its last attempt began, NaN if none did.
        end_s: when its outcome arrived.
        earlier: attempts that came to nothing: (trial, start, end, what happened to it); their workers are not stored.
        asked: trials that were proposed.
        running: trials that are said to be running; as much of it as is written by now.
    """

    workers: tuple[Worker, ...]
    worker: tuple[int, ...]
    start_s: np.ndarray
    end_s: np.ndarray
    earlier: tuple[tuple[int, float, float, str], ...]
    asked: int
    running: int


def timeline(material: Material) -> Timeline:
    """Of finished trials from their rows, of everything before from the log."""
    began = material.record["submitted_at"].timestamp()
    frame = material.trials
    start = np.array([_seconds(value, began) for value in frame["started_at"]], dtype=float)
    end = np.array([_seconds(value, began) for value in frame["finished_at"]], dtype=float)
    names = _places(frame["worker"], frame["node"], frame["environment"])
    order = sorted({one for one in names if one is not None})
    place = {one: i for i, one in enumerate(order)}
    index = tuple(-1 if one is None else place[one] for one in names)
    whose = np.array(index, dtype=int)
    seconds = np.nan_to_num(frame["duration_s"].to_numpy(dtype=float))
    workers = tuple(_worker(*one, whose == i, start, end, seconds) for i, one in enumerate(order))
    return Timeline(workers, index, start, end, _earlier(material, began), *_unfinished(material))


def _worker(node: str, name: str, mine: np.ndarray, start: np.ndarray, end: np.ndarray, seconds: np.ndarray) -> Worker:
    began, ended = start[mine][np.isfinite(start[mine])], end[mine]
    length = float(ended.max() - began.min()) if len(began) else 0.0
    busy = min(1.0, float(seconds[mine].sum()) / length) if length > 0 else 0.0
    return Worker(node, name, int(mine.sum()), busy)


def _places(
    workers: Sequence[object], nodes: Sequence[object], environments: Sequence[object]
) -> list[tuple[str, str] | None]:
    """Machine and worker of every trial: the host that the worker has named at any time, else Ray's id of the node."""
    rows = [(w, n, e) for w, n, e in zip(workers, nodes, environments, strict=True) if isinstance(w, str)]
    hosts = {worker: host for worker, _, environment in rows if (host := _host(environment))}
    known = [hosts.get(w) or (n[:SHORT_NODE] if isinstance(n, str) else "") for w, n, _ in rows]
    places = iter(zip(known, (worker for worker, _, _ in rows), strict=True))
    return [next(places) if isinstance(worker, str) else None for worker in workers]


def _host(environment: object) -> str:
    found = json.loads(environment) if isinstance(environment, str) and environment else {}
    return str(found.get("host") or "")


def _seconds(value: object, began: float) -> float:
    """A time as seconds since the beginning; NaN for none."""
    return float("nan") if value is None or value != value else value.timestamp() - began  # type: ignore[attr-defined]


def _earlier(material: Material, began: float) -> tuple[tuple[int, float, float, str], ...]:
    log = material.log
    ended = log[log["duration_s"].notna()] if len(log) else log
    found = []
    for row in ended.to_dict("records"):
        end_s = row["at"].timestamp() - began
        found.append((int(row["trial"]), end_s - row["duration_s"], end_s, str(row["state"])))
    return tuple(found)


def _unfinished(material: Material) -> tuple[int, int]:
    """How many trials were asked, and how many of them seem to run now."""
    log = material.log
    if not len(log):
        return 0, 0
    asked = set(log["trial"][log["state"] == "asked"].astype(int))
    last = log.drop_duplicates("trial", keep="last")
    gone = set(material.numbers.tolist())
    ended = str(material.record["state"]) in ("finished", "cancelled", "failed")
    running = [t for t, state in zip(last["trial"], last["state"], strict=True) if state == "running" and t not in gone]
    return len(asked | gone), 0 if ended else len(running)


def counts(material: Material) -> dict[str, int]:
    """How many trials ended in which way, and how many of the completed ones took over an earlier result."""
    found = {str(status): int((material.trials["status"] == status).sum()) for status in TrialStatus}
    return {**found, "reused": int(material.trials["reused_from"].notna().sum())}
