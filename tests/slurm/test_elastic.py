"""How many nodes a service should have."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.slurm.elastic import ElasticPolicy, Wish, desired_nodes, nodes_for

POLICY = ElasticPolicy(min=2, max=8, patience_s=300, grow_s=10)


def follow(policy: ElasticPolicy, wishes: list[tuple[float, int]], nodes: int) -> list[int]:
    """Nodes after each look, when Slurm does at once what is asked."""
    memory, found = Wish(), []
    for now_s, wanted in wishes:
        nodes, memory = desired_nodes(policy, wanted, nodes, now_s, memory)
        found.append(nodes)
    return found


# ---- the policy ------------------------------------------------------------------------------------------------------


def test_a_policy_is_read_and_written():
    found = ElasticPolicy.from_mapping({"max": 4, "patience_s": 60})
    assert (found.min, found.max, found.patience_s) == (1, 4, 60) == (found.min, found.max, found.patience_s)
    assert ElasticPolicy.from_mapping(found.to_json()) == found


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "max"),
        ({"max": 0}, "max"),
        ({"min": 3, "max": 2}, "max"),
        ({"max": 2, "min": 1.5}, "min"),
        ({"max": True}, "max"),
        ({"max": 2, "patience_s": "60"}, "patience_s"),
        ({"max": 2, "patience_s": math.nan}, "patience_s"),
        ({"max": 2, "every_s": 0}, "every_s"),
        ({"max": 2, "patiense_s": 60}, "patiense_s"),
    ],
)
def test_a_wrong_one_is_refused(given, field):
    with pytest.raises(SpecError) as caught:
        ElasticPolicy.from_mapping(given)
    assert caught.value.field == f"slurm.elastic.{field}"


def test_names_are_suggested():
    with pytest.raises(SpecError, match="patience_s"):
        ElasticPolicy.from_mapping({"max": 2, "patiense_s": 60})
    with pytest.raises(SpecError, match="table"):
        ElasticPolicy.from_mapping(3)


# ---- how many nodes hold what is wanted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "node", "nodes"),
    [
        ([], (8, 0), 0),
        ([((1, 0), 0)], (8, 0), 0),
        ([((1, 0), 8)], (8, 0), 1),
        ([((1, 0), 9)], (8, 0), 2),
        ([((3, 0), 4)], (8, 0), 2),
        ([((1, 0), math.inf)], (8, 0), 100),
        ([((16, 0), 5)], (8, 0), 0),
        ([((1, 1), 4), ((1, 0), 4)], (8, 4), 1),
        ([((1, 0), 4), ((1, 1), 4)], (8, 4), 1),
        ([((1, 0.25), 9)], (8, 2), 2),
        ([((4, 0), 1), ((5, 0), 1), ((3, 0), 1)], (8, 0), 2),
        ([((0, 1), 3)], (8, 2), 2),
    ],
)
def test_nodes_for(demand, node, nodes):
    assert nodes_for(demand, node, 100) == nodes


@given(
    st.lists(st.tuples(st.tuples(st.integers(1, 8), st.integers(0, 4)), st.integers(0, 40)), max_size=4),
    st.integers(1, 30),
)
def test_what_is_wanted_fits_and_no_node_stays_empty(demand, limit):
    fitting = [(shape, count) for shape, count in demand if count]
    needed = [sum(shape[i] * count for shape, count in fitting) / (8, 4)[i] for i in range(2)]
    found = nodes_for(demand, (8, 4), limit)
    assert min(limit, math.ceil(max(needed))) <= found <= min(limit, sum(count for _, count in fitting))


# ---- patience --------------------------------------------------------------------------------------------------------


def test_more_are_asked_for_soon_fewer_late():
    looks = [(0, 6), (5, 6), (10, 6), (40, 3), (300, 3), (339, 3), (340, 3)]
    assert follow(POLICY, looks, 2) == [2, 2, 6, 6, 6, 6, 3]


def test_fewer_means_the_most_that_was_wanted_meanwhile():
    assert follow(POLICY, [(0, 2), (100, 5), (200, 2), (300, 2)], 6) == [6, 6, 6, 5]


def test_a_need_that_comes_and_goes_changes_nothing():
    looks = [(30 * i, (3, 5)[i % 2]) for i in range(40)]
    assert set(follow(POLICY, looks, 5)) == {5}


@given(st.integers(1, 10), st.integers(0, 10), st.integers(0, 20), st.integers(0, 20))
def test_a_steady_need_is_met_and_then_left_alone(least, more, wanted, nodes):
    policy = ElasticPolicy(min=least, max=least + more, patience_s=60, grow_s=0)
    met = min(max(wanted, least), least + more)
    assert follow(policy, [(30.0 * i, wanted) for i in range(6)], nodes)[-3:] == [met] * 3


@given(st.lists(st.tuples(st.floats(0, 200), st.integers(0, 12)), min_size=1, max_size=30), st.integers(2, 8))
def test_never_outside_the_limits_and_never_fewer_without_patience(steps, nodes):
    memory, now_s, enough_since_s = Wish(), 0.0, 0.0
    for step_s, wanted in steps:
        now_s += step_s
        target, memory = desired_nodes(POLICY, wanted, nodes, now_s, memory)
        assert 2 <= target <= 8
        if wanted >= nodes:
            enough_since_s = now_s
        if target < nodes:
            assert target >= min(wanted, 8) and now_s - enough_since_s >= POLICY.patience_s
        if target > nodes:
            assert target <= max(wanted, POLICY.min)
        if target != nodes:
            enough_since_s = now_s
        nodes = target
