"""The project's own benchmark table: complete, right where it can be computed, and made again by anybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.messages import Candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.pareto import pareto_mask
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.loading import load_task
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

DIGITS = Path(__file__).parents[2] / "experiments" / "digits"
TABLE = DIGITS / "nasbench201_digits.parquet"
SPACE = NASBench201(channels=8, cells_per_stage=1, stages=1)
ACCURACIES = [f"{split}_accuracy_{epoch}" for split in ("val", "test") for epoch in (1, 2, 3)]


@pytest.fixture(scope="module")
def rows():
    return pq.read_table(TABLE).to_pylist()


def test_it_has_every_class_once_by_its_cheapest_member(rows) -> None:
    assert TABLE.stat().st_size < 1_000_000
    genotypes = [SPACE.parse(row["arch"]) for row in rows]
    assert {SPACE.key(g) for g in genotypes} == {SPACE.key(g) for g in SPACE.genotypes()}
    assert len(rows) == 6466
    assert all(SPACE.canonical(g) == g for g in genotypes)


def test_costs_and_accuracies_are_in_their_places(rows) -> None:
    shape = DataShape(((1, 8, 8),), 10)
    for row in rows:
        cost = SPACE.cost(SPACE.parse(row["arch"]), shape)
        assert (row["flops"], row["params"]) == (cost.flops, cost.params)
        assert all(0 <= row[name] <= 100 for name in ACCURACIES)
        assert row["duration_s"] > 0 and 0 <= row["introspectability"] <= 2


def test_a_row_can_be_made_again(rows) -> None:
    row = rows[3021]
    task = load_task("digits")
    torch.set_num_threads(1)
    trained = train_candidate(
        space=SPACE,
        problem=task.problem,
        data=task.load_data(),
        candidate=Candidate(0, SPACE.parse(row["arch"]), fidelity=3, schedule_epochs=3),
        recipe=Recipe.from_mapping(task.problem.recipe),
        seed=row["train_seed"],
        context=LocalContext(),
        report_test=True,
    )
    for epoch, record in enumerate(trained.curve, 1):
        for split in ("val", "test"):
            assert record[f"{split}_accuracy"] == pytest.approx(row[f"{split}_accuracy_{epoch}"], abs=1e-4)
    (introspectability,) = create_objectives(("introspectability",))
    assert introspectability.measure(trained) == pytest.approx(row["introspectability"], abs=1e-5)


def test_the_front_of_accuracy_and_introspectability(rows) -> None:
    """By its definition, pair by pair: no other class is at least as good in both and better in one."""
    points = np.array([[row["val_accuracy_3"], row["introspectability"]] for row in rows], dtype=np.float64)
    front = {tuple(p) for p in points if not ((points >= p).all(axis=1) & (points > p).any(axis=1)).any()}
    assert front == {tuple(p) for p in points[pareto_mask(points)]} and len(front) == 13


def test_a_search_on_it_beats_chance() -> None:
    task = TabularTask.from_parquet(
        TABLE,
        space=SPACE,
        objectives={"val_accuracy": "val_accuracy_3"},
        report={"test_accuracy": "test_accuracy_3"},
        duration_s="duration_s",
    )
    ends = {}
    for controller, params in (("random_search", {}), ("regularized_evolution", {"population": 30, "sample": 10})):
        frames = [simulate(controller, task, trials=150, workers=8, seed=s, params=params) for s in range(8)]
        ends[controller] = sum(f["val_accuracy"].max() for f in frames) / len(frames)
    assert ends["regularized_evolution"] > ends["random_search"]
