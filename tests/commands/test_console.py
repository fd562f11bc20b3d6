from __future__ import annotations

import io
import json
import math
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from xnas_ray.commands.console import byte_size, clean, duration, jsonable, say, say_json, say_table, shown, table
from xnas_ray.errors import XnasError


@given(st.text(st.characters()), st.none() | st.integers(1, 20))
def test_clean_text_cannot_control_a_terminal(text, limit):
    found = clean(text, limit)
    assert found.isprintable()
    assert limit is None or len(found) <= limit
    assert limit is None or len(text) <= limit or found.endswith("…")
    if text.isprintable() and (limit is None or len(text) <= limit):
        assert found == text


def test_clean_escapes_as_python_does():
    assert clean("a\x1b[31m\n\u202e\ud800\x9b") == "a\\x1b[31m\\n\\u202e\\ud800\\x9b"
    assert clean("é 中 …") == "é 中 …"
    assert clean("abcdef", 4) == "abc…"


def test_say_keeps_lines(capsys):
    say("one\ntwo\r\x1b")
    assert capsys.readouterr().out == "one\ntwo\\r\\x1b\n"


def test_tables_do_not_cut_what_is_piped(capsys):
    say_table(("a", "b"), [(1, "x" * 500), (22.5, "[bold]\x1b")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["   a  b", "   1  " + "x" * 500, "22.5  [bold]\\x1b"]


@given(st.lists(st.tuples(*[st.text(max_size=200)] * 3), max_size=4), st.integers(50, 120))
def test_tables_fit_any_width(rows, width):
    from rich.console import Console

    target = io.StringIO()
    titles = ("a", "second title", "third")
    Console(file=target, width=width, markup=False, emoji=False).print(table(titles, rows, width=width))
    lines = target.getvalue().splitlines()
    assert len(lines) == 1 + len(rows) and lines[0].split() == ["a", "second", "title", "third"]
    assert all(cell_len(line) <= width for line in lines)


def test_narrow_columns_stay_whole_beside_a_wide_one():
    from rich.console import Console

    target = io.StringIO()
    rows = [(3, "completed", "1.5 s", "x" * 300)]
    drawn = table(("trial", "status", "time", "architecture"), rows, width=60)
    Console(file=target, width=60, markup=False).print(drawn)
    assert "    3  completed  1.5 s  xxxx" in target.getvalue()


def test_tables_fit_a_terminal():
    from rich.console import Console

    target = io.StringIO()
    console = Console(file=target, width=40, markup=False)
    console.print(table(("name", "text"), [("a" * 30, "b" * 300), ("中" * 30, None)], width=40))
    lines = target.getvalue().splitlines()
    assert len(lines) == 3 and all(len(line) <= 40 for line in lines) and "…" in lines[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (97.22222, "97.2222"), (1e-9, "1e-09"), (math.nan, ""), (12, "12"), ("x\n", "x\\n")],
)
def test_cells(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1m 00s"),
        (3599.6, "1h 00m"),
        (86399, "23h 59m"),
        (90000, "1d 01h"),
        (math.inf, ""),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")]
)
def test_byte_sizes(count, text):
    assert byte_size(count) == text


def test_json_of_what_frames_hold(capsys):
    value = {
        1: (np.int32(3), np.float64("nan"), float("inf"), True, None),
        "time": pd.Timestamp("2024-01-02", tz="UTC"),
        "missing": [pd.NaT, pd.NA],
        "array": np.array([1.5, 2.5]),
        "date": datetime(2024, 1, 2, tzinfo=UTC),
        "error": XnasError("x"),
        "text": "\x1b é",
    }
    say_json(value)
    printed = capsys.readouterr().out
    assert printed.isascii() and "\x1b" not in printed
    assert json.loads(printed) == {
        "1": [3, None, None, True, None],
        "time": "2024-01-02T00:00:00+00:00",
        "missing": [None, None],
        "array": [1.5, 2.5],
        "date": "2024-01-02T00:00:00+00:00",
        "error": "x.",
        "text": "\x1b é",
    }
    assert jsonable({3}) == [3]


def test_output_that_is_not_utf8():
    """A terminal that cannot show a character gets its escape, not an exception."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream.reconfigure(errors="backslashreplace")
    before, sys.stdout = sys.stdout, stream
    try:
        say("… é")
    finally:
        sys.stdout = before
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u2026 \\xe9\n"
