from __future__ import annotations

import itertools

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.pareto import dominates, non_dominated
from xnas_ray.service.ranking import SCALE_MARGIN, DominatedVolume, signed_objectives, with_standing

POINTS = st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 3), max_size=25)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points):
    expected = {i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}
    assert non_dominated(points) == expected


def test_equal_points_stay_together():
    assert non_dominated([(1.0, 2.0), (1.0, 2.0), (0.0, 3.0), (0.0, 2.0)]) == {0, 1, 2}
    assert non_dominated([]) == set()


def test_signs():
    objectives = [{"name": "a", "maximize": True}, {"name": "b", "maximize": False}]
    assert signed_objectives({"a": 1.0, "b": 2.0, "c": 3.0}, objectives) == (1.0, -2.0)


# ---- hypervolume ----------------------------------------------------------------------------------------------------


def _counted(points, grid=60):
    """The same volume, counted on a grid: two objectives, the box of the first ten points being 1."""
    first = points[:10]
    low, high = [min(p[i] for p in first) for i in (0, 1)], [max(p[i] for p in first) for i in (0, 1)]
    extent = [max(high[i] - low[i], 0) or 1.0 for i in (0, 1)]
    scaled = [tuple((p[i] - high[i]) / extent[i] + 1 for i in (0, 1)) for p in points]  # the box is (0, 1)
    top = [max(p[i] for p in scaled) for i in (0, 1)]
    step = [(t + SCALE_MARGIN) / grid for t in top]
    if min(step) <= 0:
        return 0.0
    cells = [
        any(p[0] >= (i + 0.5) * step[0] - SCALE_MARGIN and p[1] >= (j + 0.5) * step[1] - SCALE_MARGIN for p in scaled)
        for i in range(grid)
        for j in range(grid)
    ]
    return sum(cells) * step[0] * step[1]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=10, max_size=25))
def test_the_volume_is_that_of_the_dominated_cells(points):
    volume = DominatedVolume()
    for point in points:
        volume.add((float(point[0]), float(point[1])))
    assert volume.value() == pytest.approx(_counted(points), abs=0.12)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5)), min_size=10, max_size=30))
def test_the_volume_never_shrinks_and_is_read_back_the_same(points):
    volume, seen = DominatedVolume(), []
    for number, point in enumerate(points):
        assert (volume.value() is None) == (number < 10)
        volume.add(point)
        seen.append(volume.value())
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(seen[9:]))
    again = DominatedVolume()
    for point in points:
        again.add(point)
    assert again.value() == pytest.approx(seen[-1])


def test_the_best_corner_of_the_first_points_dominates_the_whole_box():
    volume = DominatedVolume()
    for x in range(9):
        volume.add((float(x), float(8 - x)))
    assert volume.value() is None
    volume.add((8.0, 8.0))
    assert volume.value() == pytest.approx(1.1**2)


# ---- what results say of all trials together ------------------------------------------------------------------------


CARD = {
    "spec": {"constraints": ["flops <= 4"]},
    "objectives": [{"name": "acc", "maximize": True}, {"name": "flops", "maximize": False}],
}


def frame(rows: list[tuple[str, float | None, float]], origins: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial": range(len(rows)),
            "status": [status for status, *_ in rows],
            "metric_acc": [accuracy if status == "completed" else None for status, accuracy, _ in rows],
            "metric_flops": [flops if status == "completed" else None for status, _, flops in rows],
            "origin": origins or ["{}"] * len(rows),
        }
    )


ROWS = st.tuples(st.sampled_from(["completed", "failed", "cancelled"]), st.integers(0, 5), st.integers(0, 6))


@given(st.lists(ROWS, max_size=25))
def test_the_front_of_results_is_that_of_the_definition(rows) -> None:
    found = with_standing(frame(rows), CARD)
    for i, (status, accuracy, flops) in enumerate(rows):
        rivals = [(a, f) for s, a, f in rows if s == "completed" and f <= 4]
        beaten = any(a >= accuracy and f <= flops and (a, f) != (accuracy, flops) for a, f in rivals)
        assert found["front"][i] == (status == "completed" and flops <= 4 and not beaten)


def test_lineage_comes_from_the_origins() -> None:
    origins = ['{"stage": "random", "generation": 0}', '{"parents": [0], "generation": 1}', "{}"]
    found = with_standing(frame([("completed", 1, 1)] * 3, origins), CARD)
    assert found["generation"].tolist()[:2] == [0, 1] and found["generation"].isna().tolist() == [False, False, True]
    assert found["parents"].tolist() == [[], [0], []]


def test_a_trial_without_an_objective_is_not_on_the_front() -> None:
    found = with_standing(frame([("completed", None, 1), ("completed", 1, 2)]), CARD)
    assert found["front"].tolist() == [False, True]


def test_results_of_nothing() -> None:
    assert with_standing(frame([]), CARD).empty
