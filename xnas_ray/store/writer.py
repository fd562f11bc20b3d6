"""The one writer of a store: rows are appended to memory and made durable in groups."""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xnas_ray.errors import StoreError, StoreFullError, StoreLockedError
from xnas_ray.store import schema
from xnas_ray.store.columns import check_row, table_of_row, to_arrow
from xnas_ray.store.compaction import CompactionReport, Compactor
from xnas_ray.store.explanations import as_arrow, stamped
from xnas_ray.store.fence import Clock, Fence
from xnas_ray.store.files import Files
from xnas_ray.store.layout import EXPLANATIONS, Layout, check_kind, check_search_id
from xnas_ray.store.parts import encode
from xnas_ray.store.publisher import Publisher
from xnas_ray.store.rows import Row, TrialRow

if TYPE_CHECKING:
    import pandas as pd

Partition = tuple[str, str | None]
"""(table, search id); ``searches`` is one partition without an id."""

# Within a commit: what a trial came from before the trial, and the trials of a search before its end.
_ORDER = {"log": 0, "curves": 1, EXPLANATIONS: 2, "trials": 3, "searches": 4}


class StoreWriter:
    """Appends rows and commits them; every method may be called from any thread.

    Attributes:
        epoch: number of this writer; rows carry it.
        layout: paths of the store.
    """

    def __init__(self, layout: Layout, fence: Fence, clock: Clock, files: Files) -> None:
        """Used by ``open``."""
        self.layout = layout
        self.epoch = fence.epoch
        self._fence = fence
        self._clock = clock
        self._publisher = Publisher(layout, fence, files)
        self._compactor = Compactor(self._publisher)
        self._seq = itertools.count()
        self._buffers: dict[Partition, list[Any]] = {}
        self._spellings: dict[tuple[str, str], str] = {}
        self._buffer_lock = threading.Lock()
        self._commit_lock = threading.Lock()
        self._compact_lock = threading.Lock()
        self._unsynced: dict[Path, int] = {}  # folders whose last rename may not be durable -> rows in it
        self._synced_rows = 0  # durable rows that no commit has reported yet
        self._ended: StoreError | None = None

    @classmethod
    def open(
        cls, root: Path | str, *, take_over: bool = False, clock: Clock = time.time, files: Files | None = None
    ) -> StoreWriter:
        """Become the writer of a store, made if it does not exist.

        Args:
            root: folder of the store.
            take_over: also from a writer that seems alive; that one never writes again.
            clock: UNIX seconds.
            files: system calls, replaced in tests.

        Raises:
            StoreLockedError: another writer holds the store; the message says who and how old its heartbeat is.
            StoreFullError: the folder cannot be written.
        """
        layout, calls = Layout(root), files or Files()
        try:
            layout.root.mkdir(parents=True, exist_ok=True)
            for folder in (layout.writers, layout.temporary):
                calls.make_folder(folder)
            calls.sync_folder(layout.root)
            fence = Fence.take(layout, take_over=take_over, clock=clock, files=calls)
        except OSError as error:
            raise StoreFullError(
                f"cannot open {layout.root} for writing: {error.strerror or error}.",
                field="store",
                fix="Choose a folder on a disk that is writable and has space.",
            ) from error
        return cls(layout, fence, clock, calls)

    # ---- appending ------------------------------------------------------------------------------------------------

    def next_seq(self) -> int:
        """The next position in this epoch, from 0."""
        return next(self._seq)

    def append(self, rows: Row | Iterable[Row]) -> None:
        """Buffer a row, or several: all of them or, if one is refused, none.

        Raises:
            StoreError: a row does not fit its table (see ``rows.check_row``), or the writer is closed.
            StoreLockedError: another writer took over.
        """
        self._refuse_ended()
        given = tuple(rows) if isinstance(rows, Iterable) else (rows,)
        for row in given:
            check_row(row)
        with self._buffer_lock:
            for row in given:
                if type(row) is TrialRow:
                    self._check_spelling(row)
            for row in given:
                table = table_of_row(row)
                partition = (table, None if table == "searches" else row.search_id)
                self._buffers.setdefault(partition, []).append(row)

    def _check_spelling(self, row: TrialRow) -> None:
        """SQL ignores case: a search must not have both ``metric_acc`` and ``metric_Acc``."""
        for name in row.metrics:
            known = self._spellings.setdefault((row.search_id, name.casefold()), name)
            if known != name:
                raise StoreError(f"the search has a metric {known!r} already.", field=schema.METRIC_PREFIX + name)

    def append_explanation(self, kind: str, search_id: str, table: pa.Table | pd.DataFrame) -> None:
        """Buffer a table of explanations.

        It replaces, for readers, what was written of this kind for the search before; if it has a column ``trial``,
        only what was written for these trials. A table without rows replaces nothing.

        Args:
            kind: names the kind (``"motifs"``).
            search_id: its search.
            table: any columns but ``written_epoch``, ``written_seq`` and ``written_row``.

        Raises:
            StoreError: a malformed kind or id, a column that Arrow cannot hold, or the writer is closed.
            StoreLockedError: another writer took over.
        """
        self._refuse_ended()
        partition = (f"{EXPLANATIONS}/{check_kind(kind)}", check_search_id(search_id))
        explanation = stamped(as_arrow(table, kind, search_id), self.epoch, self.next_seq())
        if explanation.num_rows:
            with self._buffer_lock:
                self._buffers.setdefault(partition, []).append(explanation)

    def pending_rows(self) -> int:
        """Rows that are appended but not durable."""
        with self._buffer_lock:
            return sum(map(_rows_of, self._buffers.values())) + sum(self._unsynced.values())

    # ---- committing -----------------------------------------------------------------------------------------------

    def commit(self) -> int:
        """Make every row durable that was appended before the call; returns how many became so.

        One part a partition. If the system refuses, all rows that are not durable stay buffered for the next commit,
        and none is written twice.

        Raises:
            StoreFullError: the disk is full or the folder not writable.
            StoreLockedError: another writer took over; nothing is ever written again.
        """
        with self._commit_lock:
            self._refuse_ended()
            with self._buffer_lock:
                taken, self._buffers = self._buffers, {}
            try:
                self._write(taken)
            except StoreLockedError as error:
                self._ended = error
                raise
            finally:
                self._give_back(taken)
            done, self._synced_rows = self._synced_rows, 0
            return done

    def _write(self, taken: dict[Partition, list[Any]]) -> None:
        """Write the partitions; those that are durable are removed from ``taken``."""
        for folder in list(self._unsynced):
            self._sync(folder)
        for partition in sorted(taken, key=lambda p: (_ORDER[p[0].partition("/")[0]], p)):
            table, search_id = partition
            folder = self.layout.table(table, search_id)
            while taken[partition]:
                batch, entries = _batch(taken[partition])
                self._publisher.publish(folder, 0, encode(batch, schema.table_of(table)))
                with self._buffer_lock:
                    self._unsynced[folder] = self._unsynced.get(folder, 0) + batch.num_rows
                    del taken[partition][:entries]
            self._sync(folder)

    def _sync(self, folder: Path) -> None:
        self._publisher.sync(folder)
        with self._buffer_lock:
            self._synced_rows += self._unsynced.pop(folder)

    def _give_back(self, taken: dict[Partition, list[Any]]) -> None:
        with self._buffer_lock:
            for partition, rows in taken.items():
                if rows:
                    self._buffers[partition] = rows + self._buffers.get(partition, [])

    # ---- keeping the store ----------------------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """Say that this writer lives; cheap, to be called every few seconds.

        Raises:
            StoreLockedError: another writer took over.
            StoreFullError: the folder is not writable.
        """
        self._refuse_ended()
        with self._ending():
            self._fence.heartbeat()

    def compact(
        self, search_id: str | None = None, *, now: float | None = None, whole: bool = False
    ) -> CompactionReport:
        """Merge small parts, and delete those that were replaced at least ten minutes ago.

        Args:
            search_id: only this search's tables, None for every table of the store.
            now: UNIX seconds, None for the writer's clock.
            whole: merge every table into as few parts as possible, for a search that ended.

        Raises:
            StoreLockedError: another writer took over.
            StoreFullError: the disk is full; what was there stays readable.
        """
        with self._compacting():
            return self._compactor.compact(search_id, self._clock() if now is None else now, whole=whole)

    def compact_searches(self, *, now: float | None = None) -> CompactionReport:
        """The same for the table of searches alone, which every listing reads.

        Args:
            now: UNIX seconds, None for the writer's clock.

        Raises:
            StoreLockedError: another writer took over.
            StoreFullError: the disk is full; what was there stays readable.
        """
        with self._compacting():
            return self._compactor.compact_searches(self._clock() if now is None else now)

    def close(self) -> None:
        """Commit, and give the store back. Closing twice does nothing.

        Raises:
            StoreFullError: rows could not be made durable; the writer stays open.
            StoreLockedError: another writer took over.
        """
        if self._ended is not None and not isinstance(self._ended, StoreLockedError):
            return
        with self._compact_lock:
            self.commit()
            with self._ending():
                try:
                    self._fence.close()
                except OSError as error:
                    raise self._publisher.refusal(error, self.layout.writers) from error
            self._ended = StoreError("this writer is closed.", field="store", fix="Open the store again.")

    def __enter__(self) -> StoreWriter:
        """Return the writer itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error the store is given back only if that works."""
        if error is None:
            self.close()
            return
        with contextlib.suppress(StoreError):
            self.close()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Remember that another writer took over."""
        try:
            yield
        except StoreLockedError as error:
            self._ended = error
            raise

    @contextlib.contextmanager
    def _compacting(self) -> Iterator[None]:
        """One compaction at a time, by a writer that still is one."""
        with self._compact_lock:
            self._refuse_ended()
            with self._ending():
                yield

    def _refuse_ended(self) -> None:
        if self._ended is not None:
            raise copy.copy(self._ended)


# --------------------------------------------------------------------------------------------------------------------
# Buffers to tables
# --------------------------------------------------------------------------------------------------------------------


def _rows_of(buffered: Sequence[Any]) -> int:
    return sum(entry.num_rows if isinstance(entry, pa.Table) else 1 for entry in buffered)


def _batch(buffered: Sequence[Any]) -> tuple[pa.Table, int]:
    """The first entries of a buffer that one part can take, as a table, and how many entries they are."""
    first = buffered[0]
    if not isinstance(first, pa.Table):
        return to_arrow(buffered), len(buffered)
    alike = list(itertools.takewhile(lambda table: table.schema.equals(first.schema), buffered))
    return pa.concat_tables(alike), len(alike)
