"""Others read while a writer commits, merges and deletes: never an error, never a durable row missing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from xnas_ray.store import load_trials
from xnas_ray.store.writer import StoreWriter

TRIALS = 100


def read_pyarrow(root: Path) -> list[int]:
    return ds.dataset(root / "trials", partitioning="hive").to_table(columns=["trial"]).column("trial").to_pylist()


def read_duckdb(root: Path) -> list[int]:
    source = f"read_parquet('{root}/trials/**/part-*.parquet', hive_partitioning=true, union_by_name=true)"
    with duckdb.connect() as connection:
        rows = connection.sql(f"SELECT trial, coalesce(metric_late, 0) FROM {source} WHERE status = 'completed'")
        return [trial for trial, _ in rows.fetchall()]


def read_polars(root: Path) -> list[int]:
    glob = f"{root}/trials/**/part-*.parquet"
    return pl.scan_parquet(glob, missing_columns="insert", extra_columns="ignore").collect()["trial"].to_list()


def read_ours(root: Path) -> list[int]:
    trials = load_trials(root, columns=["trial"])["trial"].tolist()
    assert max(Counter(trials).values()) == 1, "the own reader removes what is there twice"
    return trials


class Grace:
    """Stands for the ten minutes that replaced parts stay: no reader is at work while they are deleted."""

    def __init__(self) -> None:
        self._turn, self._reading = threading.Lock(), threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._turn:  # whoever waits to delete goes first
            self._reading.acquire()
        try:
            yield
        finally:
            self._reading.release()

    @contextmanager
    def deleting(self) -> Iterator[None]:
        with self._turn, self._reading:
            yield


class BusyWriter(threading.Thread):
    """Commits one trial after the other, merges often, and sometimes deletes."""

    def __init__(self, make: SimpleNamespace, root: Path, grace: Grace) -> None:
        super().__init__(daemon=True)
        self.durable, self.ending, self.deleted, self.failure = 0, threading.Event(), 0, None
        self._make, self._grace, self._writer, self._now_s = make, grace, StoreWriter.open(root), make.now_s
        self._write(["early", "late"])

    def _write(self, metrics: list[str]) -> None:
        row = self._make.trial(self._writer, self.durable, metrics=dict.fromkeys(metrics, 1.0))
        self._writer.append(row)
        self._writer.commit()
        self.durable += 1

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                self._write(["early"] if self.durable % 7 else ["early", f"m{self.durable % 5}"])
                if self.durable % 5 == 0:
                    self._now_s += 1
                    with self._grace.deleting() if self.durable % 40 == 0 else nullcontext():
                        self._now_s += 1000 * (self.durable % 40 == 0)
                        self.deleted += self._writer.compact(now=self._now_s).deleted
        except BaseException as error:
            self.failure = error
            raise


@pytest.mark.parametrize("read", [read_pyarrow, read_duckdb, read_polars, read_ours])
def test_readers_never_fail_and_never_miss_a_row(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], list[int]]
) -> None:
    monkeypatch.setattr("xnas_ray.store.compaction.FAN_IN", 4)
    grace = Grace()
    writer = BusyWriter(make, tmp_path, grace)
    writer.start()
    try:
        while writer.is_alive() and writer.durable < TRIALS:
            with nullcontext() if read is read_ours else grace.reading():  # the own reader copes with deletions
                durable = writer.durable
                found = read(tmp_path)
            assert set(found) >= set(range(durable))
            assert set(found) <= set(range(writer.durable + 1))
    finally:
        writer.ending.set()
        writer.join(timeout=30)
    assert writer.failure is None and writer.durable >= TRIALS and writer.deleted > 30
    assert set(read(tmp_path)) == set(range(writer.durable))
