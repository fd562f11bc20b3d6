from __future__ import annotations

import io

import pytest

from xnas_ray.commands import view


def drawn(status) -> list[str]:
    from rich.console import Console

    target = io.StringIO()
    Console(file=target, width=80, markup=False, highlight=False).print(view.panel(status))
    return target.getvalue().splitlines()


def test_line_says_what_matters(live_status):
    text = view.line(live_status)
    for part in (
        "running",
        "3/32 trials, 2 running, 1 failed, 1 reused",
        "best val_accuracy 97.2222 (trial 1)",
        "1m 15s",
    ):
        assert part in text
    assert "\n" not in text


def test_progress_of_other_budgets(live_status):
    budget = {"trials": None, "gpu_hours": 2.0, "wall_clock": 3600.0}
    text = view.progress({**live_status, "budget": budget, "gpu_s": 1800.0})
    assert text.startswith("3 trials") and "0.50/2 GPU hours" in text and "1m 15s of 1h 00m" in text
    assert view.bar({**live_status, "budget": budget}) == ""


@pytest.mark.parametrize(("completed", "filled"), [(0, 0), (16, 10), (32, 20), (99, 20)])
def test_bar(live_status, completed, filled):
    counts = {**live_status["counts"], "completed": completed, "failed": 0, "reused": 0}
    assert view.bar({**live_status, "counts": counts}) == "█" * filled + "░" * (20 - filled) + "  "


def test_panel_fits_80_columns_and_shows_the_parts(live_status):
    lines = drawn(live_status)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for part in ("half done", "3/32 trials", "2 workers", "w-4", "1m 01s", "93", "|nor_conv_3x3~0|"):
        assert part in text


def test_panel_survives_hostile_and_long_values(live_status):
    evil = "\x1b[2J[red]\n" * 200
    best = {**live_status["best"], "architecture": evil, "objective": evil}
    running = [
        {"trial": n, "worker": evil, "attempt": 9, "seconds": 1e9, "epoch": 10**9, "last": {evil: 1.0}}
        for n in range(50)
    ]
    recent = [{"trial": 1, "status": "failed", "metrics": {}, "architecture": evil, "duration_s": None}]
    status = {**live_status, "name": evil, "reason": evil, "best": best, "running": running, "recent": recent}
    lines = drawn(status)
    assert max(map(len, lines)) <= 80 and len(lines) < 40
    assert not any("\x1b" in line for line in lines)
    assert "running (+42)" in "\n".join(lines)
    assert "\x1b" not in view.line(status) and "\n" not in view.line(status)


def test_panel_of_a_search_without_anything(live_status):
    assert drawn({**live_status, "best": None, "running": [], "recent": []})[-1].startswith("time")


class _Handle:
    def __init__(self, ends: list[object], status: dict) -> None:
        self.ends, self._status, self.waited = ends, status, []

    def wait(self, timeout_s: float) -> object:
        self.waited.append(timeout_s)
        return self.ends.pop(0)

    def status(self) -> dict:
        return self._status


def test_follow_stops_when_asked(live_status, capsys):
    handle = _Handle([None], live_status)
    assert view.follow(handle, interval_s=60, stopping=lambda: True) is None
    assert capsys.readouterr().out.count("\n") == 1


def test_follow_waits_in_short_slices(live_status):
    handle = _Handle([None, None, None, live_status], live_status)
    assert view.follow(handle, interval_s=60) is live_status
    assert max(handle.waited) <= 1.0


def test_follow_on_a_terminal(live_status, monkeypatch):
    from rich.console import Console

    target = io.StringIO()
    monkeypatch.setattr(view, "is_terminal", lambda: True)
    monkeypatch.setattr(view, "console", lambda: Console(file=target, width=200, force_terminal=True, markup=False))
    handle = _Handle([None, None, {**live_status, "state": "finished"}], live_status)
    assert view.follow(handle, interval_s=0.01)["state"] == "finished"
    assert "finished" in target.getvalue() and "running" in target.getvalue()


def test_follow_on_a_terminal_stops_when_asked(live_status, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(view, "is_terminal", lambda: True)
    monkeypatch.setattr(view, "console", lambda: Console(file=io.StringIO(), width=80, force_terminal=True))
    assert view.follow(_Handle([None], live_status), stopping=lambda: True) is None
