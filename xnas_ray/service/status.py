"""What the service tells about a live search."""

from __future__ import annotations

import time
from typing import Any

from xnas_ray.messages import SearchState
from xnas_ray.service.books import Book
from xnas_ray.service.engine import Engine

EXPLAINING = "the controller explains what it has found"


def live_status(engine: Engine, book: Book) -> dict[str, Any]:
    """Where a live search stands; the keys are those of ``archive.stored_status``."""
    view = engine.scheduler.search(book.search_id)
    finishing = book.search_id in engine.finishing
    budget = book.spec.budget
    best = book.best
    return {
        "search_id": book.search_id,
        "name": book.spec.name,
        "submitted_by": book.card.get("submitted_by"),
        "state": str(SearchState.DRAINING if finishing else view.state),
        "reason": EXPLAINING if finishing else view.reason or view.note or _job(engine, book),
        "task": book.card["task"],
        "controller": book.spec.controller.name,
        "priority": book.spec.priority,
        "counts": {
            "asked": view.next_trial,
            "queued": view.queued + view.waiting,
            "running": view.running,
            "completed": book.completed,
            "failed": book.failed,
            "cancelled": book.cancelled,
            "reused": book.reused,
        },
        "budget": {"trials": budget.trials, "gpu_hours": budget.gpu_hours, "wall_clock": budget.wall_clock},
        "running_s": view.running_s,
        "gpu_s": view.gpu_s,
        "workers": view.workers,
        "best": best
        and {
            "trial": best.trial,
            "value": best.value,
            "objective": book.first,
            "architecture": best.architecture,
            "metrics": dict(best.metrics),
        },
        "running": _running(book),
        "recent": list(book.recent),
        "stale_reports": view.stale_reports,
        "executions": book.executions,
    }


def _job(engine: Engine, book: Book) -> str:
    """How far the job of a supernet search is."""
    last = engine.jobs.last_epoch(book.search_id)
    if last is None:
        return ""
    number, epoch, record = last
    losses = ", ".join(f"{name} {record[name]:.3g}" for name in ("train_loss", "architecture_loss") if name in record)
    return f"supernet {number}, epoch {epoch}" + (f": {losses}" if losses else "")


def _running(book: Book) -> list[dict[str, Any]]:
    """Trials that workers hold, with the last epoch of each."""
    now_at = time.time()
    found = []
    for number, live in sorted(book.live.items()):
        if live.started_at is None or live.position is not None or live.result is not None:
            continue
        last = dict(live.curve[-1]) if live.curve else {}
        found.append(
            {
                "trial": number,
                "worker": live.worker,
                "attempt": live.attempts,
                "seconds": now_at - live.started_at,
                "epoch": int(last.get("epoch", 0)),
                "last": last,
            }
        )
    return found
