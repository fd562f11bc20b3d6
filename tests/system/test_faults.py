"""A search under fire: workers, controller hosts, heads, nodes and at last everything at once are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.controllers.base import Controller
from xnas_ray.service.archive import stored_card
from xnas_ray.service.resolve import open_search
from xnas_ray.service.verify import verify
from xnas_ray.store import load_trials
from xnas_ray.store.reader import load_log
from xnas_ray.store.replay import replay

DRIVER = Path(__file__).parent / "fault_driver.py"
KILLS = {"worker": 20, "host": 8, "head": 8, "node": 4}
TRIALS = 500
WEIGHTS = (1, 2, 3, 5, 7, 11)


def lines_until(process: subprocess.Popen[str], word: str, timeout_s: float) -> list[dict[str, Any]]:
    """JSON lines of the driver up to the one that has a key."""
    found: list[dict[str, Any]] = []
    deadline_s = time.monotonic() + timeout_s
    assert process.stdout is not None
    while time.monotonic() < deadline_s:
        line = process.stdout.readline()
        assert line, f"the driver ended early: {process.poll()}"
        if line.startswith("{"):
            found.append(json.loads(line))
            if word in found[-1]:
                return found
    raise AssertionError(f"no {word} within {timeout_s} s: {found[-3:]}")


def drive(*arguments: object) -> subprocess.Popen[str]:
    """A driver in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def history_of(root: Path, search_id: str) -> Controller:
    """The search's controller, told what the store has."""
    controller = open_search(root, stored_card(root, search_id)).controller()
    told = replay(root, search_id)
    for asked in told.asked:
        controller.adopt(asked.candidate)
    for outcome in told.outcomes:
        controller.tell(outcome)
    return controller


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_is_lost_or_counted_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "store"
    driver = drive(root, "start", 1, json.dumps(KILLS), TRIALS)
    try:
        facts = lines_until(driver, "killed_all", 1200)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)  # the driver, its Ray and everything that it runs
        driver.wait()
    search_id = facts[0]["search_id"]
    killed = [f["killed"] for f in facts if "killed" in f]
    assert {kind: killed.count(kind) for kind in KILLS} == KILLS
    done = len(load_trials(root, search_id))
    assert 0 < done < TRIALS, "the whole cluster dies in the middle"

    successor = drive(root, "resume", search_id)
    try:
        final = lines_until(successor, "final", 300)[-1]
        assert final["final"] == "finished"
        assert successor.wait(timeout=60) == 0
    finally:
        if successor.poll() is None:
            os.killpg(successor.pid, signal.SIGKILL)
            successor.wait()

    trials = load_trials(root, search_id)
    assert sorted(trials["trial"]) == list(range(TRIALS))
    assert set(trials["status"]) == {"completed"}
    assert trials["key"].is_unique
    expected = [float(sum(g * w for g, w in zip(genotype, WEIGHTS, strict=True))) for genotype in trials["genotype"]]
    assert list(trials["metric_val_accuracy"]) == expected
    assert verify(root, search_id).mismatch is None
    assert [o.trial for o in history_of(root, search_id).outcomes] == list(trials["trial"])
    started = load_log(root, search_id)
    attempts = int((started["state"] == "running").sum())
    with capsys.disabled():
        print(
            f"\n{TRIALS} trials, {len(killed)} kills and one of the whole cluster after {done} trials: every trial "
            f"once; {attempts} dispatches on record, {int(trials['attempts'].sum()) - TRIALS} executions beyond one, "
            f"{trials['epoch'].nunique()} heads wrote"
        )
