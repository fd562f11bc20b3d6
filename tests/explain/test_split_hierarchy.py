"""Splits against brute force and scikit-learn's trees; hierarchies of classes whose groups are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.tree import DecisionTreeClassifier

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.split_hierarchy import (
    ObliqueSearch,
    Samples,
    axis_split,
    information_gain_hierarchy,
    oblique_hierarchy,
)

NAMES = ["a", "b", "c", "d"]


def grouped(seed: int, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Four classes at the corners of a rectangle, a and b far from c and d."""
    rng = np.random.default_rng(seed)
    centres = np.array([[-4.0, -1.5], [-4.0, 1.5], [4.0, -1.5], [4.0, 1.5]])
    labels = np.repeat(np.arange(4), each)
    return centres[labels] + 0.3 * rng.normal(size=(4 * each, 2)), labels


def slanted(seed: int, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Two long stripes along the diagonal, one of a and b, one of c and d, which no single feature parts."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), each)
    across = np.where(labels < 2, -1.0, 1.0) + 0.1 * rng.normal(size=4 * each)
    along = np.where(labels % 2, 1.0, -1.0) + 4 * rng.normal(size=4 * each)
    return np.stack([along + across, along - across], axis=1), labels


def gain(labels: np.ndarray, beyond: np.ndarray) -> float:
    """By the definition."""
    parts = [labels[beyond], labels[~beyond]]
    conditional = sum(len(part) / len(labels) * entropy(np.bincount(part)) for part in parts if len(part))
    return float(entropy(np.bincount(labels)) - conditional)


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), features=st.integers(1, 4))
def test_the_best_split_along_a_feature_is_that_of_brute_force(seed, classes, features):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=20)])
    x = rng.normal(size=(len(labels), features)) + rng.normal(size=(classes, features))[labels]
    samples = Samples.of(x, labels)
    found = axis_split(samples)
    best = 0.0
    for feature in range(features):
        means = np.sort([x[labels == c, feature].mean() for c in range(classes)])
        best = max(best, *(gain(labels, x[:, feature] > (a + b) / 2) for a, b in itertools.pairwise(means)))
    assert found.gain == pytest.approx(best)
    assert found.gain == pytest.approx(gain(labels, x @ found.direction > found.threshold))
    assert 0 < found.right.sum() < classes


@pytest.mark.parametrize("seed", range(3))
def test_of_groups_that_lie_apart_the_root_splits_as_scikit_learn_does(seed):
    x, labels = grouped(seed)
    tree = DecisionTreeClassifier(criterion="entropy", max_depth=1, random_state=0).fit(x, labels)
    beyond = x[:, tree.tree_.feature[0]] > tree.tree_.threshold[0]
    split = axis_split(Samples.of(x, labels))
    assert split.gain == pytest.approx(gain(labels, beyond))
    assert split.gain == pytest.approx(np.log(2))
    found = information_gain_hierarchy(x, labels, NAMES)
    assert {frozenset(node.leaves) for node in found.root.children} in (
        {frozenset("ab"), frozenset("cd")},
        {frozenset("ac"), frozenset("bd")},  # both directions part the classes without an error
    )
    assert found.depth == 2


@pytest.mark.parametrize("seed", range(3))
def test_oblique_splits_find_what_single_features_do_not(seed):
    x, labels = slanted(seed)
    assert axis_split(Samples.of(x, labels)).gain < 0.3 * np.log(2)
    found = oblique_hierarchy(x, labels, NAMES, seed=seed)
    assert {frozenset(node.leaves) for node in found.root.children} == {frozenset("ab"), frozenset("cd")}


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
def test_a_move_is_the_best_of_all(seed, classes):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=12)])
    x = rng.normal(size=(len(labels), 3)) * (rng.random((len(labels), 3)) < 0.8)  # zeros do not move
    samples = Samples.of(x, labels)
    search, along = ObliqueSearch(samples, 1, 0, rng), rng.normal(size=3)
    start = axis_split(samples)
    found = search.moved(start, along)
    best = start.gain
    turns = np.sort((start.threshold - x @ start.direction)[x @ along != 0] / (x @ along)[x @ along != 0])
    for first, second in itertools.pairwise(turns):
        direction = start.direction + (first + second) / 2 * along
        right = samples.means @ direction > start.threshold
        if right.any() and not right.all():
            best = max(best, gain(labels, x @ direction > start.threshold))
    assert found.gain == pytest.approx(best)
    assert found.gain == pytest.approx(gain(labels, x @ found.direction > found.threshold))
    assert np.array_equal(found.right, samples.means @ found.direction > found.threshold)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("jumps", [0, 5])
def test_a_search_from_anywhere_climbs(seed, jumps):
    x, labels = slanted(seed)
    search = ObliqueSearch(Samples.of(x, labels), 5, jumps, np.random.default_rng(seed))
    start = search.through_centre(np.array([1.0, 0.2]))
    assert start.gain < 0.3 * np.log(2) < 0.99 * np.log(2) < search.improved(start).gain
    assert search.through_centre(np.zeros(2)) is None


def test_jumps_lead_on_from_where_no_coefficient_helps():
    gained = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = np.arange(80) % 4
        samples = Samples.of(rng.normal(size=(80, 3)) + rng.normal(size=(4, 3))[labels], labels)
        end = ObliqueSearch(samples, 50, 0, rng).improved(axis_split(samples))
        assert ObliqueSearch(samples, 1, 0, rng).improved(end) is end
        gained.append(ObliqueSearch(samples, 1, 20, rng).improved(end).gain - end.gain)
    assert min(gained) >= 0 and max(gained) > 0.01


def test_oblique_hierarchies_are_seeded():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    x = rng.normal(size=(160, 5)) + 0.3 * rng.normal(size=(4, 5))[labels]
    trees = [str(oblique_hierarchy(x, labels, NAMES, seed=7, max_samples=100)) for _ in range(2)]
    assert trees[0] == trees[1]


def test_sparse_features_do_not_stop_the_search():
    x, labels = grouped(0)
    sparse = np.hstack([np.maximum(x, 0), np.zeros((len(x), 2))])  # as after a rectifier: many values are 0
    for tree in (information_gain_hierarchy(sparse, labels, NAMES), oblique_hierarchy(sparse, labels, NAMES)):
        assert set(tree.root.leaves) == set(NAMES) and len(tree.nodes) == 7


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda x, y: (x[:, 0], y), "features"),
        (lambda x, y: (x[:-1], y), "features"),
        (lambda x, y: (x * np.nan, y), "features"),
        (lambda x, y: (x, y + 1), "labels"),
        (lambda x, y: (x, y.astype(float)), "labels"),
        (lambda x, y: (x[y != 2], y[y != 2]), "labels"),
        (lambda x, y: (np.ones_like(x), y), "features"),
    ],
)
@pytest.mark.parametrize("build", [information_gain_hierarchy, oblique_hierarchy])
def test_bad_samples_are_named(build, change, field):
    with pytest.raises(HierarchyError) as error:
        build(*change(*grouped(0, each=5)), NAMES)
    assert error.value.field == field
