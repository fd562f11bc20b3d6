"""Best values, spending, fronts and hypervolumes, against what numpy and pymoo say of the same points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.pareto import hypervolume, pareto_mask
from xnas_ray.report.progress import (
    MARGIN,
    best_so_far,
    common_box,
    front_trials,
    hypervolume_steps,
    spending,
)

POINT = st.tuples(st.integers(0, 12), st.integers(0, 12))
THREE = [{"name": name, "maximize": name != "c", "unit": ""} for name in "abc"]


def points(made, values, **more):
    return made([{"metrics": dict(zip(("accuracy", "flops"), map(float, v), strict=True))} for v in values], **more)


@given(st.lists(POINT, min_size=1, max_size=30))
def test_best_so_far_is_the_running_best(made, values):
    material = points(made, values)
    found = best_so_far(material)
    for i, (name, best) in enumerate((("accuracy", np.maximum), ("flops", np.minimum))):
        column = np.array(values, dtype=float)[:, i]
        steps = dict(zip(found[name].rows, found[name].values, strict=True))
        now = [steps[max(r for r in steps if r <= row)] for row in range(len(values))]
        assert now == best.accumulate(column).tolist()
        assert all(row == 0 or now[row] != now[row - 1] for row in steps), "only where it changes"


def test_trials_that_failed_or_break_a_constraint_are_never_the_best(made):
    trials = [
        {"metrics": {"accuracy": 50.0, "flops": 9.0}},
        {"status": "failed"},
        {"metrics": {"accuracy": 99.0, "flops": 11.0}},
        {"metrics": {"accuracy": 60.0}},
    ]
    material = made(trials, constraints=["flops <= 10"])
    assert material.measured.tolist() == [True, False, False, False]
    assert best_so_far(material)["accuracy"].values == (50.0,)
    assert front_trials(material) == [0]


def test_without_a_trial_there_is_nothing(made):
    material = made([])
    assert best_so_far(material)["accuracy"].rows == () and front_trials(material) == []
    assert common_box([material]) is None and len(spending(material).hours) == 0


@given(st.lists(POINT, min_size=1, max_size=30))
def test_the_front_is_what_nothing_dominates(made, values):
    material = points(made, values)
    signed = np.array(values, dtype=float) * [1, -1]
    expected = set(np.flatnonzero(pareto_mask(signed)).tolist())
    found = front_trials(material)
    assert set(found) == expected and len(found) == len(expected)
    assert [values[t][0] for t in found] == sorted((values[t][0] for t in found), reverse=True)


def test_one_objective_has_no_front(made):
    material = made([{"metrics": {"accuracy": 1.0}}], objectives=[{"name": "accuracy", "maximize": True}])
    assert front_trials(material) is None and common_box([material]) is None


@given(st.lists(POINT, min_size=2, max_size=25), st.lists(POINT, min_size=1, max_size=25))
def test_hypervolume_is_pymoos_in_the_box_of_all_searches(made, first, second):
    both = [points(made, first), points(made, second)]
    box = common_box(both)
    everything = np.array([*first, *second], dtype=float) * [1, -1]
    extent = np.where(np.ptp(everything, axis=0) > 0, np.ptp(everything, axis=0), 1)
    assert np.allclose(box.reference, everything.min(axis=0) - MARGIN * extent)
    for material, values in zip(both, (first, second), strict=True):
        steps = hypervolume_steps(material, box)
        signed = np.array(values, dtype=float) * [1, -1]
        for row, value in zip(steps.rows, steps.values, strict=True):
            assert value == pytest.approx(hypervolume(signed[: row + 1], box.reference) / box.volume)
        assert list(steps.values) == sorted(steps.values) and 0 < steps.values[-1] <= 1 + 1e-9


def test_the_best_corner_of_the_box_is_one(made):
    material = points(made, [(1, 5), (9, 7), (10, 2)])
    assert hypervolume_steps(material, common_box([material])).values[-1] == pytest.approx(1.0)


def test_three_objectives_are_looked_at_less_often(made):
    angles = np.linspace(0.01, 1.5, 260)
    trials = [{"metrics": {"a": np.cos(t), "b": np.sin(t), "c": float(i % 3)}} for i, t in enumerate(angles)]
    material = made(trials, objectives=THREE)
    box = common_box([material])
    steps = hypervolume_steps(material, box)
    assert 150 <= len(steps.rows) <= 200
    whole = hypervolume(material.signed, box.reference) / box.volume
    assert steps.values[-1] == pytest.approx(whole)


def test_every_attempt_is_paid(made):
    trials = [{"duration_s": 3600.0}, {"duration_s": 1800.0}, {"duration_s": 0.0, "reused_from": "x/1"}]
    log = [
        {"trial": 1, "state": "retrying", "at": 5.0, "duration_s": 900.0},
        {"trial": 1, "state": "running", "at": 6.0, "duration_s": None},
    ]
    spent = spending(made(trials, log=log, resources={"cpus": 4, "gpus": 0.5}))
    assert spent.unit == "GPU-hours" and spent.hours.tolist() == [0.5, 0.875, 0.875]
    spent = spending(made(trials, log=log, resources={"cpus": 4, "gpus": 0}))
    assert spent.unit == "CPU-hours" and spent.hours.tolist() == [4.0, 7.0, 7.0]
