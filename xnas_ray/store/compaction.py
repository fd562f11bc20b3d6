"""Merges small parts into larger ones, level by level, while others read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from xnas_ray.errors import StoreError, StoreFullError, StoreLockedError
from xnas_ray.store import schema
from xnas_ray.store.parts import Footer, Part, PartFile, concat, distinct, encode, list_parts
from xnas_ray.store.publisher import Publisher

FAN_IN = 16
"""Parts of one level that are merged into one of the next."""

KEEP_S = 600.0
"""How long replaced parts stay, for readers that have listed them already."""

_MOST_BYTES = 256 << 20


@dataclass(slots=True)
class CompactionReport:
    """What one compaction did.

    Attributes:
        merged: parts whose rows are in a larger one now.
        written: larger parts that were made.
        deleted: parts that had been replaced long enough.
        problems: folders that were left as they are, and why.
    """

    merged: int = 0
    written: int = 0
    deleted: int = 0
    problems: list[str] = field(default_factory=list)


class Compactor:
    """Merges parts and deletes replaced ones.

    A merged part names in its footer what it replaces, so the one rename that makes it visible also replaces the
    others: a crash before it leaves the old parts, a crash after it the new one, and either way the next compaction
    goes on from there. Rows are in old and new parts until the old ones go; readers take each once.

    Args:
        publisher: puts parts in place.
    """

    def __init__(self, publisher: Publisher) -> None:
        """Know no footer."""
        self._publisher = publisher
        self._footers: dict[Path, Footer] = {}

    def compact(self, search_id: str | None, now_s: float, *, whole: bool) -> CompactionReport:
        """Compact the tables of one search, or all; see ``StoreWriter.compact``."""
        return self._compact(self._publisher.layout.folders(search_id), now_s, whole)

    def compact_searches(self, now_s: float) -> CompactionReport:
        """Compact the table of searches; see ``StoreWriter.compact_searches``."""
        return self._compact([("searches", self._publisher.layout.table("searches"))], now_s, whole=False)

    def _compact(self, folders: Iterable[tuple[str, Path]], now_s: float, whole: bool) -> CompactionReport:
        report = CompactionReport()
        for table, folder in folders:
            try:
                self._compact_folder(folder, schema.table_of(table), now_s, whole, report)
            except (StoreFullError, StoreLockedError):
                raise
            except (StoreError, pa.ArrowException, OSError) as error:  # one bad folder must not stop the others
                report.problems.append(f"{folder}: {error}")
        return report

    def _compact_folder(
        self, folder: Path, kind: schema.Table, now_s: float, whole: bool, report: CompactionReport
    ) -> None:
        parts = list_parts(folder)
        footers = {part: self._footer(folder / str(part)) for part in parts if part.level}
        gone = self._delete_replaced(folder, parts, footers, now_s)
        report.deleted += len(gone)
        replaced = frozenset[Part]().union(*(footer.replaces for footer in footers.values()))
        present = set(parts) - gone
        live = sorted(present - replaced)
        while group := self._next_group(folder, live, whole):
            merged = self._merge(folder, kind, group, present, now_s)
            present.add(merged)
            live = sorted({*live, merged} - set(group))
            report.merged += len(group)
            report.written += 1
        if whole and present == set(live):  # a search that has ended, all merged: nobody asks for its footers again
            for part in present:
                self._footers.pop(folder / str(part), None)

    def _footer(self, path: Path) -> Footer:
        if path not in self._footers:
            self._footers[path] = PartFile(path).footer
        return self._footers[path]

    # ---- deleting -------------------------------------------------------------------------------------------------

    def _delete_replaced(
        self, folder: Path, parts: Sequence[Part], footers: dict[Part, Footer], now_s: float
    ) -> set[Part]:
        """Delete what was replaced long ago, parts of lower levels first; returns which."""
        due = {part for f in footers.values() if now_s - f.compacted_at >= KEEP_S for part in f.replaces}
        gone = sorted(due & set(parts))
        for part in gone:
            self._remove(folder, part)
        if gone:
            self._publisher.sync(folder)
        return set(gone)

    def _remove(self, folder: Path, part: Part) -> None:
        self._publisher.fence.verify()
        try:
            with contextlib.suppress(FileNotFoundError):
                self._publisher.files.remove(folder / str(part))
        except OSError as error:
            raise self._publisher.refusal(error, folder) from error
        self._footers.pop(folder / str(part), None)

    # ---- merging --------------------------------------------------------------------------------------------------

    def _next_group(self, folder: Path, live: Sequence[Part], whole: bool) -> list[Part]:
        """Parts to merge next: the lowest level that has enough, or with ``whole`` all; none when that is done."""
        levels = [live] if whole else [[p for p in live if p.level == n] for n in sorted({p.level for p in live})]
        for parts in levels:
            group = self._within_size(folder, parts)
            if len(group) >= (2 if whole else FAN_IN):
                return group
        return []

    def _within_size(self, folder: Path, parts: Iterable[Part]) -> list[Part]:
        """The first parts that together stay below the largest size; parts that are large already are left alone."""
        group, total = [], 0
        for part in parts:
            size = (folder / str(part)).stat().st_size
            if size < _MOST_BYTES // 2 and total + size <= _MOST_BYTES:
                group.append(part)
                total += size
        return group

    def _merge(self, folder: Path, kind: schema.Table, group: Sequence[Part], present: set[Part], now_s: float) -> Part:
        """Make one part of several; it also takes over what they replaced and is still there."""
        inherited = frozenset[Part]().union(*(self._footer(folder / str(p)).replaces for p in group if p.level))
        replaces = inherited.intersection(present) | frozenset(group)
        tables = [PartFile(folder / str(part)).rows(kind) for part in group]
        rows = distinct(concat(tables, kind), kind)
        data = encode(rows, kind, replaces=replaces, compacted_at=now_s)
        merged = self._publisher.publish(folder, 1 + max(part.level for part in group), data)
        self._publisher.sync(folder)
        self._footers[folder / str(merged)] = Footer(schema.SCHEMA_VERSION, replaces, now_s)
        return merged
