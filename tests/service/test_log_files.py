"""Log lines in the store: which file, which fields, what happens without a disk; and how they are found again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from xnas_ray.service.log_files import LogFiles
from xnas_ray.service.log_lines import LogLines, failure_lines
from xnas_ray.service.logs import about

SEARCH = "01HF7YATZ80123456789ABCDEF"
HOSTILE = 'a "quote"\n\x1b[31m\u202e\ud800'


def emit(handler: LogFiles, message: str, level: int = logging.INFO, **extra: object) -> None:
    record = logging.LogRecord("xnas_ray.x", level, "f", 1, message, (), None)
    record.__dict__.update(extra)
    handler.emit(record)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().decode("ascii").splitlines()]


def test_lines_go_to_the_file_of_their_search_and_process(root: Path):
    handler = LogFiles(root, "w1-3")
    with about(search=SEARCH, trial=7, attempt=(1, 0)):
        emit(handler, "epoch ended", about={"epoch": 2.0})
        emit(handler, HOSTILE)
    emit(handler, "of no search")
    with about(search="../../etc/evil"):
        emit(handler, "of no valid search")
    assert not (root / "logs").exists(), "written together, later"
    handler.flush()
    first, second = lines(root / "logs" / SEARCH / "w1-3.jsonl")
    expected = {"level": "INFO", "process": "w1-3", "search": SEARCH, "trial": 7, "attempt": [1, 0], "epoch": 2.0}
    assert expected.items() <= first.items() and first["message"] == "epoch ended"
    assert second["message"] == HOSTILE
    assert [line["message"] for line in lines(root / "logs" / "w1-3.jsonl")] == ["of no search", "of no valid search"]
    assert {p.name for p in root.iterdir()} == {"logs"}


def test_nothing_that_goes_wrong_reaches_the_program(root: Path, capsys: pytest.CaptureFixture[str]):
    handler = LogFiles(root, "w1-3")
    (root / "logs").write_text("no folder")
    emit(handler, "lost")
    handler.flush()
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%d", ("no number",), None)
    handler.emit(record)
    assert "Logging error" in capsys.readouterr().err
    (root / "logs").unlink()
    emit(handler, "kept")
    handler.flush()
    assert [line["message"] for line in lines(root / "logs" / "w1-3.jsonl")] == ["kept"]


def test_a_message_is_not_longer_than_a_page(root: Path):
    handler = LogFiles(root, "head")
    emit(handler, "x" * 10**6)
    handler.flush()
    assert (root / "logs" / "head.jsonl").stat().st_size < 10_000


def test_a_full_file_is_kept_once_and_followed_under_its_new_name(root: Path):
    handler, reader = LogFiles(root, "w1-1", max_file_bytes=600), LogLines(root, SEARCH)
    seen = []
    for number in range(30):
        with about(search=SEARCH, trial=number):
            emit(handler, f"line {number}")
        handler.flush()
        seen += [line["message"] for line in reader.new()]
    assert seen == [f"line {n}" for n in range(30)], "each once, whatever the file was called"
    folder = root / "logs" / SEARCH
    assert {p.name for p in folder.iterdir()} == {"w1-1.jsonl", "w1-1.old.jsonl"}
    assert sum(p.stat().st_size for p in folder.iterdir()) < 2 * 600 + 200


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_lines_of_several_processes_are_merged_by_time_and_narrowed_to_a_trial(root: Path):
    folder = root / "logs" / SEARCH
    folder.mkdir(parents=True)
    for process, times in (("w1-1", (1.0, 4.0)), ("w1-2", (2.0, 3.0))):
        texts = [json.dumps({"time": t, "process": process, "trial": int(t) % 2, "message": f"{t}"}) for t in times]
        (folder / f"{process}.jsonl").write_text("\n".join(texts) + "\n")
    assert [line["time"] for line in LogLines(root, SEARCH).new()] == [1.0, 2.0, 3.0, 4.0]
    assert [line["time"] for line in LogLines(root, SEARCH, 1).new()] == [1.0, 3.0]
    assert LogLines(root, SEARCH, 17).new() == []


def test_half_a_line_waits_and_damaged_ones_are_left_out(root: Path):
    folder = root / "logs" / SEARCH
    folder.mkdir(parents=True)
    path, reader = folder / "w.jsonl", LogLines(root, SEARCH, 1)
    path.write_bytes(
        b'{"trial": 1, "message": "whole"}\n\xff\xfe{\n[1, 2]\n{"trial": 12, "x": {"trial": 1}}\n{"trial": 1,'
    )
    assert [line["message"] for line in reader.new()] == ["whole"]
    with path.open("ab") as file:
        file.write(b' "message": "rest"}\n')
    assert [line["message"] for line in reader.new()] == ["rest"]
    assert reader.new() == []


def test_a_failed_trial_without_files_has_what_its_row_kept(archive):
    found = failure_lines(archive.root, archive.finished, 3)
    assert found[0]["message"] == "log"
    assert all(line["trial"] == 3 and line["process"] == "w-1" for line in found)
    assert any("ValueError" in line["message"] for line in found)
    assert failure_lines(archive.root, archive.finished, 4) == []
    assert failure_lines(archive.root, archive.finished, 400) == []
