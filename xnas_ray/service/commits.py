"""Group commit: rows become durable in the background, and whoever waits is told in the order of the rows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from xnas_ray.errors import StoreFullError, StoreLockedError
from xnas_ray.service.memory import give_back
from xnas_ray.store.compaction import KEEP_S
from xnas_ray.store.writer import StoreWriter

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
RETRY_S = 5.0
SEARCHES_EVERY_S = 5.0
"""How often the table of searches is compacted, which everybody lists: a busy queue adds ten parts a second to it."""


class Commits:
    """Commits the writer's rows, at most one commit at a time and none more often than every ``interval_s``.

    The first row after a quiet time is committed at once (a trial of minutes must not wait), rows that come quickly
    are grouped (a commit costs milliseconds, whatever it holds).

    Args:
        writer: the fenced writer.
        interval_s: least seconds between the starts of two commits.
        on_full: called with the message when the disk is full; rows stay and are tried again.
        on_space: called when the store can be written again.
        on_fenced: called with the message when another writer has taken the store.
        live: ids of the searches whose parts are compacted from time to time.
    """

    def __init__(
        self,
        writer: StoreWriter,
        *,
        on_full: Callable[[str], None],
        on_fenced: Callable[[str], None],
        on_space: Callable[[], None],
        live: Callable[[], list[str]],
        interval_s: float = 0.05,
        compact_every_s: float = 30.0,
    ) -> None:
        """Nothing runs before ``start``."""
        self.writer = writer
        self._interval_s = interval_s
        self._compact_every_s = compact_every_s
        self._on_full = on_full
        self._on_fenced = on_fenced
        self._live = live
        self._on_space = on_space
        self._full = False
        self._waiting: list[Callable[[], None]] = []
        self._ended: list[str] = []
        self._merged: deque[tuple[float, str]] = deque()
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="xnas-store")  # compaction never delays a commit
        self._tasks: list[asyncio.Task[None]] = []
        self.fenced = False

    def start(self) -> None:
        """Begin to commit, to beat and to compact."""
        self._tasks = [asyncio.create_task(job()) for job in (self._commit_loop, self._beat_loop, self._compact_loop)]

    def append(self, rows: Any, when_durable: Callable[[], None] | None = None, *, lazy: bool = False) -> None:
        """Buffer rows; ``when_durable`` is called in the event loop once they are on disk.

        Lazy rows ride along with the next commit and cause none.
        """
        self.writer.append(rows)
        if when_durable is not None:
            self._waiting.append(when_durable)
        if not lazy:
            self._mark_dirty()

    def append_explanation(self, kind: str, search_id: str, table: Any) -> None:
        """Buffer a table and commit it soon: a supernet may train for hours in which no row would take it along."""
        self.writer.append_explanation(kind, search_id, table)
        self._mark_dirty()

    async def flush(self) -> None:
        """Wait until everything appended so far is durable."""
        if self.writer.pending_rows() or self._waiting:
            self._mark_dirty()
        await self._idle.wait()

    def finish(self, search_id: str) -> None:
        """A search has ended: merge its parts into one, in the background, and delete what that replaced later."""
        self._ended.append(search_id)

    async def close(self) -> None:
        """Commit what is left, release the fence."""
        if not self.fenced:
            await self.flush()
        for task in self._tasks:
            task.cancel()
        if not self.fenced:
            with contextlib.suppress(StoreFullError):  # the next service merges what is left
                for search_id in self._ended:
                    await self._in_pool(partial(self.writer.compact, search_id, whole=True))
                await self._in_pool(self.writer.compact_searches)
            await self._in_pool(self.writer.close)
        self._pool.shutdown(wait=True)

    def _mark_dirty(self) -> None:
        self._idle.clear()
        self._dirty.set()

    async def _in_pool(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    async def _commit_loop(self) -> None:
        while not self.fenced:
            await self._dirty.wait()
            self._dirty.clear()
            started = time.monotonic()
            waiting, self._waiting = self._waiting, []
            try:
                await self._in_pool(self.writer.commit)
            except StoreFullError as error:
                self._waiting = waiting + self._waiting
                self._full = True
                self._on_full(str(error))
                await asyncio.sleep(RETRY_S)
                self._dirty.set()
                continue
            except StoreLockedError as error:
                self._fence(str(error))
                return
            if self._full:
                self._full = False
                self._on_space()
            for tell in waiting:
                tell()
            if not self._dirty.is_set():
                self._idle.set()
            await asyncio.sleep(max(0.0, self._interval_s - (time.monotonic() - started)))

    async def _beat_loop(self) -> None:
        while not self.fenced:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                await self._in_pool(self.writer.heartbeat)
            except StoreLockedError as error:
                self._fence(str(error))
            except (StoreFullError, OSError) as error:
                log.warning("the store's heartbeat failed: %s", error)

    async def _compact_loop(self) -> None:
        due_s = time.monotonic() + self._compact_every_s
        while not self.fenced:
            await asyncio.sleep(min(SEARCHES_EVERY_S, self._compact_every_s))
            try:
                await self._in_pool(self.writer.compact_searches)
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + self._compact_every_s
                    await self._compact_tables()
                    await self._in_pool(give_back)
            except StoreLockedError as error:
                self._fence(str(error))
            except (StoreFullError, OSError) as error:
                log.warning("compaction waits: %s", error)

    async def _compact_tables(self) -> None:
        for search_id in self._live():
            await self._in_pool(self.writer.compact, search_id)
        while self._ended:
            await self._in_pool(partial(self.writer.compact, self._ended[0], whole=True))
            self._merged.append((time.monotonic() + KEEP_S, self._ended.pop(0)))
        while self._merged and self._merged[0][0] <= time.monotonic():
            await self._in_pool(partial(self.writer.compact, self._merged[0][1], whole=True))
            self._merged.popleft()

    def _fence(self, message: str) -> None:
        if not self.fenced:
            self.fenced = True
            self._on_fenced(message)
