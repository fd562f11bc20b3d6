from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

HOSTILE = "\x1b[31mred\x07 \u202e[bold]"


@pytest.fixture
def logged(archive, tmp_path: Path) -> Path:
    """A copy of the archive with log files of its finished search: 50 lines of trial 1, one of trial 2."""
    root = tmp_path / "logged"
    shutil.copytree(archive.root, root)
    folder = root / "logs" / archive.finished
    folder.mkdir(parents=True)
    about = {"level": "INFO", "process": "w1-1", "logger": "x", "search": archive.finished, "attempt": [1, 0]}
    lines = [
        {
            "time": 1.7e9 + n,
            "message": "epoch ended",
            **about,
            "trial": 1,
            "epoch": float(n),
            "val_accuracy": 91.23456789,
        }
        for n in range(50)
    ]
    lines.append({"time": 1.8e9, "message": HOSTILE, **about, "level": "WARNING", "trial": 2, "traceback": "a\n\x1bb"})
    (folder / "w1-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def test_the_last_lines_of_a_trial(xnas, archive, logged):
    printed = xnas("logs", archive.finished, 1, "--root", logged)
    assert printed.code == 0 and printed.err == ""
    lines = printed.out.splitlines()
    assert len(lines) == 40
    assert lines[-1].endswith("w1-1  epoch ended  epoch=49  val_accuracy=91.2346")
    assert len(xnas("logs", archive.finished, 1, "-n", 3, "--root", logged).out.splitlines()) == 3


def test_the_lines_of_a_search_cannot_control_the_terminal(xnas, archive, logged):
    out = xnas("logs", archive.finished, "--root", logged).out
    assert not set("\x1b\x07\u202e") & set(out)
    last = out.splitlines()[-3:]
    assert "trial 2  WARNING  \\x1b[31mred\\x07 \\u202e[bold]" in last[0]
    assert last[1:] == ["    a", "    \\x1bb"]


def test_json_has_one_object_a_line(xnas, archive, logged):
    printed = xnas("logs", archive.finished, 2, "--json", "--root", logged)
    assert json.loads(printed.out)["message"] == HOSTILE and printed.out.isascii()


def test_a_failed_trial_of_an_older_store(xnas, archive):
    printed = xnas("logs", archive.finished, 3, "--root", archive.root)
    assert "ERROR" in printed.out and "ValueError" in printed.out and "\x1b" not in printed.out


def test_nothing_is_said_of_a_trial_without_lines(xnas, archive):
    printed = xnas("logs", archive.unfinished, 1, "--root", archive.root)
    assert printed.code == 0 and printed.out == "" and "no log lines of trial 1" in printed.err


def test_following_ends_with_the_search_or_the_trial(xnas, archive, logged, monkeypatch):
    path = logged / "logs" / archive.finished / "w1-1.jsonl"
    late = json.dumps({"time": 1.9e9, "message": "late", "process": "w1-1", "trial": 1})
    monkeypatch.setattr("xnas_ray.commands.logs.time.sleep", lambda s: path.open("a").write(late + "\n") and None)
    printed = xnas("logs", archive.finished, 1, "-n", 1, "--follow", "--root", logged)
    assert [line.split()[-1] for line in printed.out.splitlines()][1:2] == ["late"]
    done = xnas("logs", archive.unfinished, 0, "--follow", "--root", archive.root)
    assert done.code == 0, "trial 0 has ended, although its search has not"
