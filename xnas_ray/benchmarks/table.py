"""A benchmark table as a task: trials become look-ups, so that searches run in seconds and everyone's figures agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xnas_ray.controllers.base import Goal
from xnas_ray.errors import DataMissingError, GenotypeError, TableError, UnknownNameError
from xnas_ray.messages import Candidate, Failure, FailureKind, Genotype, Outcome, TrialStatus
from xnas_ray.objectives.names import OBJECTIVE_NAMES
from xnas_ray.spaces.base import MAX_ENUMERATION, Space
from xnas_ray.spaces.registry import SPACES
from xnas_ray.spaces.wrapped import RestrictedSpace

Row = Mapping[str, Any]
ObjectiveColumn = str | tuple[str, str]
"""A column whose objective is a built-in one, or ``(column, "min" | "max")``."""

DEFAULT_DURATION_S = 1.0


@dataclass(frozen=True, slots=True)
class TableEntry:
    """What a table says of an architecture.

    Attributes:
        metrics: finite values by objective; empty where the row has NaN.
        report: values of the report columns, which controllers never see; NaN where the table has none.
        duration_s: seconds that the trial would take.
        failure: set where an objective is NaN, infinite or missing in the row.
    """

    metrics: Mapping[str, float]
    report: Mapping[str, float] = field(default_factory=dict)
    duration_s: float = DEFAULT_DURATION_S
    failure: Failure | None = None


class TabularTask:
    """Architectures with their metrics, looked up instead of trained.

    A genotype is looked up exactly, else through the canonical member of its key class, else through the first row of
    that class. Values are used as they are in the table, in its units.

    Args:
        table: one row an architecture.
        space: the space that reads the architecture column, or its name (with default parameters).
        column: column of the architecture strings, or several that are joined by spaces; by default the space's
            ``table_columns``.
        objectives: column of each objective; ``(column, "min" | "max")`` for one that is not built in.
        report: columns to show beside the objectives, such as test accuracies, by the name to show.
        duration_s: seconds of a trial: None is 1, a string names a column, a function gets the row as a mapping.

    Attributes:
        space: the space.
        goals: the objectives as controllers see them.

    Raises:
        TableError: a column is missing or not of numbers, an architecture is malformed or listed twice.
        UnknownNameError: an objective that is not built in is given without a direction.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        space: str | Space = "nasbench201",
        column: str | Sequence[str] | None = None,
        objectives: Mapping[str, ObjectiveColumn],
        report: Mapping[str, str] | None = None,
        duration_s: str | Callable[[Row], float] | None = None,
    ) -> None:
        """Read the columns and index the rows."""
        self.space = SPACES.create(space, {}, field="space") if isinstance(space, str) else space
        if not objectives:
            raise TableError("at least one objective is needed.", field="objectives", valid=table.column_names)
        self.goals = tuple(_goal(name, given) for name, given in objectives.items())
        columns = {name: given if isinstance(given, str) else given[0] for name, given in objectives.items()}
        self._metrics = {name: _numbers(table, c, f"objectives.{name}") for name, c in columns.items()}
        self._report = {name: _numbers(table, c, f"report.{name}") for name, c in (report or {}).items()}
        self._columns = columns
        self._duration_s: np.ndarray | None = None
        self._timed: Callable[[Row], float] | None = None
        if isinstance(duration_s, str):
            self._duration_s = _numbers(table, duration_s, "duration_s")
        elif duration_s is not None:
            self._timed = duration_s
        self._table = table if self._timed else None
        self._row_of: dict[Genotype, int] = _index(table, _columns(column, self.space), self.space)
        self._row_of_key: dict[str, int] = {}
        for genotype, row in self._row_of.items():
            self._row_of_key.setdefault(self.space.key(genotype), row)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        space: str | Space = "nasbench201",
        column: str | Sequence[str] | None = None,
        objectives: Mapping[str, ObjectiveColumn] | None = None,
        report: Mapping[str, str] | None = None,
        duration_s: str | Callable[[Row], float] | None = None,
    ) -> TabularTask:
        """The task of a Parquet table; see the class for the arguments.

        Raises:
            DataMissingError: there is no such file.
            TableError: it is not Parquet, or not such a table.
        """
        path = Path(path)
        if not path.is_file():
            raise DataMissingError(
                f"there is no table {path}.",
                field="path",
                fix="Official benchmark files are converted by import_table (xnas table import).",
            )
        space = SPACES.create(space, {}, field="space") if isinstance(space, str) else space
        given = objectives or {}
        wanted = {c if isinstance(c, str) else c[0]: f"objectives.{name}" for name, c in given.items()}
        wanted |= {c: f"report.{name}" for name, c in (report or {}).items()}
        wanted |= dict.fromkeys(_columns(column, space), "column")
        if isinstance(duration_s, str):
            wanted[duration_s] = "duration_s"
        try:
            names = pq.read_schema(path).names
            for name in [name for name in wanted if name not in names]:
                raise _no_column(name, names, wanted[name])
            table = pq.read_table(path, columns=None if callable(duration_s) or not given else list(wanted))
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{path} cannot be read as Parquet: {error}", field="path") from error
        return cls(table, space=space, column=column, objectives=given, report=report, duration_s=duration_s)

    def __len__(self) -> int:
        """Number of architectures in the table."""
        return len(self._row_of)

    @property
    def report_names(self) -> tuple[str, ...]:
        """Names of the report columns."""
        return tuple(self._report)

    @property
    def complete(self) -> bool:
        """Whether every key class of the space has a row; never of one that is too large to be listed."""
        if self.space.size > MAX_ENUMERATION:
            return False
        return all(self.space.key(genotype) in self._row_of_key for genotype in self.space.enumerate())

    def restricted(self) -> RestrictedSpace:
        """The space narrowed to the architectures of the table: what to search when it is not complete."""
        return RestrictedSpace(self.space, list(self._row_of))

    def lookup(self, genotype: Genotype) -> TableEntry:
        """What the table says of an architecture.

        Raises:
            GenotypeError: the genotype does not belong to the space.
            TableError: neither it nor a member of its key class is in the table.
        """
        row = self._row(genotype)
        metrics = {name: float(values[row]) for name, values in self._metrics.items()}
        report = {name: float(values[row]) for name, values in self._report.items()}
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            told = ", ".join(f"{name} ({self._columns[name]}) is {metrics[name]}" for name in bad)
            failure = Failure(FailureKind.NAN, type="TableError", message=f"row {row}: {told}")
            return TableEntry({}, report, self._duration(row), failure)
        return TableEntry(metrics, report, self._duration(row))

    def evaluate(self, candidate: Candidate) -> Outcome:
        """The outcome of a candidate's trial, without its report columns; ``cost_s`` is its duration."""
        entry = self.lookup(candidate.genotype)
        return Outcome(
            trial=candidate.ask_number,
            candidate=candidate,
            status=TrialStatus.FAILED if entry.failure else TrialStatus.COMPLETED,
            metrics=entry.metrics,
            cost_s=entry.duration_s,
            failure=entry.failure,
        )

    def _row(self, genotype: Genotype) -> int:
        row = self._row_of.get(genotype)
        if row is None:
            row = self._row_of.get(self.space.canonical(genotype))
        if row is None:
            row = self._row_of_key.get(self.space.key(genotype))
        if row is None:
            raise TableError(
                f"the table has no row for {self.space.format(genotype)}, nor for one of its key class.",
                field="genotype",
                fix=f"Search task.restricted(), the {len(self):,} architectures that it has.",
            )
        return row

    def _duration(self, row: int) -> float:
        duration_s = DEFAULT_DURATION_S
        if self._duration_s is not None:
            duration_s = float(self._duration_s[row])
        elif self._timed is not None and self._table is not None:
            duration_s = float(self._timed(self._table.slice(row, 1).to_pylist()[0]))
        if not (math.isfinite(duration_s) and duration_s >= 0):
            raise TableError(f"row {row} takes {duration_s} seconds.", field="duration_s")
        return duration_s


def _goal(name: str, given: ObjectiveColumn) -> Goal:
    if isinstance(given, str):
        if name not in OBJECTIVE_NAMES:
            raise UnknownNameError(
                f"{name!r} is not a built-in objective, so its direction is unknown.",
                field="objectives",
                got=name,
                valid=sorted(OBJECTIVE_NAMES),
                fix=f'Give it as (column, "min" or "max"): objectives={{{name!r}: ({given!r}, "max")}}.',
            )
        return Goal(name, maximize=OBJECTIVE_NAMES[name].maximize)
    if not (isinstance(given, tuple) and len(given) == 2 and given[1] in ("min", "max")):
        raise TableError(f'must be a column or (column, "min" or "max"), got {given!r}.', field=f"objectives.{name}")
    return Goal(name, maximize=given[1] == "max")


def _numbers(table: pa.Table, column: str, field: str) -> np.ndarray:
    """A column as float64, NaN where it is null."""
    if column not in table.column_names:
        raise _no_column(column, table.column_names, field)
    values = table.column(column)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise TableError(f"column {column!r} holds {values.type}, not numbers.", field=field)
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _columns(column: str | Sequence[str] | None, space: Space) -> tuple[str, ...]:
    """Columns whose texts make an architecture's."""
    if column is None:
        return space.table_columns
    return (column,) if isinstance(column, str) else tuple(column)


def _index(table: pa.Table, columns: tuple[str, ...], space: Space) -> dict[Genotype, int]:
    """Row of every architecture."""
    for column in columns:
        if column not in table.column_names:
            raise _no_column(column, table.column_names, "column")
    parts = zip(*(table.column(column).to_pylist() for column in columns), strict=True)
    field = ", ".join(columns)
    found: dict[Genotype, int] = {}
    for row, texts in enumerate(parts):
        text = " ".join(map(str, texts))
        try:
            genotype = space.parse(text)
        except GenotypeError as error:
            raise TableError(f"row {row} is no architecture of space {space.name!r}: {error}", field=field) from error
        if genotype in found:
            raise TableError(
                f"rows {found[genotype]} and {row} are both {text!r}.",
                field=field,
                fix="A table has one row an architecture: aggregate repetitions first.",
            )
        found[genotype] = row
    if not found:
        raise TableError("the table has no rows.", field=field)
    return found


def _no_column(name: str, names: list[str], field: str) -> TableError:
    return TableError(f"the table has no column {name!r}.", field=field, got=name, valid=names)
