"""Tables as tasks: look-ups, key classes, directions, durations, and what a malformed table says."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.controllers.base import Goal
from xnas_ray.errors import DataMissingError, GenotypeError, TableError, UnknownNameError, XnasError
from xnas_ray.messages import Candidate, FailureKind, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201()
CELLS = list(SPACE.enumerate())[:5]


def shadow(genotype: tuple[int, ...]) -> tuple[int, ...]:
    """Another member of the genotype's class."""
    key = SPACE.key(genotype)
    return next(g for g in SPACE.genotypes() if SPACE.key(g) == key and g != genotype)


def write(path: Path, **columns: list[Any]) -> Path:
    columns.setdefault("arch", [SPACE.format(genotype) for genotype in CELLS])
    columns.setdefault("accuracy", [90.0, 80.0, math.nan, 60.0, 50.0])
    columns.setdefault("test", [89.0, 79.0, 69.0, math.nan, 49.0])
    columns.setdefault("seconds", [10, 20, 30, 40, 50])
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "table.parquet")


def test_rows_are_looked_up(path: Path):
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"}, report={"test_accuracy": "test"})
    entry = task.lookup(CELLS[1])
    assert (entry.metrics, entry.report, entry.duration_s) == ({"val_accuracy": 80.0}, {"test_accuracy": 79.0}, 1.0)
    assert entry.failure is None
    assert len(task) == 5
    assert task.space.name == "nasbench201"


def test_directions_come_from_the_names_or_are_given(path: Path):
    task = TabularTask.from_parquet(
        path,
        objectives={"val_accuracy": "accuracy", "flops": "test", "regret": ("seconds", "min"), "x": ("test", "max")},
    )
    assert task.goals == (Goal("val_accuracy", True), Goal("flops", False), Goal("regret", False), Goal("x", True))
    assert task.lookup(CELLS[0]).metrics["regret"] == 10.0


def test_a_genotype_is_found_exactly_then_by_its_canonical_row_then_by_its_class(tmp_path: Path):
    first, second = CELLS[0], CELLS[3]
    cells = [shadow(first), first, shadow(second)]
    path = write(
        tmp_path / "t.parquet",
        arch=[SPACE.format(g) for g in cells],
        accuracy=[1.0, 2.0, 3.0],
        test=[0.0] * 3,
        seconds=[1] * 3,
    )
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"})
    members = [g for g in SPACE.genotypes() if SPACE.key(g) == SPACE.key(first)]
    assert task.lookup(shadow(first)).metrics == {"val_accuracy": 1.0}
    assert {task.lookup(g).metrics["val_accuracy"] for g in members if g != shadow(first)} == {2.0}
    assert task.lookup(second).metrics == {"val_accuracy": 3.0}


def test_nan_rows_are_failures(path: Path):
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"}, report={"test_accuracy": "test"})
    entry = task.lookup(CELLS[2])
    assert entry.metrics == {}
    assert entry.failure is not None
    assert entry.failure.kind == FailureKind.NAN
    assert "val_accuracy" in entry.failure.message
    assert task.lookup(CELLS[3]).failure is None
    assert math.isnan(task.lookup(CELLS[3]).report["test_accuracy"])


def test_nulls_are_failures_too(tmp_path: Path):
    path = write(tmp_path / "t.parquet", accuracy=[None, 1, 2, 3, 4])
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"})
    assert task.lookup(CELLS[0]).failure is not None
    assert task.lookup(CELLS[4]).metrics == {"val_accuracy": 4.0}


def test_outcomes_of_candidates(path: Path):
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"}, duration_s="seconds")
    good, bad = (task.evaluate(Candidate(number, CELLS[number])) for number in (1, 2))
    assert (good.trial, good.status, good.metrics, good.cost_s) == (
        1,
        TrialStatus.COMPLETED,
        {"val_accuracy": 80.0},
        20,
    )
    assert (bad.status, bad.metrics, bad.cost_s) == (TrialStatus.FAILED, {}, 30)


def test_durations(path: Path):
    column = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"}, duration_s="seconds")
    function = TabularTask.from_parquet(
        path, objectives={"val_accuracy": "accuracy"}, duration_s=lambda row: row["seconds"] / 10
    )
    assert [column.lookup(g).duration_s for g in CELLS] == [10, 20, 30, 40, 50]
    assert [function.lookup(g).duration_s for g in CELLS] == [1, 2, 3, 4, 5]
    for bad in (-1.0, math.nan, math.inf):
        task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"}, duration_s=lambda row, v=bad: v)
        with pytest.raises(TableError, match="duration_s"):
            task.lookup(CELLS[0])


def test_what_the_table_lacks_is_a_typed_error(path: Path):
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "accuracy"})
    with pytest.raises(TableError, match=r"no row.*restricted"):
        task.lookup((3,) * 6)
    with pytest.raises(GenotypeError):
        task.lookup((9,) * 6)
    assert not task.complete
    restricted = task.restricted()
    assert set(restricted.members) == set(CELLS)
    assert all(task.lookup(genotype) for genotype in restricted.members)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"objectives": {"val_accuracy": "acuracy"}}, TableError, "objectives.val_accuracy.*Did you mean 'accuracy'"),
        ({"objectives": {"bleu": "accuracy"}}, UnknownNameError, '"max"'),
        ({"objectives": {"bleu": ("accuracy", "up")}}, TableError, "objectives.bleu"),
        ({"objectives": {}}, TableError, "at least one objective.*accuracy"),
        ({"objectives": {"val_accuracy": "arch"}}, TableError, "not numbers"),
        ({"column": "cell"}, TableError, "column: .*'cell'"),
        ({"column": "accuracy"}, TableError, "row 0 is no architecture"),
        ({"report": {"test_accuracy": "nothing"}}, TableError, "report.test_accuracy"),
        ({"duration_s": "minutes"}, TableError, "duration_s"),
        ({"space": "nasbench301"}, UnknownNameError, "nasbench201"),
    ],
)
def test_wrong_arguments(path: Path, arguments: dict[str, Any], error: type[XnasError], match: str):
    with pytest.raises(error, match=match):
        TabularTask.from_parquet(path, **({"objectives": {"val_accuracy": "accuracy"}} | arguments))


def test_malformed_tables(tmp_path: Path):
    objectives = {"val_accuracy": "accuracy"}
    with pytest.raises(DataMissingError, match="nowhere"):
        TabularTask.from_parquet(tmp_path / "nowhere.parquet", objectives=objectives)
    text = tmp_path / "t.parquet"
    text.write_text("arch,accuracy\n")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        TabularTask.from_parquet(text, objectives=objectives)
    twice = write(tmp_path / "twice.parquet", arch=[SPACE.format(CELLS[i % 4]) for i in range(5)])
    with pytest.raises(TableError, match="rows 0 and 4"):
        TabularTask.from_parquet(twice, objectives=objectives)
    empty = write(tmp_path / "empty.parquet", arch=[], accuracy=pa.array([], pa.float64()), test=[], seconds=[])
    with pytest.raises(TableError, match="no rows"):
        TabularTask.from_parquet(empty, objectives=objectives)
    broken = write(tmp_path / "broken.parquet", arch=[*(SPACE.format(g) for g in CELLS[:4]), None])
    with pytest.raises(TableError, match="row 4 is no architecture"):
        TabularTask.from_parquet(broken, objectives=objectives)


def test_architectures_may_be_spread_over_columns(tmp_path: Path):
    rows = {
        "adjacency": ["0100", "011001000", "0100001000010000"],
        "ops": ["input,output", "input,maxpool3x3,output", "input,conv3x3-bn-relu,conv1x1-bn-relu,output"],
        "val108": [0.8, 0.9, 0.95],
    }
    pq.write_table(pa.table(rows), path := tmp_path / "nasbench101.parquet")
    objectives: Any = {"val_accuracy": "val108"}
    task = TabularTask.from_parquet(path, space="nasbench101", objectives=objectives)
    assert not task.complete  # the space is too large to be listed
    texts = [f"{a} {o}" for a, o in zip(rows["adjacency"], rows["ops"], strict=True)]
    cells = [task.space.parse(text) for text in texts]
    assert [task.lookup(cell).metrics["val_accuracy"] for cell in cells] == rows["val108"]
    member = task.space.member(cells[2], np.random.default_rng(0))  # type: ignore[attr-defined]
    assert task.lookup(member).metrics["val_accuracy"] == 0.95
    assert set(task.restricted().members) == set(map(task.space.canonical, cells))
    same = TabularTask.from_parquet(path, "nasbench101", column=("adjacency", "ops"), objectives=objectives)
    assert len(same) == 3
    for column, match in (("adjacency", "row 0 is no architecture"), (("adjacency", "op"), "column: .*'ops'")):
        with pytest.raises(TableError, match=match):
            TabularTask.from_parquet(path, "nasbench101", column=column, objectives=objectives)


def test_the_official_table():
    folder = os.environ.get("XNAS_DATA")
    path = Path(folder) / "nasbench201.parquet" if folder else None
    if path is None or not path.exists():
        pytest.skip("needs nasbench201.parquet in the folder that XNAS_DATA names")
    task = TabularTask.from_parquet(
        path,
        space="nasbench201",
        column="arch",
        objectives={"val_accuracy": "cifar10_val_200"},
        report={"test_accuracy": "cifar10_test_200"},
    )
    assert task.complete
    assert len(task) == 15_625
    entries = [task.lookup(genotype) for genotype in SPACE.genotypes()]
    assert max(entry.metrics["val_accuracy"] for entry in entries) == pytest.approx(91.6067, abs=1e-4)
    assert max(entry.report["test_accuracy"] for entry in entries) == pytest.approx(94.3733, abs=1e-4)
    assert task.lookup((1,) * 6).report["test_accuracy"] == pytest.approx(54.30, abs=0.005)
