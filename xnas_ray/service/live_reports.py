"""Reports of searches that go on: computed again when the store has changed, and not more often than is fair."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xnas_ray.store.layout import Layout

SHARE = 0.1
"""Of the time that may be spent on computing one report again and again."""
KEPT = 8
"""Reports that are held in memory; the least recently asked one goes first."""


def files_tag(root: Path, search_ids: Sequence[str]) -> str:
    """A digest of the names of all files that a report of these searches reads.

    Files of a store never change, so equal tags mean equal rows.
    """
    layout, names = Layout(root), hashlib.blake2b(digest_size=16)
    for search_id in search_ids:
        for table, folder in [*layout.folders(search_id), ("searches", layout.table("searches"))]:
            found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            names.update("\0".join([search_id, table, *found, ""]).encode())
    return names.hexdigest()


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    tag: str = ""
    data: bytes = b""
    made_at_s: float = 0.0
    cost_s: float = 0.0


class LiveReports:
    """Reports by the searches that they show; safe to ask in any thread.

    Of those who ask for one report at the same time one computes it and the others wait for it. While a search goes on
    a report is at least nine times as old as computing it took before it is computed again.

    Args:
        make: computes the data of a report.
        tag: changes whenever the data would.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[Sequence[str]], bytes],
        tag: Callable[[Sequence[str]], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold nothing yet."""
        self._make, self._tag, self._clock = make, tag, clock
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, search_ids: Sequence[str]) -> tuple[str, bytes]:
        """The tag of a report and its data, gzipped JSON."""
        entry = self._entry(tuple(search_ids))
        with entry.lock:
            tag = self._tag(search_ids)
            begun_s = self._clock()
            rested = begun_s - entry.made_at_s >= entry.cost_s * (1 / SHARE - 1)
            if not entry.data or (tag != entry.tag and rested):
                data = self._make(search_ids)
                entry.tag, entry.data, entry.made_at_s = tag, data, self._clock()
                entry.cost_s = entry.made_at_s - begun_s
            return entry.tag, entry.data

    def _entry(self, key: tuple[str, ...]) -> _Entry:
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
            return entry
