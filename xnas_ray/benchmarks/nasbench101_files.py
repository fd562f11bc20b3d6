"""The TFRecord files of NAS-Bench-101, read without TensorFlow (Ying et al., ICML 2019).

A record is the JSON list ``[hash, epochs, adjacency, operations, metrics]``: the upper-triangular matrix row by row as
``0`` and ``1``, operations joined by commas, and a base64 ``ModelMetrics`` message with evaluations at the start, at
half time and at the end. ``nasbench_full`` has 4, 12, 36 and 108 epochs, ``nasbench_only108`` the last; three
repetitions each.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xnas_ray.benchmarks.tfrecord import fields, read_records
from xnas_ray.errors import TableError

Row = dict[str, object]

_TIME_S, _TRAIN, _VALIDATION, _TEST = 2, 3, 4, 5  # field numbers of EvaluationData


@dataclass(slots=True)
class _Cell:
    """An architecture and the sums of its repetitions, by number of epochs."""

    adjacency: str
    operations: str
    params: int
    sums: dict[int, list[float]] = field(default_factory=dict)


def nasbench101_rows(source: Path) -> Iterator[Row]:
    """One row an architecture, in the order of the file; accuracies are fractions, means over repetitions.

    Columns: ``key`` (the benchmark's hash), ``adjacency``, ``ops``, ``n_vertices``, ``params``, ``train_time_s`` of the
    longest training, and for every number of epochs E ``valE``, ``testE``, ``trainE``, ``valE_half``, ``testE_half``,
    ``train_time_s_E`` and ``repeatsE``.

    Raises:
        TableError: the file is damaged or of another layout.
    """
    cells: dict[str, _Cell] = {}
    for number, record in enumerate(read_records(source)):
        try:
            _add(cells, record)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise TableError(
                f"record {number} is not of the benchmark's layout: {type(error).__name__}: {error}.",
                field=str(source),
            ) from error
    for key, cell in cells.items():
        yield _row(key, cell)


def _add(cells: dict[str, _Cell], record: bytes) -> None:
    key, epochs, adjacency, operations, encoded = json.loads(record)
    vertices = math.isqrt(len(adjacency))
    if vertices * vertices != len(adjacency) or len(operations.split(",")) != vertices or set(adjacency) - {"0", "1"}:
        raise ValueError("adjacency and operations do not fit")
    message = list(fields(base64.b64decode(encoded, validate=True)))
    evaluations = [dict(fields(value)) for number, value in message if number == 1 and isinstance(value, bytes)]
    (params,) = (value for number, value in message if number == 2)
    _start, half, final = evaluations
    values = [
        final[_VALIDATION], final[_TEST], final[_TRAIN], half[_VALIDATION], half[_TEST], final[_TIME_S]
    ]  # fmt: skip
    cell = cells.get(key)
    if cell is None:
        cell = cells[key] = _Cell(adjacency, operations, int(params))
    sums = cell.sums.setdefault(int(epochs), [0.0] * (len(values) + 1))
    for i, value in enumerate((*values, 1.0)):
        sums[i] += float(value)


def _row(key: str, cell: _Cell) -> Row:
    row: Row = {
        "key": key,
        "adjacency": cell.adjacency,
        "ops": cell.operations,
        "n_vertices": math.isqrt(len(cell.adjacency)),
        "params": cell.params,
    }
    for epochs, (*sums, repeats) in sorted(cell.sums.items()):
        means = [total / repeats for total in sums]
        names = ("val{}", "test{}", "train{}", "val{}_half", "test{}_half", "train_time_s_{}")
        row.update((name.format(epochs), mean) for name, mean in zip(names, means, strict=True))
        row[f"repeats{epochs}"] = int(repeats)
        row["train_time_s"] = means[-1]
    return row
