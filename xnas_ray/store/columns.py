"""Rows to columns: what a row must satisfy when it is appended, and the Arrow table of many."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from xnas_ray.errors import StoreError
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.store import schema
from xnas_ray.store.layout import check_search_id
from xnas_ray.store.rows import CurveRow, LogRow, Row, SearchRow, TrialRow

_TABLES: dict[type, schema.Table] = {
    TrialRow: schema.TRIALS,
    LogRow: schema.LOG,
    SearchRow: schema.SEARCHES,
    CurveRow: schema.CURVES,
}

# --------------------------------------------------------------------------------------------------------------------
# Checking rows
# --------------------------------------------------------------------------------------------------------------------

_STATUSES = tuple(map(str, TrialStatus))
_FAILURE_KINDS = (None, *map(str, FailureKind))
_STATES = ("submitted", *map(str, SearchState))
_LATEST_S = 253402300799  # the last second of the year 9999, the last that datetime knows


def table_of_row(row: Row) -> str:
    """Name of the table that a row belongs to."""
    return _TABLES[type(row)].name


def check_row(row: Row) -> None:
    """Refuse what could not be written, while the caller still knows where it came from.

    Raises:
        StoreError: naming the field: no row, a null or a value that does not fit its column, a metric that is not
            finite or whose name cannot be a column, a malformed search id.
    """
    checks = _CHECKS.get(type(row))
    if checks is None:
        raise StoreError(f"{type(row).__name__} is not a row.", valid=[kind.__name__ for kind in _TABLES])
    check_search_id(row.search_id)
    for name, fits in checks:
        value = getattr(row, name)
        try:
            fine = fits(value)
        except (TypeError, ValueError, OverflowError):
            fine = False
        if not fine:
            raise StoreError(f"{value!r} does not fit into this column.", field=f"{type(row).__name__}.{name}")
    if type(row) is TrialRow:
        schema.check_metric_names(tuple(row.metrics))
        _check_word("TrialRow.status", row.status, _STATUSES)
        _check_word("TrialRow.failure_kind", row.failure_kind, _FAILURE_KINDS)
    elif type(row) is SearchRow:
        _check_word("SearchRow.state", row.state, _STATES)
    elif type(row) is LogRow and row.state == "asked" and row.candidate is None:
        raise StoreError("an asked row has the candidate.", field="LogRow.candidate")


def _check_word(name: str, word: str | None, valid: tuple[str | None, ...]) -> None:
    if word not in valid:
        raise StoreError("no such value.", field=name, got=word, valid=[known for known in valid if known])


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_int32(value: Any) -> bool:
    return -(2**31) <= operator.index(value) < 2**31


def _is_int64(value: Any) -> bool:
    return -(2**63) <= operator.index(value) < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(float(value), float)


def _is_time(value: Any) -> bool:
    return 0 <= value <= _LATEST_S


def _are_int32(value: Any) -> bool:
    return all(map(_is_int32, value))


def _is_attempt(value: Any) -> bool:
    return len(value) == 2 and _are_int32(value)


def _is_position(value: Any) -> bool:
    return len(value) == 2 and _is_int32(value[0]) and _is_int64(value[1])


def _are_metrics(value: Any) -> bool:
    return all(map(math.isfinite, value.values()))


_BY_NAME = {"attempt": _is_attempt, "told_through": _is_position, "metrics": _are_metrics, "search_id": _is_text}
_BY_TYPE = {
    pa.int32(): _is_int32,
    pa.int64(): _is_int64,
    pa.string(): _is_text,
    pa.float64(): _is_number,
    pa.timestamp("us", tz="UTC"): _is_time,
    pa.list_(pa.int32()): _are_int32,
}


def _or_none(fits: Any) -> Any:
    return lambda value: value is None or fits(value)


def _checks_of(kind: type, table: schema.Table) -> list[tuple[str, Any]]:
    """What each field of a row must satisfy, read off the schema."""
    checks = []
    for entry in fields(kind):
        fits = _BY_NAME.get(entry.name) or _BY_TYPE[table.schema.field(entry.name).type]
        optional = entry.default is None
        checks.append((entry.name, _or_none(fits) if optional else fits))
    return checks


_CHECKS = {kind: _checks_of(kind, table) for kind, table in _TABLES.items()}


# --------------------------------------------------------------------------------------------------------------------
# Rows to columns
# --------------------------------------------------------------------------------------------------------------------

_PAIRS = {"attempt": ("attempt_epoch", "attempt"), "told_through": ("told_epoch", "told_through")}
_NO_PAIR = (None, None)


def to_arrow(rows: Sequence[Row]) -> pa.Table:
    """Rows of one table as columns; rows of a partitioned table must be of one search (its id is not a column)."""
    table = _TABLES[type(rows[0])]
    names = [entry.name for entry in fields(type(rows[0])) if entry.name != "metrics"]
    columns = dict(zip(names, zip(*map(operator.attrgetter(*names), rows), strict=True), strict=True))
    for name, pair in _PAIRS.items():
        if name in columns:
            halves = zip(*(value or _NO_PAIR for value in columns[name]), strict=True)
            columns |= zip(pair, halves, strict=True)
    metrics = _metric_names(rows) if table is schema.TRIALS else ()
    for name in metrics:
        columns[schema.METRIC_PREFIX + name] = tuple(row.metrics.get(name) for row in rows)  # type: ignore[union-attr]
    file_schema = schema.file_schema(table.name, metrics)
    arrays = [_array(columns[entry.name], entry.type) for entry in file_schema]
    return pa.Table.from_arrays(arrays, schema=file_schema)


def _metric_names(rows: Sequence[Any]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys(row.metrics)
    return tuple(sorted(names))


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        values = tuple(None if v is None else round(v * 1e6) for v in values)
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # lone surrogates: what a program printed was not UTF-8
        return pa.array([v and v.encode("utf-8", "backslashreplace").decode() for v in values], kind)
