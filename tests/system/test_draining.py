"""A node that leaves takes nothing with it: its trials finish or move, and nobody counts that as a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xnas_ray.service.verify import verify
from xnas_ray.store import load_trials
from xnas_ray.store.reader import load_log

DRIVER = Path(__file__).parent / "drain_driver.py"


@pytest.mark.slow
def test_trials_of_a_leaving_node_finish_or_move(root):
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(root)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    patient, hasty, end = map(json.loads, done.stdout.splitlines())
    assert patient["ended_before_the_deadline_s"] > 0 and patient["completed"] > 0, "it ended as soon as it was empty"
    assert hasty["ended_before_the_deadline_s"] > 0

    found, log = load_trials(root, end["search_id"]), load_log(root, end["search_id"])
    assert sorted(found["trial"]) == list(range(30)) and set(found["status"]) == {"completed"}
    (moved,) = log[log["state"] == "requeued"].to_dict("records")
    assert moved["detail"].startswith("preempted") and not (log["state"] == "retrying").any()
    attempts = found.set_index("trial")["attempts"]
    assert attempts.pop(moved["trial"]) == 2 and set(attempts) == {1}
    assert verify(root, end["search_id"]).mismatch is None
