"""Group commit in an event loop: order, grouping, a full disk, a taken store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import StoreFullError
from xnas_ray.service import commits as module
from xnas_ray.service.commits import Commits
from xnas_ray.store.ids import new_search_id
from xnas_ray.store.layout import Layout
from xnas_ray.store.parts import list_parts
from xnas_ray.store.reader import load_log, search_rows
from xnas_ray.store.rows import LogRow, SearchRow
from xnas_ray.store.writer import StoreWriter

SEARCH = new_search_id(1_700_000_000)


def row(writer: StoreWriter, trial: int) -> LogRow:
    return LogRow(
        search_id=SEARCH,
        trial=trial,
        epoch=writer.epoch,
        seq=writer.next_seq(),
        state="running",
        at=1.0,
        attempt=(1, 0),
    )


def transition(writer: StoreWriter) -> SearchRow:
    return SearchRow(search_id=SEARCH, epoch=writer.epoch, seq=writer.next_seq(), at=1.0, state="running")


def play(root: Path, scene: Callable[[Commits, dict[str, list[str]]], Awaitable[None]], **settings: Any) -> Any:
    """Run a scene with a committer on a real store."""

    async def main() -> dict[str, list[str]]:
        heard: dict[str, list[str]] = {"full": [], "fenced": [], "space": []}
        one = Commits(
            StoreWriter.open(root),
            on_full=heard["full"].append,
            on_fenced=heard["fenced"].append,
            on_space=lambda: heard["space"].append("again"),
            live=lambda: [SEARCH],
            **settings,
        )
        one.start()
        await scene(one, heard)
        await one.close()
        return heard

    return asyncio.run(asyncio.wait_for(main(), 30))


def test_waiters_are_told_in_the_order_of_the_rows_once_they_are_on_disk(root) -> None:
    told: list[int] = []

    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        for trial in range(20):
            one.append(row(one.writer, trial), lambda t=trial: told.append(t))
            if trial % 7 == 0:
                await asyncio.sleep(0.01)
        await one.flush()
        assert told == list(range(20))
        assert list(load_log(root, SEARCH)["trial"]) == list(range(20))

    play(root, scene)


def test_rows_that_come_quickly_are_written_together_and_a_first_one_at_once(root) -> None:
    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        one.append(row(one.writer, 0))
        await one.flush()
        for trial in range(1, 50):
            one.append(row(one.writer, trial))
            await asyncio.sleep(0.001)
        await one.flush()

    play(root, scene, interval_s=5.0)
    assert len(list((root / "log" / f"search_id={SEARCH}").glob("part-*"))) <= 3


def test_lazy_rows_ride_along(root) -> None:
    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        one.append(row(one.writer, 0), lazy=True)
        await asyncio.sleep(0.1)
        assert one.writer.pending_rows() == 1
        one.append(row(one.writer, 1))
        await one.flush()
        assert one.writer.pending_rows() == 0

    play(root, scene, interval_s=0.01)


def test_a_full_disk_is_told_and_what_waited_becomes_durable_later(root, monkeypatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    told: list[int] = []

    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        real, times = one.writer.commit, iter([True, True, False])
        monkeypatch.setattr(
            one.writer, "commit", lambda: (_ for _ in ()).throw(StoreFullError("full")) if next(times, 0) else real()
        )
        one.append(row(one.writer, 0), lambda: told.append(0))
        await asyncio.sleep(0.02)
        assert told == [] and [text.rstrip(".") for text in heard["full"]] == ["full"]
        one.append(row(one.writer, 1), lambda: told.append(1))
        await one.flush()
        assert told == [0, 1]
        assert len(heard["full"]) == 2
        assert heard["space"] == ["again"]

    play(root, scene, interval_s=0.01)
    assert list(load_log(root, SEARCH)["trial"]) == [0, 1]


@pytest.mark.parametrize("beat", [False, True])
def test_a_taken_store_ends_the_writing(root, monkeypatch, beat) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05 if beat else 5.0)
    told: list[int] = []

    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        other = StoreWriter.open(root, take_over=True)
        if not beat:
            one.append(row(one.writer, 0), lambda: told.append(0))
        for _ in range(200):
            if heard["fenced"]:
                break
            await asyncio.sleep(0.01)
        assert len(heard["fenced"]) == 1 and one.fenced and told == []
        other.close()

    play(root, scene)


def test_an_ended_search_is_merged_into_one_part_at_the_close(root) -> None:
    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        for trial in range(5):
            one.append(row(one.writer, trial))
            await one.flush()
        one.finish(SEARCH)

    play(root, scene, interval_s=0.0)
    assert list(load_log(root, SEARCH)["trial"]) == list(range(5))
    merged = list((root / "log" / f"search_id={SEARCH}").glob("part-1-*"))
    assert len(merged) == 1


def test_searches_and_ended_searches_are_compacted_and_cleared(root, monkeypatch) -> None:
    """Transitions do not pile up for the next listing, and merged parts go when nobody reads them any more."""
    monkeypatch.setattr("xnas_ray.store.compaction.FAN_IN", 3)
    for place in ("xnas_ray.store.compaction", "xnas_ray.service.commits"):
        monkeypatch.setattr(f"{place}.KEEP_S", 0.0)
    folders = {"searches": root / "searches", "log": root / "log" / f"search_id={SEARCH}"}

    async def scene(one: Commits, heard: dict[str, list[str]]) -> None:
        for trial in range(4):
            one.append([row(one.writer, trial), transition(one.writer)])
            await one.flush()
        one.finish(SEARCH)
        while any(len(list_parts(folder)) > 2 for folder in folders.values()) or len(list_parts(folders["log"])) > 1:
            await asyncio.sleep(0.01)

    play(root, scene, interval_s=0.0, compact_every_s=0.05)
    assert load_log(root, SEARCH)["trial"].tolist() == [0, 1, 2, 3]
    assert len(search_rows(Layout(root))[SEARCH]) == 4
