"""The stored tree of a trial against recursion: its hierarchy, the ways of samples, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from xnas_ray.errors import HierarchyError, StoreError
from xnas_ray.explain.hierarchy import Node
from xnas_ray.explain.tree_table import (
    ambiguous_table,
    children_of,
    entropy_at,
    hierarchy_of,
    similar_table,
    tree_of_trial,
    upper_nodes,
    way,
)

from .stored_trees import made, samples_of, stored


def recursive_way(node: Node, scores: dict[str, float]) -> list[tuple[str, float, float]]:
    """Name, probability and entropy of every node on the hard path, one node after the other."""
    if node.is_leaf:
        return []
    means = np.array([np.mean([scores[leaf] for leaf in child.leaves]) for child in node.children])
    shares = np.exp(means - means.max()) / np.exp(means - means.max()).sum()
    best = int(shares.argmax())
    entropy = float(-(shares * np.log(shares)).sum())
    child = node.children[best]
    return [(child.name, float(shares[best]), entropy), *recursive_way(child, scores)]


@pytest.mark.parametrize("seed", range(3))
def test_the_hierarchy_comes_back_with_its_numbers(random_tree, seed):
    outcome = made(random_tree(9, seed))
    tree = tree_of_trial(stored(outcome), 4)
    again = hierarchy_of(tree, outcome.hierarchy.class_names)
    assert [(node.name, node.leaves) for node in again.nodes] == [
        (node.name, node.leaves) for node in outcome.hierarchy.nodes
    ]
    assert children_of(tree) == {i: below for i, below in outcome.hierarchy.children.items() if below}
    assert tree["share"].tolist() == (tree["visits"] / 30).tolist()
    with pytest.raises(HierarchyError):
        hierarchy_of(tree, ["x", "y"])


@pytest.mark.parametrize("seed", range(3))
def test_ways_are_those_of_hard_inference(random_tree, seed):
    outcome = made(random_tree(8, seed), seed=seed)
    samples = samples_of(outcome)
    tree = tree_of_trial(stored(outcome), 4)
    children = children_of(tree)
    table = ambiguous_table(tree, samples)
    for i, row in enumerate(table.to_dict("records")):
        logits = outcome.logits[row["sample"]].tolist()
        steps = recursive_way(outcome.hierarchy.root, dict(zip(samples.classes, logits, strict=True)))
        assert row["way"] == " > ".join(f"{name} {share:.2f}" for name, share, _ in steps)
        assert [tree["name"][node] for node in way(samples.reach[i], children)[1:]] == [name for name, *_ in steps]
        entropies = [entropy for *_, entropy in steps]
        assert row["entropy"] == pytest.approx(max(entropies), abs=1e-4)
        assert row["path_entropy"] == pytest.approx(max(entropies) - min(entropies), abs=1e-4)
        names = [tree["name"][0], *(name for name, *_ in steps)]
        assert row["doubt"] == names[int(np.argmax(entropies))]
    assert table["path_entropy"].is_monotonic_decreasing
    assert len(ambiguous_table(tree, samples, 2)) == 2


def test_a_decision_without_any_probability_has_an_entropy():
    assert entropy_at(0, np.array([0.0, 0.0, 0.0], dtype=np.float32), {0: [1, 2]}) == 0.0


def test_examples_by_node(random_tree):
    outcome = made(random_tree(6, 1))
    tree, samples = tree_of_trial(stored(outcome), 4), samples_of(outcome)
    table = similar_table(tree, samples)
    assert table["rank"].tolist() == [1, 2] * len(tree) and table["node"].is_monotonic_increasing
    for row in table.to_dict("records"):
        target = outcome.hierarchy.class_names[int(outcome.targets[row["sample"]])]
        assert row["target"] == target and row["name"] == outcome.hierarchy.nodes[row["node"]].name
        assert row["own"] == (target in outcome.hierarchy.nodes[row["node"]].leaves)
    assert not table["own"].all() and table["own"].any()


def test_the_upper_nodes_of_a_large_tree(random_tree):
    tree = tree_of_trial(stored(made(random_tree(40, 2))), 4)
    shown = upper_nodes(tree, 12)
    assert 3 <= len(shown) <= 12 and set(shown["parent"]) <= {-1, *shown["node"]}
    deeper = tree[tree["depth"] <= shown["depth"].max() + 1]
    assert len(deeper) > 12, "another level would be too many"
    assert len(upper_nodes(tree, 1000)) == len(tree) and upper_nodes(tree, 1)["depth"].max() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns=["visits", "wnid"]), "lacks wnid, visits"),
        (lambda table: table[table["trial"] == 5], "trial 4 has no decision tree"),
        (lambda table: table[table["node"] != 1], "do not fit together"),
        (lambda table: table.assign(parent=table["parent"].where(table["node"] != 2, 7)), "do not fit together"),
        (lambda table: table.assign(parent=table["parent"].where(table["node"] != 2, -1)), "do not fit together"),
    ],
)
def test_what_is_no_tree(random_tree, change, message):
    with pytest.raises(StoreError, match=message):
        tree_of_trial(change(stored(made(random_tree(5, 0)))), 4)


def test_samples_of_another_tree(random_tree):
    outcome = made(random_tree(5, 0))
    tree, samples = tree_of_trial(stored(outcome), 4), samples_of(outcome)
    with pytest.raises(StoreError, match="do not fit a tree of"):
        ambiguous_table(tree, dataclasses.replace(samples, node=samples.node * 0, reach=samples.reach[:, :2]))
