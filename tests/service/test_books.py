"""What the head remembers: whose weights are kept, what may be reused, which rows come out."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from xnas_ray.errors import StoreError
from xnas_ray.messages import Candidate, Failure, FailureKind, SearchState, TrialStatus, WriteTerminal
from xnas_ray.pareto import non_dominated
from xnas_ray.service.books import Book, LiveTrial
from xnas_ray.service.proposals import Proposal
from xnas_ray.service.reports import TrialResult
from xnas_ray.spec import SearchSpec
from xnas_ray.store.columns import check_row
from xnas_ray.store.ids import new_search_id
from xnas_ray.store.replay import SearchReplay

SEARCH = new_search_id(1_700_000_000)
TWO = [{"name": "acc", "maximize": True, "unit": ""}, {"name": "flops", "maximize": False, "unit": ""}]


def book(*, objectives: list[dict[str, Any]] = TWO, **spec: Any) -> Book:
    given = SearchSpec.from_mapping({"task": "t", "seed": 1, "fidelity": 1, **spec}).to_json()
    card = {"spec": given, "task": "t", "task_hash": "0" * 32, "space": "nasbench201", "objectives": objectives}
    return Book(SEARCH, card)


def proposal(number: int = 0, schedule: int = 2) -> Proposal:
    candidate = Candidate(number, (1, 2), fidelity=2, schedule_epochs=schedule)
    return Proposal(candidate, "key", "|arch|", '{"lr":1}', 9, 100, 10, (1, 3), 0.0)


def end(one: Book, number: int, acc: float, flops: float) -> list[str]:
    metrics = {"acc": acc, "flops": flops}
    folder = f"artifacts/{number}"
    return one.count(number, TrialStatus.COMPLETED, metrics, "|a|", folder, duration_s=1.0, reused=False)


def with_the_weights(number: int) -> list[str]:
    return [f"artifacts/{number}/weights.pt", f"artifacts/{number}/decision_tree.npz"]


def test_only_the_best_feasible_trial_keeps_its_weights() -> None:
    one = book(keep_weights="best", constraints=["flops <= 50"])
    assert end(one, 0, 0.5, 40) == []
    assert end(one, 1, 0.9, 60) == with_the_weights(1), "better, but it breaks the constraint"
    assert end(one, 2, 0.4, 10) == with_the_weights(2)
    assert end(one, 3, 0.6, 50) == with_the_weights(0)
    assert one.best is not None and one.best.trial == 3


def test_an_infeasible_first_trial_is_not_the_best() -> None:
    one = book(constraints=["flops <= 50"])
    end(one, 0, 0.9, 60)
    assert one.best is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_the_front_keeps_exactly_the_non_dominated_weights(points: list[tuple[int, int]]) -> None:
    one = book(keep_weights="front")
    kept: set[str] = set()
    for number, (acc, flops) in enumerate(points):
        kept |= set(with_the_weights(number))
        kept -= set(end(one, number, float(acc), float(flops)))
    costs = np.array([[-acc, flops] for acc, flops in points], dtype=float)
    front = NonDominatedSorting().do(costs, only_non_dominated_front=True)
    assert kept == {file for i in front for file in with_the_weights(i)}


HISTORY = SearchReplay(SEARCH, {}, SearchState.RUNNING, "", 0, (), (), (), (), 0, 0.0, 0.0)
THREE = [*TWO, {"name": "xai", "maximize": True, "unit": ""}]
Row = tuple[str, int, int, int, bool]
ROWS = st.tuples(
    st.sampled_from(["completed", "completed", "failed", "cancelled"]), *[st.integers(0, 4)] * 3, st.booleans()
)


def record(number: int, row: Row) -> dict[str, Any]:
    """A terminal row as the store gives it back; files may be kept of any that completed."""
    status, acc, flops, xai, files = row
    completed = status == "completed"
    return {
        "trial": number,
        "status": status,
        "metrics": {"acc": float(acc), "flops": float(flops), "xai": float(xai)} if completed else {},
        "architecture": "|a|",
        "artifacts": f"artifacts/{number}" if files else None,
        "duration_s": 1.0,
        "reused_from": None,
    }


def count(one: Book, row: dict[str, Any]) -> list[str]:
    facts = [row[name] for name in ("trial", "status", "metrics", "architecture", "artifacts")]
    return one.count(*facts, duration_s=1.0, reused=False)


def files_of(rows: list[Row]) -> set[str]:
    """All that the trials left."""
    names = ("weights.pt", "decision_tree.npz", "activations.npz")
    return {f"artifacts/{n}/{name}" for n, row in enumerate(rows) if row[4] for name in names}


@given(
    st.lists(ROWS, max_size=30),
    st.sampled_from(["none", "best", "front", "all"]),
    st.sampled_from(["none", "front", "all"]),
    st.data(),
)
def test_files_that_are_kept(rows: list[Row], weights: str, activations: str, data: st.DataObject) -> None:
    """Several objectives, a constraint, failed trials, a head that dies and one that goes on: always the same files."""
    spec = {"keep_weights": weights, "keep_activations": activations, "constraints": ["flops <= 3"]}
    records = [record(number, row) for number, row in enumerate(rows)]
    one, gone = book(objectives=THREE, **spec), set()
    for row in records:
        gone |= set(count(one, row))
    stop = data.draw(st.integers(0, len(rows)))
    other = book(objectives=THREE, **spec)
    again = set(other.restore(HISTORY, records[:stop]))
    for row in records[stop:]:
        again |= set(count(other, row))
    assert again == gone, "whatever the first head did not remove, the second one does"

    points = {
        n: (float(acc), -float(flops), float(xai))
        for n, (status, acc, flops, xai, _) in enumerate(rows)
        if status == "completed" and flops <= 3
    }
    numbers = list(points)
    front = {numbers[i] for i in non_dominated(list(points.values()))}
    best = {max(numbers, key=lambda n: (points[n][0], -n))} if numbers else set()
    completed = {n for n, row in enumerate(rows) if row[0] == "completed"}
    wanted = {"best": best, "front": front, "all": completed}
    kept = files_of(rows) - gone
    for name, keep in (("weights.pt", weights), ("decision_tree.npz", weights), ("activations.npz", activations)):
        if keep != "none":  # then no worker writes any
            of = {int(path.split("/")[1]) for path in kept if path.endswith(name)}
            assert of == {n for n in wanted[keep] if rows[n][4]}, name


def test_a_result_that_could_not_be_stored_leaves_no_files() -> None:
    one = book(keep_weights="all")
    row = record(0, ("failed", 0, 0, 0, True))
    assert set(count(one, row)) == {*with_the_weights(0), "artifacts/0/activations.npz"}


def test_workers_are_told_the_front_where_files_are_kept_for_it() -> None:
    one, other = book(keep_weights="front"), book(keep_weights="best")
    for number, (acc, flops) in enumerate([(0.5, 40), (0.9, 60), (0.4, 50)]):
        end(one, number, acc, flops)
        end(other, number, acc, flops)
    assert one.front_points() == ((0.5, -40), (0.9, -60)) and other.front_points() == ()


def test_nothing_is_superfluous_when_all_weights_are_kept() -> None:
    one = book(keep_weights="all")
    assert end(one, 0, 0.5, 1) == end(one, 1, 0.1, 1) == []


def test_reused_metrics_are_those_of_training_never_costs_or_latency() -> None:
    one = book(objectives=TWO)
    row = {"schedule_epochs": 2, "metric_acc": 0.7, "metric_flops": 5.0, "metric_latency_ms": 3.0, "metric_x": None}
    assert one.reusable_metrics(row, proposal()) == {"acc": 0.7, "flops": 100.0, "params": 10.0}
    assert one.reusable_metrics(row, proposal(schedule=3)) is None, "another learning-rate schedule"
    latency = book(objectives=[*TWO, {"name": "latency_ms", "maximize": False, "unit": "ms"}])
    assert latency.reusable_metrics(row, proposal()) is None, "latency is measured anew"
    row["metric_latency_table_ms"] = 9.0
    table = book(objectives=[*TWO, {"name": "latency_table_ms", "maximize": False, "unit": "ms"}])
    assert table.reusable_metrics(row, proposal()) is None, "nor is it taken from another table"
    looked_up = replace(proposal(), latency_table_ms=1.5)
    assert table.reusable_metrics(row, looked_up) == {
        **{"acc": 0.7, "flops": 100.0, "params": 10.0},
        "latency_table_ms": 1.5,
    }


def test_the_row_of_a_completed_trial_has_everything_and_the_unwritten_part_of_its_curve() -> None:
    one = book()
    live = one.live[0] = LiveTrial(proposal(), asked_at=1.0, attempts=2, started_at=2.0, worker="w", node="n")
    curve = ({"epoch": 1.0, "acc": 0.1}, {"epoch": 2.0, "acc": 0.2})
    live.result = TrialResult(
        SEARCH, 0, (1, 1), TrialStatus.COMPLETED, 3.5, metrics={"acc": 0.2}, curve=curve, weights=True
    )
    live.curve_attempt, live.curve_epochs = (1, 1), 1
    row, rows = one.conclude(WriteTerminal(SEARCH, 0, (1, 1), TrialStatus.COMPLETED), 1, 7, 9.0)
    assert row.metrics == {"flops": 100.0, "params": 10.0, "acc": 0.2}
    assert (row.trial, row.epoch, row.seq, row.attempts, row.duration_s) == (0, 1, 7, 2, 3.5)
    assert row.artifacts == f"artifacts/{SEARCH}/0/1-1"
    assert row.key == "key" and row.recipe == '{"lr":1}' and row.train_seed == 9
    assert [(r.epoch, r.value) for r in rows] == [(2, 0.2)]
    assert live.told is not None and live.told.metrics == row.metrics and live.position == (1, 7)


@pytest.mark.parametrize("own", [True, False])
def test_the_row_of_a_failed_trial_says_why(own: bool) -> None:
    one = book()
    live = one.live[0] = LiveTrial(proposal(), asked_at=1.0, attempts=1)
    if own:
        failure = Failure(FailureKind.EXCEPTION, "KeyError", "a", "log")
        live.result = TrialResult(SEARCH, 0, (1, 0), TrialStatus.FAILED, 1.0, failure=failure)
    command = WriteTerminal(SEARCH, 0, (1, 0), TrialStatus.FAILED, False, "too slow", FailureKind.TIMEOUT)
    row, _ = one.conclude(command, 1, 7, 9.0)
    expected = ("exception", "KeyError", "a") if own else ("timeout", "", "too slow")
    assert (row.failure_kind, row.failure_type, row.failure_message) == expected
    assert row.metrics == {}


def test_a_result_of_an_older_attempt_decides_nothing() -> None:
    one = book()
    live = one.live[0] = LiveTrial(proposal(), asked_at=1.0, attempts=2)
    failure = Failure(FailureKind.EXCEPTION, "KeyError", "a", "log")
    live.result = TrialResult(SEARCH, 0, (1, 0), TrialStatus.FAILED, 1.0, failure=failure)
    command = WriteTerminal(SEARCH, 0, (1, 1), TrialStatus.FAILED, False, "died", FailureKind.WORKER_DIED)
    assert one.conclude(command, 1, 7, 9.0)[0].failure_kind == "worker_died"


def test_the_summary_and_the_last_trials() -> None:
    one = book(budget={"trials": 20})
    for number in range(15):
        end(one, number, number / 20, 1)
    one.count(15, TrialStatus.FAILED, {}, "|a|", None, duration_s=0.0, reused=False)
    one.count(16, TrialStatus.CANCELLED, {}, "|a|", None, duration_s=0.0, reused=False)
    summary = json.loads(one.summary())
    assert {k: summary[k] for k in ("completed", "failed", "cancelled", "reused")} == {
        "completed": 15,
        "failed": 1,
        "cancelled": 1,
        "reused": 0,
    }
    assert summary["best"]["trial"] == 14
    assert isinstance(one.recent, deque) and [r["trial"] for r in one.recent] == list(range(7, 17))


def test_extend_changes_the_specification_and_the_card() -> None:
    one = book(budget={"trials": 5})
    one.extend({"trials": 9, "gpu_hours": 2.0})
    assert one.config().trials == 9 and one.config().gpu_hours == 2.0
    assert one.card["spec"]["budget"]["trials"] == 9


def test_a_result_that_cannot_be_stored_is_a_failed_trial() -> None:
    one = book()
    live = one.live[0] = LiveTrial(proposal(), asked_at=1.0, attempts=1)
    curve = ({"epoch": 1.0, "loss": float("nan"), "acc": 0.5},)
    live.result = TrialResult(SEARCH, 0, (1, 0), TrialStatus.COMPLETED, 1.0, metrics={"a b": 1.0}, curve=curve)
    row, _ = one.conclude(WriteTerminal(SEARCH, 0, (1, 0), TrialStatus.COMPLETED), 1, 7, 9.0)
    assert live.told is not None and live.told.curve == ({"epoch": 1.0, "acc": 0.5},)
    with pytest.raises(StoreError, match="cannot name a metric"):
        check_row(row)
    refused = one.refuse(row, "why")
    check_row(refused)
    assert (refused.status, refused.failure_kind, refused.metrics) == ("failed", "invalid", {})
    assert live.told.status == TrialStatus.FAILED
