"""What nodes stand for: shares that are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from xnas_ray.errors import ExplanationError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.node_meaning import Hypothesis, Meanings, node_meanings

from .stored_trees import CLASSES, by_kind, leaf

UNSEEN = ("crane", "rickshaw", "cloud")
LOGITS = np.array(
    [
        [4.0, 0.0, 0.0, 0.0],  # crane: network dog, tree animal
        [0.0, 0.0, 9.0, -8.0],  # crane: network car, tree vehicle (0.5 against 0)
        [3.0, -9.0, 2.0, 0.0],  # crane: network dog, tree vehicle
        [0.0, 0.0, 1.0, 1.0],  # rickshaw: right by both
        [0.0, 5.0, 4.0, 4.0],  # rickshaw: network cat, tree vehicle
        [9.0, 9.0, 0.0, 0.0],  # cloud, of which no hypothesis speaks
    ]
)
TARGETS = np.array([0, 0, 0, 1, 1, 2])


def meanings(**given) -> Meanings:
    root = Hypothesis(
        0,
        ("animal", "vehicle"),
        (frozenset({0}), frozenset({1})),
        (frozenset({0, 1}), frozenset({2, 3})),
    )
    return node_meanings(by_kind(), LOGITS, TARGETS, UNSEEN, given.get("hypotheses", [root]))


def test_accuracies_of_superclasses_are_counted_by_hand():
    (row,) = meanings().superclasses.to_dict("records")
    assert (row["node"], row["hypothesis"], row["classes"], row["samples"]) == (0, "animal / vehicle", 2, 5)
    assert row["network"] == row["network_within"] == 3 / 5
    assert row["tree"] == row["mean_logit"] == 3 / 5 and row["most"] == 3 / 5


def test_children_have_intervals_and_chance():
    first, second = meanings().children.to_dict("records")
    assert (first["child"], first["samples"], first["agreement"]) == ("animal", 3, 1 / 3)
    assert (second["child"], second["samples"], second["agreement"]) == ("vehicle", 2, 1.0)
    interval = binomtest(1, 3).proportion_ci(0.95, method="wilson")
    assert (first["low"], first["high"]) == (interval.low, interval.high) and first["chance"] == 0.5
    assert meanings().classes.to_dict("records") == [
        {"node": 0, "name": by_kind().root.name, "child": "animal", "class": "crane", "samples": 3, "agreement": 1 / 3},
        {"node": 0, "name": by_kind().root.name, "child": "vehicle", "class": "rickshaw", "samples": 2, "agreement": 1},
    ]


def test_below_the_root_the_network_may_predict_something_else_altogether():
    """Of dog against cat a prediction of a car is wrong for the network; among these two it may be right."""
    logits = np.array([[1.0, 0.0, 5.0, 0.0], [2.0, 1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 0.0]])
    one = Hypothesis(1, ("dog", "cat"), (frozenset({0}), frozenset()), (frozenset({0}), frozenset({1})))
    found = node_meanings(by_kind(), logits, np.array([0, 0, 0]), ("wolf",), [one])
    row = found.superclasses.iloc[0]
    assert (row["network"], row["network_within"], row["tree"]) == (1 / 3, 2 / 3, 2 / 3)
    assert found.children["child"].tolist() == ["dog"], "no sample is expected at the other child"


def test_classes_of_the_superclass_elsewhere_in_the_tree_count_for_the_network():
    """A tree that has a car among the animals: the network is right if it says derrick, the mean logit knows both."""
    mixed = Node.over([leaf("dog"), leaf("cat"), leaf("car")], "things")
    tree = Hierarchy(Node.over([mixed, leaf("derrick")]), CLASSES)
    one = Hypothesis(1, ("a", "b", "c"), (frozenset(), frozenset(), frozenset({0})), ({0}, {1}, {2, 3}))
    logits = np.array([[1.0, 0.0, 0.5, 9.0]])
    row = node_meanings(tree, logits, np.array([0]), ("lorry",), [one]).superclasses.iloc[0]
    assert (row["network"], row["network_within"], row["mean_logit"], row["tree"]) == (1.0, 1.0, 1.0, 0.0)


def test_nothing_to_test():
    with pytest.raises(ExplanationError, match=r"no unseen class belongs.*--hypothesis"):
        meanings(hypotheses=[Hypothesis(0, ("a", "b"), (frozenset(), frozenset()), (frozenset({0}), frozenset({1})))])
