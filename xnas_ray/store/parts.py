"""A table is a folder of parts: whole Parquet files that never change. How they are named, encoded and read."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xnas_ray.errors import StoreError
from xnas_ray.store import schema
from xnas_ray.store.layout import Layout
from xnas_ray.store.schema import SCHEMA_VERSION, VERSION_KEY, Table

REPLACES_KEY = b"xnas.replaces"
COMPACTED_KEY = b"xnas.compacted_at"
_NAME = re.compile(r"part-(\d+)-(\d+)-(\d+)\.parquet")
_VANISHED_RETRIES = 20
_ROW_GROUP = 1 << 16


class Part(NamedTuple):
    """Name of a part; parts sort by how often their rows were merged, then by age.

    Attributes:
        level: 0 as committed, n + 1 when merged from parts of level n.
        epoch: of the writer that made it.
        number: counts the parts of that writer.
    """

    level: int
    epoch: int
    number: int

    def __str__(self) -> str:
        return f"part-{self.level}-{self.epoch:06d}-{self.number:08d}.parquet"

    @classmethod
    def parse(cls, name: str) -> Part | None:
        """The part of a file name, None for other files."""
        match = _NAME.fullmatch(name)
        return cls(*map(int, match.groups())) if match else None


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part says about itself.

    Attributes:
        version: of the schema.
        replaces: parts whose rows it has too, directly or through other parts; they are deleted some minutes later.
        compacted_at: when it replaced them, UNIX seconds; NaN for a part as committed.
    """

    version: int
    replaces: frozenset[Part]
    compacted_at: float


def list_parts(folder: Path) -> list[Part]:
    """Parts in a folder, sorted; none if there is no such folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names are all that is needed)
    except FileNotFoundError:
        return []
    return sorted(part for part in map(Part.parse, names) if part is not None)


# --------------------------------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------------------------------


def encode(
    table: pa.Table, kind: Table, *, replaces: Iterable[Part] = (), compacted_at: float | None = None
) -> memoryview:
    """The bytes of a part.

    Parts as committed are small and live for minutes: no dictionaries, statistics or second schema, which would take
    most of the time and space [20 rows of trials: 0.8 ms and 6 kB, against 2.1 ms and 12 kB]. Merged ones have all.

    Args:
        table: its rows.
        kind: which table it belongs to.
        replaces: parts that it merges.
        compacted_at: when, UNIX seconds; None for a part as committed.
    """
    metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode()}
    if compacted_at is not None:
        metadata[REPLACES_KEY] = json.dumps([str(part) for part in sorted(replaces)]).encode()
        metadata[COMPACTED_KEY] = repr(compacted_at).encode()
    merged = compacted_at is not None
    table = table.replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd" if merged else "snappy",
        use_dictionary=merged,
        write_statistics=merged,
        store_schema=kind.open_columns,  # what a foreign table's types were; ours are known
    ) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)
        writer.add_key_value_metadata(metadata)
    return memoryview(sink.getvalue())


# --------------------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------------------


class PartFile:
    """An open part.

    Args:
        path: of the part.

    Attributes:
        footer: what it says about itself.

    Raises:
        FileNotFoundError: it was compacted away meanwhile.
        StoreError: the file is damaged or no part.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer."""
        self._path = path
        with _damage_named(path):
            self._file = pq.ParquetFile(pa.OSFile(str(path)))  # a path would be looked up in filesystems first
        self.footer = self._read_footer()

    def _read_footer(self) -> Footer:
        metadata = self._file.metadata.metadata or {}
        try:
            names = json.loads(metadata.get(REPLACES_KEY, b"[]"))
            replaces = frozenset(part for part in map(Part.parse, names) if part is not None)
            compacted_at = float(metadata.get(COMPACTED_KEY, b"nan"))
            return Footer(int(metadata[VERSION_KEY]), replaces, compacted_at)
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(
                f"{self._path} was not written by xnas-ray: it has no schema version.",
                field="store",
                fix="Move it out of the store.",
            ) from error

    def rows(self, kind: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """Its rows in today's schema, the columns not yet conformed.

        Args:
            kind: which table it belongs to.
            columns: only these, where the part has them.

        Raises:
            FileNotFoundError: it was compacted away meanwhile.
            StoreError: the file is damaged, or a newer version wrote it.
        """
        present: list[str] | None = None
        if columns is not None and self.footer.version == SCHEMA_VERSION:
            known = set(self._file.schema_arrow.names)
            present = [name for name in columns if name in known]
        # An older part is read whole: the columns that are asked for may still have other names in it.
        with _damage_named(self._path):
            table = self._file.read(columns=present, use_threads=False)
        return schema.upgrade(table, kind.name, self.footer.version)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}.",
            field="store",
            fix="Check its permissions. If it is damaged, restore it, or move it out of the store: its rows are lost,"
            " and trials that have no other row are run again when the search goes on.",
        ) from error


class PartReader:
    """Reads one folder of parts, each once; parts that were replaced by others are left out.

    Args:
        folder: of the table or partition.
        kind: which table.
        columns: only these.
    """

    def __init__(self, folder: Path, kind: Table, columns: Sequence[str] | None = None) -> None:
        """Nothing is read yet."""
        self._folder = folder
        self._kind = kind
        self._columns = columns
        self._seen: dict[Part, frozenset[Part]] = {}

    def read_new(self) -> list[pa.Table]:
        """Tables of the parts that appeared since the last call, oldest first.

        Raises:
            StoreError: a part is damaged, or parts keep vanishing.
        """
        for _ in range(_VANISHED_RETRIES):
            try:
                return self._read_new()
            except FileNotFoundError:  # compacted away after it was listed: list again
                continue
        raise StoreError(f"parts of {self._folder} vanish while they are read.", fix="Stop whatever deletes them.")

    def _read_new(self) -> list[pa.Table]:
        tables: dict[Part, pa.Table] = {}
        seen = dict(self._seen)
        replaced: set[Part] = set().union(*seen.values())
        for part in reversed(list_parts(self._folder)):  # merged ones first: they say what they replace
            if part in seen:
                continue
            seen[part] = frozenset()
            if part not in replaced:
                file = PartFile(self._folder / str(part))
                seen[part] = file.footer.replaces
                replaced |= seen[part]
                if not (seen[part] and seen[part] <= self._seen.keys()):
                    tables[part] = file.rows(self._kind, self._columns)
        self._seen = seen
        return [tables[part] for part in sorted(tables)]


def read_table(
    layout: Layout, table: str, search_ids: Sequence[str | None], columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of a table in today's schema, each once, sorted within a partition.

    Args:
        layout: of the store.
        table: name of the table.
        search_ids: partitions, in order; ``[None]`` for ``searches``.
        columns: only these, None for all; ``search_id`` is the first column of a partitioned table in any case.

    Raises:
        StoreError: a part is damaged.
    """
    kind = schema.table_of(table)
    needed = None if columns is None else [*columns, *(c for c in (*kind.key, *kind.order) if c not in columns)]
    partitions = []
    for search_id in search_ids:
        tables = PartReader(layout.table(table, search_id), kind, needed).read_new()
        if tables:
            rows = distinct(concat(tables, kind, needed), kind)
            partitions.append(rows if search_id is None else add_search_id(rows, search_id))
    if not partitions:
        empty = kind.schema.empty_table() if needed is None else _empty(kind, needed)
        return empty if search_ids == [None] else add_search_id(empty, None)
    return pa.concat_tables(partitions, promote_options="permissive")


def _empty(kind: Table, columns: Sequence[str]) -> pa.Table:
    """No rows of these columns."""
    return schema.conform(kind.schema.empty_table(), kind, columns)


def concat(tables: Sequence[pa.Table], kind: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of several parts under one schema: columns that some parts lack are null there."""
    return schema.conform(pa.concat_tables(tables, promote_options="permissive"), kind, columns)


def distinct(table: pa.Table, kind: Table) -> pa.Table:
    """One row a key, the last in the order of the table's ``order`` columns; sorted by them."""
    table = table.sort_by([(name, "ascending") for name in kind.order])
    numbered = table.select(kind.key).append_column("_row", pa.array(range(table.num_rows), pa.int64()))
    last = numbered.group_by(list(kind.key), use_threads=False).aggregate([("_row", "max")]).column("_row_max")
    return table if len(last) == table.num_rows else table.take(last.take(pc.sort_indices(last)))


def add_search_id(table: pa.Table, search_id: str | None) -> pa.Table:
    """The table with its partition's id as the first column."""
    ids = pa.repeat(pa.scalar(search_id, pa.string()), table.num_rows)
    return table.add_column(0, pa.field("search_id", pa.string()), ids)
