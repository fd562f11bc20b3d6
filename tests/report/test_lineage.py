"""Parents, stages and generations, as controllers write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.report.lineage import ancestors, lineage


def test_origins_are_read(made):
    origins = [{"stage": "random"}, {"stage": "child", "parents": [0, 0], "generation": 2}, {}, {"parents": ["x", 1]}]
    found = lineage(made([{"origin": origin} for origin in origins]))
    assert found.parents == {1: (0, 0), 3: (1,)}
    assert found.stages == {0: "random", 1: "child"} and found.generations == {1: 2}


def test_ancestors_of_a_chain():
    parents = {3: (1, 2), 2: (0,), 5: (4,)}
    assert ancestors(parents, [3]) == {3, 1, 2, 0}
    assert ancestors(parents, [5, 9]) == {5, 4, 9} and ancestors(parents, []) == set()


@given(st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=3).map(tuple)), st.integers(0, 8))
def test_ancestors_end_even_in_circles(parents, trial):
    found = ancestors(parents, [trial])
    assert trial in found
    assert all(set(parents.get(one, ())) <= found for one in found)
