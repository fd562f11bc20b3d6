"""``xnas report``."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import pytest


def shown(path: Path) -> dict:
    """What a report has in it."""
    found = re.search(r'id="data">([^<]+)<', path.read_text())
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found.group(1))))


def test_one_search(xnas, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = xnas("report", archive.finished[:10], "--root", archive.root)
    assert printed.code == 0, printed.err
    path = tmp_path / f"xnas_report_{archive.finished[:10]}.html"
    assert printed.out.strip() == path.name and "MB" in printed.err
    assert [one["id"] for one in shown(path)["searches"]] == [archive.finished]


def test_several_beside_each_other(xnas, archive, tmp_path):
    out = tmp_path / "both.html"
    printed = xnas("report", archive.cancelled, archive.finished, "--root", archive.root, "--out", out)
    assert printed.code == 0, printed.err
    assert [one["id"] for one in shown(out)["searches"]] == [archive.cancelled, archive.finished]
    title = re.search(r"<title>(.*?)</title>", out.read_text(), re.DOTALL)
    assert title is not None and "\x1b" not in title.group(1) and "\u202e" not in title.group(1)


def test_open_shows_it(xnas, archive, tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or len(opened) == 1)
    out = tmp_path / "a b.html"
    call = ("report", archive.finished, "--root", archive.root, "--out", out, "--open")
    assert "browser" not in xnas(*call).err.partition("any browser")[2]
    assert opened == [out.as_uri()]
    assert "open the file yourself" in xnas(*call).err


@pytest.mark.parametrize(("arguments", "says"), [(["zzzz"], "no search starts with"), ([], "Missing argument")])
def test_wrong_input(xnas, archive, arguments, says):
    printed = xnas("report", *arguments, "--root", archive.root)
    assert printed.code == 2 and says in printed.err


def test_a_file_that_cannot_be_written(xnas, archive, tmp_path):
    printed = xnas("report", archive.finished, "--root", archive.root, "--out", tmp_path / "no" / "x.html")
    assert printed.code == 2 and "cannot write" in printed.err and "--out" in printed.err
