"""The commands of docs/from_xnas.md do what the page says, on a store without a service."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from xnas_ray.service.log_files import LOGS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "from_xnas.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINES = [line.removeprefix("$ ") for line in TEXT.splitlines() if re.match(r"\$ xnas \S+ ID|\$ xnas gc", line)]


@pytest.fixture
def folder(archive, tmp_path, monkeypatch):
    """Where somebody works: the store is ``results/``, with a log of the search."""
    shutil.copytree(archive.root, tmp_path / "results")
    log = tmp_path / "results" / LOGS / archive.finished
    log.mkdir(parents=True)
    line = {"time": 1.0, "level": "INFO", "process": "w-1", "search": archive.finished, "message": "epoch ended"}
    (log / "w-1.jsonl").write_text(json.dumps(line) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", LINES)
def test_commands_run(xnas, archive, folder, line):
    words = [{"ID": archive.finished, "17": archive.best}.get(word, word) for word in line.split()[1:]]
    printed = xnas(*words)
    assert printed.code == 0, printed.err
    assert printed.out or (folder / str(words[-1])).exists()


def test_the_columns_of_results_csv_are_there(xnas, archive, folder):
    assert xnas("results", archive.finished, "--out", "results.csv").code == 0
    columns = set(pd.read_csv("results.csv").columns)
    table = TEXT.partition("Columns of `results.csv`")[2].partition("The commands once more")[0]
    rows = re.findall(r"^\|[^|]+\|([^|]+)\|$", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named - {"here"} <= columns | {"metric_introspectability"}, "which this store does not measure"


def test_every_file_of_xnas_has_its_line():
    files = ("deephyper.log", "init_infos.json", "results.csv", "activations/", "save/config/", "save/history/")
    for name in (*files, "save/model/", "logs_batch/"):
        assert f"| `{name}" in TEXT, name


def test_the_page_of_the_store_leads_here():
    readme = ROOT / "results" / "README.md"
    assert "(../docs/from_xnas.md)" in readme.read_text(encoding="utf-8")
