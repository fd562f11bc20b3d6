"""``xnas run`` as people use it: to the end, interrupted, killed, resumed."""

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

from xnas_ray.service.verify import verify
from xnas_ray.store import list_searches, load_trials

TASK = Path(__file__).parent / "tasks" / "steps"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def xnas(*arguments: object) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "xnas_ray", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until_trials(root: Path, count: int, timeout_s: float = 120) -> None:
    """Wait until that many trials are in the store."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if (root / "trials").is_dir() and len(load_trials(root)) >= count:
            return
        time.sleep(0.2)
    raise AssertionError("the search does not come forward")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A search of 60 trials on the slow look-ups."""
    path = tmp_path / "search.toml"
    path.write_text(
        f'task = "{TASK}"\ncontroller = "regularized_evolution"\nseed = 5\n'
        "budget = { trials = 60 }\nresources = { cpus = 1, workers = 2 }\n"
    )
    return path


def check(root: Path) -> None:
    """Sixty trials, each once, every proposal derivable."""
    trials = load_trials(root)
    assert sorted(trials["trial"]) == list(range(60))
    assert set(trials["status"]) == {"completed"}
    assert list(list_searches(root)["state"]) == ["finished"]
    assert verify(root, trials["search_id"].iloc[0]).mismatch is None


def test_ctrl_c_leaves_a_search_that_goes_on(spec, tmp_path) -> None:
    root = tmp_path / "store"
    first = xnas("run", spec, "--root", root)
    until_trials(root, 8)
    first.send_signal(signal.SIGINT)
    text, _ = first.communicate(timeout=90)
    assert first.returncode == 130, text
    assert "xnas run --resume" in text
    assert 8 <= len(load_trials(root)) < 60
    assert list(list_searches(root)["state"]) == ["running"], "it was interrupted, not paused"
    assert not (root / "endpoint.json").exists()
    second = xnas("run", "--resume", spec, "--root", root)
    text, _ = second.communicate(timeout=180)
    assert second.returncode == 0, text
    check(root)
    assert set(load_trials(root)["epoch"]) == {1, 2}


def test_kill_9_leaves_a_search_that_goes_on(spec, tmp_path) -> None:
    root = tmp_path / "store"
    first = xnas("run", spec, "--root", root)
    until_trials(root, 8)
    first.kill()
    first.wait()
    before = load_trials(root)
    second = xnas("run", "--resume", "--root", root)
    text, _ = second.communicate(timeout=240)
    assert second.returncode == 0, text
    check(root)
    after = load_trials(root).set_index("trial")
    same = before.set_index("trial")
    assert (after.loc[same.index, "seq"] == same["seq"]).all(), "what was finished stays as it was"


def test_a_digits_search_from_the_command_line_to_an_exported_network(tmp_path) -> None:
    root = tmp_path / "store"
    arguments = ("--task", "digits", "--trials", 4, "--fidelity", 2, "--seed", 0, "--workers", 2, "--root", root)
    done = xnas("run", *arguments)
    text, _ = done.communicate(timeout=240)
    assert done.returncode == 0, text
    assert text.count("test accuracy") == 1
    listed = subprocess.run(
        [sys.executable, "-m", "xnas_ray", "best", "latest", "--json", "--root", root],
        capture_output=True,
        text=True,
        check=True,
    )
    best: list[dict[str, Any]] = json.loads(listed.stdout)
    winner = next(b for b in best if b["weights"])
    out = tmp_path / "winner"
    export = [sys.executable, "-m", "xnas_ray", "export", "latest", str(winner["trial"]), "--out", str(out)]
    subprocess.run([*export, "--root", str(root)], check=True, capture_output=True)
    loaded = subprocess.run(
        [sys.executable, str(out / "load.py")], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
