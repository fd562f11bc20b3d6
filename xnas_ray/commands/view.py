"""A search as people watch it: one line for a log, or a live table of at most 80 columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import MAX_WIDTH, clean, console, duration, is_terminal, say, shown, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from xnas_ray.search_handle import SearchHandle, Status

LIVE_INTERVAL_S = 1.0
PLAIN_INTERVAL_S = 30.0
BAR_WIDTH = 20
RECENT = 5
RUNNING = 8


def follow(
    handle: SearchHandle, *, interval_s: float | None = None, stopping: Callable[[], bool] = lambda: False
) -> Status | None:
    """Show a search until it has ended or is paused: live on a terminal, a line every ``interval_s`` elsewhere.

    Args:
        handle: the search.
        interval_s: seconds between two looks; by default 1 on a terminal, 30 elsewhere.
        stopping: asked at least once a second whether to stop looking.

    Returns:
        The last status; None when ``stopping`` said so.
    """
    if is_terminal():
        return _follow_live(handle, interval_s or LIVE_INTERVAL_S, stopping)
    return _follow_plain(handle, interval_s or PLAIN_INTERVAL_S, stopping)


def _follow_plain(handle: SearchHandle, interval_s: float, stopping: Callable[[], bool]) -> Status | None:
    ended = handle.wait(0)
    while ended is None:
        say(line(handle.status()))
        ended = _wait(handle, interval_s, stopping)
        if ended is None and stopping():
            return None
    say(line(ended))
    return ended


def _follow_live(handle: SearchHandle, interval_s: float, stopping: Callable[[], bool]) -> Status | None:
    from rich.live import Live

    target = console()
    target.width = min(MAX_WIDTH, target.width)
    ended = handle.wait(0)
    with Live(console=target, auto_refresh=False) as live:
        while ended is None:
            live.update(panel(handle.status(), target.width), refresh=True)
            ended = _wait(handle, interval_s, stopping)
            if ended is None and stopping():
                return None
        live.update(panel(ended, target.width), refresh=True)
    return ended


def _wait(handle: SearchHandle, interval_s: float, stopping: Callable[[], bool]) -> Status | None:
    """Wait in slices of a second, so that a signal is noticed."""
    deadline_s = time.monotonic() + interval_s
    ended = None
    while ended is None and not stopping() and (left_s := deadline_s - time.monotonic()) > 0:
        ended = handle.wait(min(1.0, left_s))
    return ended


# ---- drawing --------------------------------------------------------------------------------------------------------


def progress(status: Mapping[str, Any]) -> str:
    """``12/32 trials, 4 running, 1 failed``."""
    counts, budget = status["counts"], status["budget"]
    done = counted(status)
    parts = [f"{done}/{budget['trials']} trials" if budget["trials"] else f"{done} trials"]
    parts += [f"{counts[n]} {n}" for n in ("running", "failed", "cancelled", "reused") if counts[n]]
    if budget["gpu_hours"]:
        parts.append(f"{status['gpu_s'] / 3600:.2f}/{budget['gpu_hours']:g} GPU hours")
    if budget["wall_clock"]:
        parts.append(f"{duration(status['running_s'])} of {duration(budget['wall_clock'])}")
    return ", ".join(parts)


def counted(status: Mapping[str, Any]) -> int:
    """Trials that count towards the budget: completed or failed, not reused."""
    counts = status["counts"]
    return int(counts["completed"] + counts["failed"] - counts["reused"])


def best_text(best: Mapping[str, Any] | None) -> str:
    """``val_accuracy 97.2 (trial 7)``."""
    return "" if best is None else f"{clean(best['objective'], 30)} {shown(best['value'])} (trial {best['trial']})"


def line(status: Mapping[str, Any]) -> str:
    """One line for a log."""
    parts = [time.strftime("%H:%M:%S"), status["search_id"], status["state"], progress(status)]
    if status["best"]:
        parts.append("best " + best_text(status["best"]))
    parts.append(duration(status["running_s"]))
    if status["reason"]:
        parts.append(clean(status["reason"], 200))
    return "  ".join(clean(part) for part in parts if part)


def panel(status: Mapping[str, Any], width: int = MAX_WIDTH) -> RenderableType:
    """The live table, ``width`` characters wide at most."""
    from rich.console import Group

    name = clean(status["name"], 34)
    rows: list[tuple[str, str]] = [
        ("search", f"{status['search_id']}  {name}"),
        ("state", f"{status['state']}  {clean(status['reason'], 200)}".rstrip()),
        ("progress", f"{bar(status)}{progress(status)}"),
        ("time", f"{duration(status['running_s'])}, {status['workers']} workers"),
    ]
    if status["best"]:
        rows += [("best", best_text(status["best"])), ("", status["best"]["architecture"])]
    parts: list[RenderableType] = [table(("", ""), rows, header=False, width=width)]
    if status["running"]:
        hidden = len(status["running"]) - RUNNING
        running = [
            (r["trial"], clean(r["worker"], 12), r["epoch"], duration(r["seconds"]), _metrics(r["last"]))
            for r in status["running"][:RUNNING]
        ]
        title = f"running (+{hidden})" if hidden > 0 else "running"
        parts += ["", table((title, "worker", "epoch", "time", ""), running, width=width)]
    if status["recent"]:
        recent = [
            (r["trial"], r["status"], duration(r["duration_s"]), _result(r, status["best"]), r["architecture"])
            for r in reversed(status["recent"][-RECENT:])
        ]
        parts += ["", table(("finished", "", "time", "", "architecture"), recent, width=width)]
    return Group(*parts)


def bar(status: Mapping[str, Any]) -> str:
    """A bar of the trials' budget; nothing when there is none."""
    trials = status["budget"]["trials"]
    if not trials:
        return ""
    filled = min(BAR_WIDTH, counted(status) * BAR_WIDTH // trials)
    return "█" * filled + "░" * (BAR_WIDTH - filled) + "  "


def _metrics(metrics: Mapping[str, float] | None) -> str:
    return "  ".join(f"{name} {shown(float(value))}" for name, value in list((metrics or {}).items())[:3])


def _result(recent: Mapping[str, Any], best: Mapping[str, Any] | None) -> str:
    """The first objective of a finished trial, or its first metric."""
    metrics = recent["metrics"] or {}
    name = best["objective"] if best and best["objective"] in metrics else next(iter(metrics), None)
    return "" if name is None else shown(float(metrics[name]))
