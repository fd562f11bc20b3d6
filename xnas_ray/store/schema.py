"""The tables: their columns, what identifies a row, and how tables of older versions are read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from xnas_ray.errors import StoreError

SCHEMA_VERSION = 1
"""Raised whenever a column is renamed or changes its meaning; kept in the metadata of every part."""

VERSION_KEY = b"xnas.schema_version"
METRIC_PREFIX = "metric_"
_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")

_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.string()


def _columns(required: dict[str, pa.DataType], optional: dict[str, pa.DataType], order: str) -> pa.Schema:
    """A schema in the given order of names; rows may leave optional columns null.

    In files every column is nullable, so that a column that older parts lack can be read as null.
    """
    fields = {n: pa.field(n, t, nullable=False) for n, t in required.items()}
    fields |= {n: pa.field(n, t) for n, t in optional.items()}
    return pa.schema([fields[name] for name in order.split()])


_TRIALS = _columns(
    required={
        **dict.fromkeys(("trial", "epoch", "attempts", "fidelity", "schedule_epochs", "replicate"), pa.int32()),
        **dict.fromkeys(("seq", "train_seed"), pa.int64()),
        **dict.fromkeys(("status", "task", "task_hash", "space", "key", "architecture"), _TEXT),
        **dict.fromkeys(("recipe", "origin", "environment"), _TEXT),
        "genotype": pa.list_(pa.int32()),
        **dict.fromkeys(("asked_at", "finished_at"), _TIME),
        "duration_s": pa.float64(),
    },
    optional={
        **dict.fromkeys(("attempt_epoch", "attempt"), pa.int32()),
        **dict.fromkeys(("reused_from", "worker", "node", "artifacts"), _TEXT),
        **dict.fromkeys(("failure_kind", "failure_type", "failure_message", "failure_log"), _TEXT),
        "started_at": _TIME,
    },
    order="trial epoch seq status attempt_epoch attempt attempts reused_from task task_hash space key genotype "
    "architecture recipe fidelity schedule_epochs replicate train_seed origin asked_at started_at finished_at "
    "duration_s worker node environment failure_kind failure_type failure_message failure_log artifacts",
)

_LOG = _columns(
    required={
        "epoch": pa.int32(),
        "seq": pa.int64(),
        "trial": pa.int32(),
        "state": _TEXT,
        "at": _TIME,
        "detail": _TEXT,
    },
    optional={
        **dict.fromkeys(("attempt_epoch", "attempt", "told_epoch"), pa.int32()),
        "told_through": pa.int64(),
        "duration_s": pa.float64(),
        "candidate": _TEXT,
    },
    order="epoch seq trial state attempt_epoch attempt at duration_s told_epoch told_through candidate detail",
)

_SEARCHES = _columns(
    required={"search_id": _TEXT, "epoch": pa.int32(), "seq": pa.int64(), "at": _TIME, "state": _TEXT, "reason": _TEXT},
    optional=dict.fromkeys(("name", "task", "controller", "spec", "summary", "idempotency_key", "submitted_by"), _TEXT),
    order="search_id epoch seq at state reason name task controller spec summary idempotency_key submitted_by",
)

_CURVES = _columns(
    required={
        **dict.fromkeys(("trial", "attempt_epoch", "attempt", "epoch"), pa.int32()),
        "metric": _TEXT,
        "value": pa.float64(),
    },
    optional={},
    order="trial attempt_epoch attempt epoch metric value",
)

_EXPLANATIONS = _columns(
    required={"written_epoch": pa.int32(), "written_seq": pa.int64(), "written_row": pa.int64()},
    optional={},
    order="written_epoch written_seq written_row",
)


@dataclass(frozen=True, slots=True)
class Table:
    """What holds for every part of one table.

    Attributes:
        name: of the table, and of its folder.
        schema: the columns that every part has; ``search_id`` of a partitioned table is in the folder's name only,
            because pandas and pyarrow refuse a column that is in both.
        key: columns that identify a row within a partition; of several rows with one key the last counts.
        order: columns by which rows are sorted.
        open_columns: whether other columns are kept as they come; of trials only ``metric_<name>`` are.
    """

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    order: tuple[str, ...]
    open_columns: bool = False

    def keeps(self, column: str) -> bool:
        """Whether a column that is not in the schema belongs to the table."""
        return self.open_columns or (self.name == "trials" and column.startswith(METRIC_PREFIX))


POSITION = ("epoch", "seq")
TRIALS = Table("trials", _TRIALS, key=("trial",), order=POSITION)
LOG = Table("log", _LOG, key=POSITION, order=POSITION)
SEARCHES = Table("searches", _SEARCHES, key=POSITION, order=POSITION)
CURVES = Table("curves", _CURVES, key=tuple(_CURVES.names[:5]), order=tuple(_CURVES.names[:5]))
EXPLANATIONS = Table(
    "explanations", _EXPLANATIONS, key=tuple(_EXPLANATIONS.names), order=tuple(_EXPLANATIONS.names), open_columns=True
)


def table_of(name: str) -> Table:
    """The table of a name such as ``"trials"`` or ``"explanations/motifs"``."""
    return {t.name: t for t in (TRIALS, LOG, SEARCHES, CURVES, EXPLANATIONS)}[name.partition("/")[0]]


# --------------------------------------------------------------------------------------------------------------------
# Metrics: columns that come and go
# --------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def file_schema(table: str, metrics: tuple[str, ...] = ()) -> pa.Schema:
    """The schema of a part, all of it nullable; trials with these metrics have a double ``metric_<name>`` each.

    Raises:
        StoreError: a name that cannot be a column, or two that SQL, which ignores case, would take for one.
    """
    check_metric_names(metrics)
    core = [field.with_nullable(True) for field in table_of(table).schema]
    return pa.schema(core + [pa.field(METRIC_PREFIX + name, pa.float64()) for name in metrics])


@functools.lru_cache(maxsize=1024)
def check_metric_names(names: tuple[str, ...]) -> None:
    """Refuse names of metrics that cannot be columns; what ``file_schema`` raises."""
    for name in names:
        if not isinstance(name, str) or not _METRIC.fullmatch(name):
            raise StoreError(
                f"{name!r} cannot name a metric.",
                field=METRIC_PREFIX + str(name),
                fix="Use letters, digits, underscores and dots, a letter first.",
            )
    if len({name.casefold() for name in names}) < len(names):
        raise StoreError("metric names differ in their case only.", field="metrics", valid=names)


# --------------------------------------------------------------------------------------------------------------------
# Versions
# --------------------------------------------------------------------------------------------------------------------

Upgrade = Callable[[pa.Table], pa.Table]

UPGRADES: dict[tuple[str, int], Upgrade] = {}
"""``(table, version)`` -> what makes a table of that version one of the next; steps that change nothing are absent."""


def upgrade(table: pa.Table, name: str, version: int) -> pa.Table:
    """A table as today's version has it, one version at a time.

    Args:
        table: as it was read.
        name: of the table (``"trials"``).
        version: of the schema with which it was written.

    Raises:
        StoreError: a newer version than this package knows.
    """
    if not 1 <= version <= SCHEMA_VERSION:
        raise StoreError(
            f"{name} has schema version {version}, this xnas-ray reads 1 to {SCHEMA_VERSION}.",
            field="schema_version",
            fix="Install the newer xnas-ray that wrote it.",
        )
    for step in range(version, SCHEMA_VERSION):
        table = UPGRADES.get((name, step), _unchanged)(table)
    return table


def _unchanged(table: pa.Table) -> pa.Table:
    return table


def conform(table: pa.Table, kind: Table, columns: Iterable[str] | None = None) -> pa.Table:
    """A table with the columns of its kind, in order and of the right types; absent ones are null.

    Args:
        table: of today's version, from one or more parts.
        kind: which table it is.
        columns: only these, None for all; other columns than the schema's follow, sorted by name.
    """
    wanted = None if columns is None else set(columns)
    present = set(table.column_names)
    names, arrays = [], []
    for field in kind.schema:
        if wanted is None or field.name in wanted:
            names.append(field.name)
            found = table.column(field.name) if field.name in present else pa.nulls(table.num_rows, field.type)
            arrays.append(found if found.type.equals(field.type) else found.cast(field.type))
    for name in sorted(present - set(kind.schema.names)):
        if kind.keeps(name) and (wanted is None or name in wanted):
            names.append(name)
            arrays.append(table.column(name))
    return pa.table(arrays, names=names) if names else table.select([])
