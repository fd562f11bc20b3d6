"""Official benchmark files into Parquet tables that ``TabularTask`` reads, without running what the files contain."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xnas_ray.benchmarks.nasbench101_files import nasbench101_rows
from xnas_ray.benchmarks.nats_files import nasbench201_rows, natsbench_rows
from xnas_ray.errors import DataMissingError, TableError, UnknownNameError

Row = dict[str, object]

KINDS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "nasbench101": nasbench101_rows,
    "nasbench201": nasbench201_rows,
    "natsbench": natsbench_rows,
}
"""Readers by kind of benchmark; each gives one row an architecture."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote.

    Attributes:
        kind: which benchmark it was.
        source: the file or folder that was read.
        out: the table.
        rows: number of architectures.
        columns: names of the table's columns.
        incomplete: number of architectures with at least one value missing.
    """

    kind: str
    source: Path
    out: Path
    rows: int
    columns: tuple[str, ...]
    incomplete: int


def import_table(source: str | Path, kind: str | None, out: str | Path) -> ImportReport:
    """Convert a benchmark's official file or folder into one Parquet table.

    Files are treated as hostile: pickles may hold plain data only, torch files are read by ``weights_only``, and
    TFRecords are checked by their checksums. The table appears whole or not at all, replacing an older one.

    Args:
        source: ``NAS-Bench-201-*.pth`` or its archive folder, ``NATS-*.pickle.pbz2`` or its folder, or
            ``nasbench_*.tfrecord``.
        kind: ``"nasbench201"``, ``"natsbench"`` or ``"nasbench101"``; None tells by the name.
        out: the table to write.

    Raises:
        DataMissingError: there is no such source.
        UnknownNameError: no such kind.
        TableError: the source is unsafe, damaged or of another layout, or the table cannot be written.
    """
    source, out = Path(source), Path(out)
    if not source.exists():
        raise DataMissingError(f"there is no file or folder {source}.", field="source")
    kind = kind or detect_kind(source)
    if kind not in KINDS:
        raise UnknownNameError(f"there is no importer {kind!r}.", field="kind", got=kind, valid=KINDS)
    rows = list(KINDS[kind](source))
    if not rows:
        raise TableError("there is no architecture in it.", field=str(source))
    table = _table(rows)
    _write(table.replace_schema_metadata({"xnas.kind": kind, "xnas.source": source.name}), out)
    incomplete = sum(any(_missing(row.get(name)) for name in table.column_names) for row in rows)
    return ImportReport(kind, source, out, len(rows), tuple(table.column_names), incomplete)


def detect_kind(source: Path) -> str:
    """The benchmark that a file or folder belongs to, by its names.

    Raises:
        UnknownNameError: the names tell nothing.
    """
    names = [path.name for path in source.iterdir()] if source.is_dir() else [source.name]
    for suffix, kind in ((".pth", "nasbench201"), (".pickle.pbz2", "natsbench"), (".tfrecord", "nasbench101")):
        if any(name.endswith(suffix) for name in names):
            return kind
    raise UnknownNameError(
        f"{source.name!r} does not tell which benchmark it is.", field="kind", fix="Give the kind.", valid=KINDS
    )


def _table(rows: list[Row]) -> pa.Table:
    """Columns in order of first appearance; what a row lacks is null."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _missing(value: object) -> bool:
    return value is None or value != value


def _write(table: pa.Table, out: Path) -> None:
    """Write beside, then rename: readers see the old table or the new one."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part, compression="zstd")
        part.replace(out)
    except OSError as error:
        raise TableError(f"the table cannot be written: {error}", field=str(out)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
