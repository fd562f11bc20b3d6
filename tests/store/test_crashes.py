from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from xnas_ray.errors import StoreFullError
from xnas_ray.store import load_log, load_trials
from xnas_ray.store.files import Files
from xnas_ray.store.parts import Part
from xnas_ray.store.replay import replay
from xnas_ray.store.writer import StoreWriter

TRIALS = 3


@pytest.fixture(autouse=True)
def small_fan_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xnas_ray.store.compaction.FAN_IN", 2)


def whole_life(make: SimpleNamespace, root: Path, files: Files, acknowledged: dict[str, set[int]]) -> None:
    """Go on with a search until it has all its trials and is compacted; ``acknowledged`` notes what is durable."""
    writer = StoreWriter.open(root, files=files, take_over=True)
    if not (root / "searches").is_dir() or "search" not in acknowledged:
        writer.append(make.submitted(writer))
        writer.commit()
        acknowledged["search"] = {0}
    found = replay(root, make.search_id(0))
    ended, asked = {o.trial for o in found.outcomes}, {a.candidate.ask_number for a in found.asked}
    assert acknowledged.get("asked", set()) <= asked and acknowledged.get("ended", set()) <= ended
    for n in range(TRIALS):
        if n not in asked:
            writer.append(make.asked(writer, n))
            writer.commit()
            acknowledged.setdefault("asked", set()).add(n)
        if n not in ended:
            writer.append(make.trial(writer, n))
            writer.append(make.trial(writer, n, search=1) if n == 0 else [])
            writer.commit()
            acknowledged.setdefault("ended", set()).add(n)
        if n % 2:
            writer.compact(now=make.now_s + 1000 * n)
    writer.compact(now=make.now_s + 10_000, whole=True)
    writer.compact(now=make.now_s + 20_000)
    writer.close()


def check(make: SimpleNamespace, root: Path) -> None:
    assert load_trials(root, make.search_id(0))["trial"].tolist() == list(range(TRIALS))
    log = load_log(root, make.search_id(0))
    assert log["trial"].tolist() == list(range(TRIALS))
    assert {o.trial: o.metrics["val_accuracy"] * 8 for o in replay(root, make.search_id(0)).outcomes} == {
        n: n for n in range(TRIALS)
    }


def count_calls(make: SimpleNamespace, root: Path) -> int:
    files = make.FaultyFiles()
    whole_life(make, root, files, {})
    check(make, root)
    return len(files.calls)


def test_a_crash_at_any_step_loses_and_doubles_nothing(make: SimpleNamespace, tmp_path: Path) -> None:
    total = count_calls(make, tmp_path / "whole")
    assert total > 70
    for step in range(total):
        root, acknowledged = tmp_path / str(step), dict[str, set[int]]()
        with pytest.raises(make.Crash):
            whole_life(make, root, make.FaultyFiles(step, crash=True), acknowledged)
        whole_life(make, root, make.FaultyFiles(), acknowledged)
        check(make, root)


def persistently(action: Callable[[], object]) -> int:
    """Do it again while the disk is full; how often it failed."""
    for failures in range(10):
        try:
            action()
            return failures
        except StoreFullError:
            continue
    raise AssertionError("the disk never got space")


@pytest.mark.parametrize("count", [1, 4])
def test_a_failure_at_any_step_of_a_commit_keeps_the_rows_for_the_next(
    make: SimpleNamespace, tmp_path: Path, count: int
) -> None:
    def fill(root: Path, files: Files) -> tuple[int, int]:
        """Rows that commits reported, and failures."""
        reported = failures = 0
        writer = StoreWriter.open(root, files=files)

        def commit() -> None:
            nonlocal reported
            reported += writer.commit()

        for n in range(2):
            writer.append([make.asked(writer, n), make.trial(writer, n), make.trial(writer, n, search=1)])
            failures += persistently(commit)
            assert writer.pending_rows() == 0
        failures += persistently(lambda: writer.compact(now=0.0, whole=True))
        failures += persistently(lambda: writer.compact(now=1000.0))
        failures += persistently(writer.close)
        return reported, failures

    whole = make.FaultyFiles()
    assert fill(tmp_path / "whole", whole) == (6, 0)
    first = next(
        i for i, call in enumerate(whole.calls) if call[0] == "create" and str(call[1]).endswith(".parquet.tmp")
    )
    for step in range(first, len(whole.calls), count):
        root, files = tmp_path / f"{step}", make.FaultyFiles(step, count=count)
        reported, failures = fill(root, files)
        assert reported == 6
        assert failures >= 1 or files.calls[step][0] == "remove" or count > 1
        frame = load_trials(root)
        assert frame["trial"].tolist() == [0, 1, 0, 1]
        if count == 1:  # else also the removal of the half-written file failed
            assert list((root / "_tmp").rglob("*.tmp")) == []
        rows = sum(len(load_trials(root, make.search_id(n))) for n in (0, 1))
        assert rows == 4 and load_log(root, make.search_id(0))["seq"].is_unique


def test_nothing_is_written_twice_before_compaction(make: SimpleNamespace, tmp_path: Path) -> None:
    """Also in the files themselves, where no reader has removed anything."""
    clean = make.FaultyFiles()
    writer = StoreWriter.open(tmp_path / "clean", files=clean)
    before = len(clean.calls)
    writer.append([make.asked(writer, 0), make.trial(writer, 0), make.trial(writer, 0, search=1)])
    writer.commit()
    for step in range(before, len(clean.calls)):
        root = tmp_path / str(step)
        files = make.FaultyFiles(step)
        writer = StoreWriter.open(root, files=files)
        writer.append([make.asked(writer, 0), make.trial(writer, 0), make.trial(writer, 0, search=1)])
        with pytest.raises(StoreFullError, match=r"nothing that was measured is lost"):
            writer.commit()
        writer.append(make.trial(writer, 1))
        assert writer.commit() == 4
        counts = {p.parent.name: 0 for p in root.rglob("part-*.parquet")}
        for path in root.rglob("part-*.parquet"):
            counts[path.parent.name] += pq.read_metadata(path).num_rows
        assert sorted(counts.values()) == [1, 3]


def test_bytes_are_durable_before_the_name_and_the_name_before_the_answer(
    make: SimpleNamespace, tmp_path: Path
) -> None:
    files = make.FaultyFiles()
    writer = StoreWriter.open(tmp_path, files=files)
    first = len(files.calls)
    writer.append([make.submitted(writer), make.asked(writer, 0), make.trial(writer, 0)])
    writer.commit()
    calls = files.calls[first:]
    renames = [call for call in calls if call[0] == "rename" and Part.parse(call[2].name)]
    assert len(renames) == 3
    for rename in renames:
        created = next(call for call in calls if call[0] == "create" and call[1] == rename[1])
        at = calls.index(rename)
        assert ("sync", created[2]) in calls[calls.index(created) : at]
        assert not [
            c for c in calls[:at] if c == ("write", created[2]) and calls.index(c) > calls.index(("sync", created[2]))
        ]
        assert ("sync_folder", rename[2].parent) in calls[at:]
    made = [call[1] for call in calls if call[0] == "make_folder"]
    assert made and all(("sync_folder", path.parent) in calls for path in made)
    tables = [rename[2].relative_to(tmp_path).parts[0] for rename in renames]
    assert tables == ["log", "trials", "searches"]  # what a trial came from before the trial, its search's end last


def test_kill_9_at_random_moments(make: SimpleNamespace, tmp_path: Path) -> None:
    draw, script = random.Random(11), Path(__file__).parent / "killed_writer.py"
    acknowledged: list[int] = []
    rounds = 4
    for _ in range(rounds):
        command = [sys.executable, str(script), str(tmp_path), make.search_id(0)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(draw.uniform(0.02, 0.5))
        process.kill()
        acknowledged += map(int, process.communicate()[0].split())
        trials = load_trials(tmp_path, make.search_id(0))["trial"]
        assert trials.is_unique and set(acknowledged) <= set(trials)
    assert len(acknowledged) == len(set(acknowledged)) > 20  # no trial was run again whose row was durable
    found = replay(tmp_path, make.search_id(0))
    assert [a.candidate.ask_number for a in found.asked] == list(range(found.next_trial))
    assert {o.trial for o in found.outcomes} | {p.trial for p in found.pending} == set(range(found.next_trial))
    assert StoreWriter.open(tmp_path).epoch == rounds + 1
