"""Fronts and hypervolumes, against pymoo and against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.pareto import Front, hypervolume

COARSE = st.integers(-3, 6)


@given(st.integers(2, 4).flatmap(lambda m: st.lists(st.tuples(*[COARSE] * m), min_size=1, max_size=25)))
def test_a_growing_front_is_the_front_of_all_points(points):
    """Small whole numbers make ties, repeats and points below the reference."""
    front = Front([0.0] * len(points[0]))
    for i, point in enumerate(points):
        before = points[:i]
        beaten = any(all(a >= b for a, b in zip(other, point, strict=True)) for other in before)
        assert front.add(point) == (not beaten)
        assert front.hypervolume == pytest.approx(_cells(points[: i + 1]))
    distinct = set(points)
    expected = {
        p for p in distinct if not any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in distinct)
    }
    assert set(front.points) == expected and front.points == sorted(front.points)


def _cells(points) -> float:
    """Number of unit cells above 0 below some point."""
    grid = np.stack(np.meshgrid(*[np.arange(6)] * len(points[0]), indexing="ij"), axis=-1)
    covered = np.zeros(grid.shape[:-1], dtype=bool)
    for point in points:
        covered |= (grid < np.array(point)).all(axis=-1)
    return float(covered.sum())


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=40))
def test_two_objectives_have_pymoos_volume(points):
    front = Front([-3.5, 2.25])
    for point in points:
        front.add(point)
    assert front.hypervolume == pytest.approx(hypervolume(np.array(points), [-3.5, 2.25]), rel=1e-9, abs=1e-9)


def test_nothing_dominates_nothing():
    assert Front([0, 0]).hypervolume == hypervolume(np.empty((0, 2)), [0, 0]) == 0.0


@pytest.mark.parametrize("point", [(1.0,), (1.0, 2.0, 3.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_what_is_no_point_is_refused(point):
    with pytest.raises(ValueError, match="2 finite numbers"):
        Front([0.0, 0.0]).add(point)
