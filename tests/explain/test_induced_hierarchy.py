"""Induced hierarchies against scikit-learn's clustering and on weights whose groups are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.induced_hierarchy import LINKAGES, induced_hierarchy, random_hierarchy


def groups_of(weights: np.ndarray, linkage: str) -> set[frozenset[str]]:
    """Every group that scikit-learn's merges make."""
    merges = AgglomerativeClustering(linkage=linkage, n_clusters=1).fit(weights).children_
    groups = [frozenset([f"c{i}"]) for i in range(len(weights))]
    for first, second in merges:
        groups.append(groups[first] | groups[second])
    return set(groups)


@given(
    classes=st.integers(2, 25),
    seed=st.integers(0, 10_000),
    linkage=st.sampled_from(LINKAGES),
    normalize=st.booleans(),
)
def test_the_merges_are_those_of_scikit_learn(classes, seed, linkage, normalize):
    weights = np.random.default_rng(seed).normal(size=(classes, 8)) * 3 + 1
    found = induced_hierarchy(weights, [f"c{i}" for i in range(classes)], linkage=linkage, normalize=normalize)
    expected = weights / np.linalg.norm(weights, axis=1, keepdims=True) if normalize else weights
    assert {frozenset(node.leaves) for node in found.nodes} == groups_of(expected, linkage)
    assert len(found.nodes) == 2 * classes - 1
    assert all(len(node.children) in (0, 2) for node in found.nodes)


def test_normalizing_is_what_the_paper_says_and_the_package_does_not():
    weights = np.array([[1.0, 0.0], [9.0, 0.5], [0.0, 1.0], [0.3, 1.0]])
    names = ["small", "large", "up", "also up"]
    assert set(induced_hierarchy(weights, names).smallest("small", "large").leaves) == {"small", "large"}
    raw = induced_hierarchy(weights, names, normalize=False)
    assert len(raw.smallest("small", "large").leaves) == 4


def test_half_precision_weights_and_label_order():
    weights = np.array([[1, 0], [0, 1], [1, 0.1]], dtype=np.float16)
    found = induced_hierarchy(weights, ["b", "a", "c"])
    assert found.class_names == ("b", "a", "c")
    assert set(found.smallest("b", "c").leaves) == {"b", "c"}


@pytest.mark.parametrize(
    ("weights", "params", "field"),
    [
        (np.ones((2, 4)), {}, "weights"),
        (np.ones(3), {}, "weights"),
        (np.ones((3, 0)), {}, "weights"),
        (np.array([[1.0], [2.0], [np.nan]]), {}, "weights"),
        (np.array([[1.0], [2.0], [0.0]]), {}, "weights"),
        (np.ones((3, 4)), {"linkage": "wards"}, "linkage"),
    ],
)
def test_bad_weights_are_named(weights, params, field):
    with pytest.raises(HierarchyError) as error:
        induced_hierarchy(weights, ["a", "b", "c"], **params)
    assert error.value.field == field


def test_a_dead_class_is_named_and_can_be_clustered_without_normalizing():
    weights = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 2.0]])
    with pytest.raises(HierarchyError, match="row of 'b' is zero"):
        induced_hierarchy(weights, ["a", "b", "c"])
    assert induced_hierarchy(weights, ["a", "b", "c"], normalize=False).depth == 2


@given(classes=st.integers(2, 40), branching=st.integers(2, 5), seed=st.integers(0, 100))
def test_random_trees_are_shallow_and_seeded(classes, branching, seed):
    names = [f"c{i}" for i in range(classes)]
    found = random_hierarchy(names, branching=branching, seed=seed)
    assert branching ** (found.depth - 1) < classes <= branching**found.depth
    assert max(len(node.children) for node in found.nodes) <= branching
    assert str(random_hierarchy(names, branching=branching, seed=seed)) == str(found)


def test_random_trees_differ_by_their_seed():
    names = [f"c{i}" for i in range(10)]
    assert len({str(random_hierarchy(names, seed=seed)) for seed in range(5)}) == 5
    with pytest.raises(HierarchyError, match="branching: must be at least 2"):
        random_hierarchy(names, branching=1)
