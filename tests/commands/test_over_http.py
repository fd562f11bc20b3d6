"""Commands say the same whether the store is a folder here or at the other end of an HTTP connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xnas_ray.service.http_api import Api
from xnas_ray.service.http_app import make_app
from xnas_ray.service.http_server import HttpServer
from xnas_ray.service.store_access import LocalStore

TOKEN = "ab" * 32


@pytest.fixture
def both(archive, fake_head, xnas, monkeypatch, tmp_path) -> Iterator[Callable[..., Any]]:
    """Runs a command line with the store as a folder, and over HTTP from an empty folder; gives what both printed."""
    server = HttpServer(lambda: make_app(Api(fake_head, LocalStore(archive.root), TOKEN, "1.2.3")), "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XNAS_TOKEN", TOKEN)

    def call(*arguments: object, near: bool = True) -> tuple[Any, Any]:
        monkeypatch.delenv("XNAS_ADDRESS", raising=False)
        here = xnas(*arguments, "--root", archive.root) if near else None  # what writes would change others' store
        monkeypatch.setenv("XNAS_ADDRESS", server.address)
        return here, xnas(*arguments)

    yield call
    server.stop()
    server.join(10)
    assert not (tmp_path / "results").exists()


def without_clock(text: str) -> str:
    return re.sub(r"^\d\d:\d\d:\d\d ", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [
        "list --json",
        "list",
        "show FINISHED",
        "show FINISHED --json",
        "show CANCELLED",
        "results FINISHED",
        "results FINISHED --format json --sort objective",
        "results UNFINISHED --format csv",
        "results FINISHED --front --format json",
        "best FINISHED -n 3 --json",
        "explain FINISHED --joint",
        "verify FINISHED --json",
        "wait FINISHED --json",
        "watch FINISHED",
        "logs FINISHED 3",
        "logs UNFINISHED 1",
        "export FINISHED 999 --out nowhere",
        "pause FINISHED",
        "show nothing",
        "results FINISHED --sort nonsense",
    ],
)
def test_commands_say_the_same(both, archive, fake_head, line) -> None:
    from xnas_ray.errors import SearchNotFoundError

    fake_head.answers["pause"] = SearchNotFoundError("search x is finished.", fix="Extend it.", valid=["a"], got="b")
    for name in ("FINISHED", "UNFINISHED", "CANCELLED"):
        line = line.replace(name, getattr(archive, name.lower()))
    fake_head.answers["info"] = {"pid": 1}
    near, far = both(*line.split())
    assert (far.code, without_clock(far.out)) == (near.code, without_clock(near.out))
    assert far.err == near.err or "list" in line  # who works on the store is another matter there


def test_orders_go_to_the_service(both, archive, fake_head, tmp_path) -> None:
    fake_head.answers["submit"] = archive.unfinished
    for line in (
        ("submit", "--task", archive.task, "--trials", "5"),
        ("pause", archive.unfinished, "--now"),
        ("resume", archive.unfinished),
        ("extend", archive.unfinished, "--trials", "99"),
        ("cancel", archive.unfinished),
    ):
        near, far = both(*line)
        assert (far.code, far.out, far.err) == (near.code, near.out, near.err) and far.code == 0
    calls = [(name, *(a for a in rest if not isinstance(a, dict))) for name, *rest in fake_head.calls]
    assert calls[::2] == calls[1::2] and len(calls) == 10


def test_finalists_are_trained_by_the_service(both, archive, fake_head, monkeypatch) -> None:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle

    columns = {"trial": [4], "architecture": ["four"], "seeds": [3], "failed": [0], "test_accuracy": [90.0]}
    searched = {"searched_val_accuracy": [91.0], "searched_params": [5.0], "test_accuracy_std": [1.0]}
    monkeypatch.setattr(SearchHandle, "finalists", lambda handle: pd.DataFrame({**columns, **searched}))
    fake_head.answers |= {"info": {"pid": 1}, "submit": archive.finished}
    _, far = both("finalize", archive.finished, "--top", "1", near=False)
    assert far.code == 0 and "90 ± 1" in far.out, far.err
    [(_, _, spec, task_hash, _)] = [call for call in fake_head.calls if call[0] == "submit"]
    assert (spec["parent"], spec["measure_on"]) == (archive.finished, "test") and len(task_hash) == 32


def test_what_needs_the_folder_says_so(both) -> None:
    _, far = both("gc", near=False)
    assert far.code == 2 and "needs the folder of the store" in far.err
    _, far = both("submit", "--spool", "--task", "digits", near=False)
    assert far.code == 2 and "needs the folder of the store" in far.err


def test_without_the_token_the_command_says_where_it_is(both, monkeypatch) -> None:
    monkeypatch.delenv("XNAS_TOKEN")
    _, far = both("list")
    assert far.code == 2 and "XNAS_TOKEN" in far.err
