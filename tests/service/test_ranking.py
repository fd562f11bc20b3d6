from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.service.ranking import dominates, non_dominated, signed_objectives

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
