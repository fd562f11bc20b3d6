from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import StoreError
from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.store import schema
from xnas_ray.store.columns import check_row, to_arrow
from xnas_ray.store.parts import PartFile, encode
from xnas_ray.store.rows import (
    TrialRow,
    candidate_from_text,
    candidate_text,
    curve_rows,
    trial_row,
)

WRITER = SimpleNamespace(epoch=3, next_seq=lambda: 5)

ints = st.integers(-(2**31), 2**31 - 1)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["", "\0", "'; DROP TABLE trials; --", "../../x", '"quoted"', "nul\0l", "\u202e", "NULL", "nan", "\\", "🧬" * 9]
)
times_s = st.integers(0, 4_000_000_000_000_000).map(lambda us: us / 1e6)
finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,8}", fullmatch=True)
attempts = st.none() | st.tuples(ints, ints)


def columns(make: SimpleNamespace, draw: st.DrawFn) -> dict[str, object]:
    """Values for every field, of the kind that the schema says."""
    by_type = {
        pa.int32(): ints,
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.string(): texts,
        pa.float64(): finite,
        pa.timestamp("us", tz="UTC"): times_s,
        pa.list_(pa.int32()): st.lists(ints, max_size=8).map(tuple),
    }
    special = {
        "search_id": st.just(make.search_id(0)),
        "status": st.sampled_from(TrialStatus),
        "attempt": attempts,
        "failure_kind": st.none() | st.sampled_from(FailureKind),
        "metrics": st.dictionaries(names, finite, max_size=3).filter(
            lambda m: len({n.casefold() for n in m}) == len(m)
        ),
    }
    found = {}
    for field in dataclasses.fields(TrialRow):
        values = special.get(field.name)
        if values is None:
            values = by_type[schema.TRIALS.schema.field(field.name).type]
            values = st.none() | values if field.default is None else values
        found[field.name] = draw(values)
    return found


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_rows_come_back_as_they_were(
    make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = [TrialRow(**columns(make, data.draw)) for _ in range(data.draw(st.integers(1, 4)))]
    spellings = {name.casefold(): name for row in rows for name in row.metrics}
    rows = [
        dataclasses.replace(row, metrics={spellings[k.casefold()]: v for k, v in row.metrics.items()}) for row in rows
    ]
    for row in rows:
        check_row(row)
    path = tmp_path_factory.getbasetemp() / "part.parquet"
    path.write_bytes(encode(to_arrow(rows), schema.TRIALS))
    for row, found in zip(rows, PartFile(path).rows(schema.TRIALS).to_pylist(), strict=True):
        for name in ("asked_at", "started_at", "finished_at"):
            stamp, wanted = found.pop(name), getattr(row, name)
            assert (None if stamp is None else round(stamp.timestamp() * 1e6)) == (wanted and round(wanted * 1e6))
        assert (found.pop("attempt_epoch"), found.pop("attempt")) == (row.attempt or (None, None))
        assert tuple(found.pop("genotype")) == row.genotype
        metrics = {name.removeprefix("metric_"): found.pop(name) for name in list(found) if name.startswith("metric_")}
        assert {name: value for name, value in metrics.items() if value is not None} == row.metrics
        assert found == {name: getattr(row, name) for name in found}


def test_what_is_not_unicode_is_still_written(make: SimpleNamespace) -> None:
    row = make.trial(WRITER, 0, status="failed", metrics={}, failure_log=b"caf\xe9".decode("utf-8", "surrogateescape"))
    check_row(row)
    assert to_arrow([row]).column("failure_log").to_pylist() == ["caf\\udce9"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trial", 2**31),
        ("trial", 1.0),
        ("trial", None),
        ("seq", 2**63),
        ("train_seed", -(2**63) - 1),
        ("task", None),
        ("task", b"digits"),
        ("worker", 7),
        ("genotype", (0, 2**40)),
        ("genotype", "012"),
        ("genotype", None),
        ("asked_at", math.nan),
        ("asked_at", -1.0),
        ("asked_at", 1e15),
        ("finished_at", None),
        ("duration_s", "long"),
        ("attempt", (1,)),
        ("attempt", (1, 2, 3)),
        ("metrics", {"acc": math.nan}),
        ("metrics", {"acc": math.inf}),
        ("metrics", {"acc": None}),
        ("metrics", {"acc": "0.5"}),
        ("metrics", {"1st": 0.5}),
        ("metrics", {"a b": 0.5}),
        ("metrics", {"": 0.5}),
        ("metrics", {7: 0.5}),
        ("metrics", {"Acc": 0.5, "acc": 0.5}),
        ("status", "done"),
        ("failure_kind", "bad luck"),
        ("search_id", ".."),
        ("search_id", None),
    ],
)
def test_rows_that_do_not_fit_are_refused(make: SimpleNamespace, field: str, value: object) -> None:
    with pytest.raises(StoreError):
        check_row(make.trial(WRITER, 0, **{field: value}))


def test_other_rows_that_do_not_fit_are_refused(make: SimpleNamespace) -> None:
    with pytest.raises(StoreError, match="candidate"):
        check_row(make.logged(WRITER, 0, "asked"))
    with pytest.raises(StoreError, match="Did you mean 'running'"):
        check_row(make.transition(WRITER, "runing"))


def test_other_objects_are_no_rows() -> None:
    with pytest.raises(StoreError, match="TrialRow"):
        check_row({"trial": 1})  # type: ignore[arg-type]


def test_numpy_numbers_are_numbers(make: SimpleNamespace) -> None:
    row = make.trial(
        WRITER, np.int64(3), metrics={"acc": np.float32(0.5)}, genotype=np.array([1, 2]), duration_s=np.float64(2)
    )
    check_row(row)
    (found,) = to_arrow([row]).to_pylist()
    assert (found["trial"], found["metric_acc"], found["genotype"], found["duration_s"]) == (3, 0.5, [1, 2], 2.0)


def test_metrics_may_differ_between_rows(make: SimpleNamespace) -> None:
    table = to_arrow([make.trial(WRITER, 0, metrics={"b": 1.0}), make.trial(WRITER, 1, metrics={"a": 2.0})])
    assert table.column_names[-2:] == ["metric_a", "metric_b"]
    assert table.column("metric_a").to_pylist() == [None, 2.0]


def test_the_row_of_an_outcome() -> None:
    candidate = Candidate(4, (1, 2), {"lr": 0.1}, 3, 6, 1, {"stage": "mutate"})
    failure = Failure(FailureKind.NAN, "NanLossError", "loss is nan", "log")
    row = trial_row(
        Outcome(4, candidate, TrialStatus.FAILED, cost_s=2.5, failure=failure),
        search_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        epoch=1,
        seq=2,
        attempts=1,
        task="t",
        task_hash="h",
        space="s",
        key="k",
        architecture="a",
        train_seed=9,
        asked_at=1.0,
        finished_at=2.0,
        recipe='{"batch_size":64,"lr":0.1}',
    )
    check_row(row)
    assert (row.trial, row.status, row.genotype, row.fidelity, row.schedule_epochs) == (4, "failed", (1, 2), 3, 6)
    assert (row.origin, row.recipe, row.duration_s) == ('{"stage":"mutate"}', '{"batch_size":64,"lr":0.1}', 2.5)
    assert (row.failure_kind, row.failure_type, row.failure_message) == ("nan", "NanLossError", "loss is nan")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.lists(ints, max_size=5), st.dictionaries(texts, json_values, max_size=3))
def test_candidates_come_back_as_they_were(genotype: list[int], origin: dict[str, object]) -> None:
    candidate = Candidate(3, tuple(genotype), {"lr": 0.5}, 2, 4, 1, origin)
    assert candidate_from_text(candidate_text(candidate)) == candidate


def test_curves_become_one_row_a_value(make: SimpleNamespace) -> None:
    rows = curve_rows(
        make.search_id(0), 2, (1, 0), [{"epoch": 1, "loss": 0.5, "acc": 0.1}, {"epoch": 2, "loss": math.nan}]
    )
    for row in rows:
        check_row(row)
    assert [(row.epoch, row.metric) for row in rows] == [(1, "loss"), (1, "acc"), (2, "loss")]
    assert math.isnan(to_arrow(rows).column("value").to_pylist()[-1])
