"""How far a tree parts classes, beside their activations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from xnas_ray.report.tree_distances import tree_agreement, tree_distances

from .joint_search import CLASSES, pairs, tree


def test_the_distance_is_the_size_of_the_smallest_node_with_both():
    classes, distances = tree_distances(tree(0))
    at = {name: i for i, name in enumerate(classes)}
    assert set(classes) == set(CLASSES)
    assert distances[at["dog"], at["fox"]] == 2 and distances[at["cat"], at["fox"]] == 3
    assert distances[at["cat"], at["van"]] == 6 and (np.diag(distances) == 0).all()
    for i in range(6):  # an ultrametric: of three classes the two largest distances are equal
        for j in range(6):
            assert all(distances[i, j] <= max(distances[i, k], distances[k, j]) for k in range(6))


def test_agreement_is_a_rank_correlation_with_mantels_p():
    found = tree_agreement(tree(0), pairs(0))
    classes, distances = tree_distances(tree(0))
    at = {name: i for i, name in enumerate(classes)}
    rows = pairs(0)
    near = [distances[at[a], at[b]] for a, b in zip(rows["first"], rows["second"], strict=True)]
    assert found.value == pytest.approx(spearmanr(near, rows["distance"]).statistic) and found.value > 0.8
    assert found.n == 6 and 0.004 < found.p < 0.05, "six classes have 720 orders, and eight of them are this tree"
    assert tree_agreement(tree(0), rows.assign(distance=1 - rows["distance"])).value == pytest.approx(-found.value)


def test_shuffled_classes_are_undecided():
    p = []
    for seed in range(30):
        rows = pairs(0)
        rows["distance"] = np.random.default_rng(seed).uniform(size=len(rows))
        p.append(tree_agreement(tree(0), rows, seed).p)
    assert np.mean(np.array(p) < 0.1) < 0.25


def test_classes_that_are_never_predicted_do_not_count():
    rows = pairs(0)
    rows.loc[(rows["first"] == "cat") | (rows["second"] == "cat"), "distance"] = np.nan
    found = tree_agreement(tree(0), rows)
    assert found.n == 5 and found.value > 0.8
    assert math.isnan(tree_agreement(tree(0), rows.iloc[:0]).value)
    three = rows[rows["first"].isin(["dog", "fox", "bus"]) & rows["second"].isin(["dog", "fox", "bus"])]
    few = tree_agreement(tree(0), three)
    assert few.n == 3 and math.isnan(few.p)
