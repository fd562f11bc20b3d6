"""A service under random faults for minutes on end: nothing is lost, nothing comes twice, and its head does not grow.

Two minutes by default; ``XNAS_SOAK_S=1200`` makes it twenty. The disk is a small file system of its own, which needs
root to be mounted: without it the disk is never full.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from xnas_ray.service.verify import verify
from xnas_ray.store import load_trials
from xnas_ray.store.reader import list_searches

DRIVER = Path(__file__).parent / "soak_driver.py"
SECONDS = float(os.environ.get("XNAS_SOAK_S", "120"))
SETTLED_S = min(120.0, SECONDS / 4)
"""The age of a head whose memory is taken, which it may exceed by a fifth at the end."""
ROUND_S = min(30.0, SECONDS / 6)
"""How long memory is looked at. Heads merge tables and give memory back every half minute: a burst of some seconds
before each must decide nothing."""
GROWTH = 1.2
TRIALS_PER_S = 5000 / 1200
DISK = "512m"
WEIGHTS = (1, 2, 3, 5, 7, 11)

Facts = list[dict[str, Any]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system that may be filled; None where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def soak(root: Path, disk: Path | None, record: Path) -> Facts:
    """What the driver prints, also into ``record``; it is gone afterwards with all that it started."""
    places = [str(disk)] if disk else []
    with record.with_suffix(".err").open("w") as errors:
        driver = subprocess.Popen(
            [sys.executable, str(DRIVER), str(root), str(SECONDS), "1", *places],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert driver.stdout is not None
    try:
        lines = driver.stdout.readlines()  # pytest's own limit of time ends a driver that hangs
        record.write_text("".join(lines))
        assert driver.wait(timeout=60) == 0, lines[-5:]
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    return [json.loads(line) for line in lines if line.startswith("{")]


def growth(facts: Facts) -> tuple[float, float, float]:
    """Memory in MB of the first head that had settled, of the last head when it had settled, and of it at the end."""
    samples = [fact for fact in facts if "rss" in fact]
    settled = [s for s in samples if s["age_s"] >= SETTLED_S]
    last = [s for s in settled if s["pid"] == samples[-1]["pid"]]
    assert last[-1]["at_s"] - last[0]["at_s"] >= 2 * ROUND_S, "the last head lives long enough to show whether it grows"
    return _middle_of_a_round(settled), _middle_of_a_round(last), _middle_of_a_round(last[::-1])


def _middle_of_a_round(samples: Facts) -> float:
    """Median of the samples' memory in MB, as long as they are within a round of the first."""
    return median(s["rss"] / 1e6 for s in samples if abs(s["at_s"] - samples[0]["at_s"]) <= ROUND_S)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS + 600)
def test_soak(tmp_path: Path, disk: Path | None, capsys: pytest.CaptureFixture[str]) -> None:
    root = (disk or tmp_path) / "store"
    facts = soak(root, disk, tmp_path / "facts.jsonl")
    struck = [fact["struck"] for fact in facts if "struck" in fact]
    assert {"worker", "host", "head", "node", *(["disk"] if disk else [])} == set(struck)

    submitted = {fact["submitted"]: fact["trials"] for fact in facts if "submitted" in fact}
    assert facts[-1] == {"ended": sorted(submitted), "left": [], "not_finished": {}}
    searches = list_searches(root)
    assert sorted(searches["search_id"]) == sorted(submitted), "no submission counts twice, and none is lost"
    assert set(searches["state"]) == {"finished"}
    trials = load_trials(root)
    assert len(trials) >= TRIALS_PER_S * SECONDS
    for search_id, rows in trials.groupby("search_id"):
        assert sorted(rows["trial"]) == list(range(submitted[search_id]))
        assert set(rows["status"]) == {"completed"}
        assert rows["key"].is_unique
        assert verify(root, search_id).mismatch is None
    expected = [float(sum(g * w for g, w in zip(genotype, WEIGHTS, strict=True))) for genotype in trials["genotype"]]
    assert list(trials["metric_val_accuracy"]) == expected

    settled_mb, own_mb, end_mb = growth(facts)
    with capsys.disabled():
        print(
            f"\n{len(submitted)} searches, {len(trials)} trials, {int(trials['attempts'].sum()) - len(trials)} "
            f"executions beyond one, {trials['epoch'].nunique()} heads wrote; "
            + ", ".join(f"{kind} {struck.count(kind)}" for kind in sorted(set(struck)))
            + f"; the first head {settled_mb:.0f} MB when {SETTLED_S:.0f} s old, the last {own_mb:.0f} MB at that age "
            f"and {end_mb:.0f} MB at the end"
        )
    assert end_mb <= GROWTH * settled_mb
    assert end_mb <= GROWTH * own_mb
