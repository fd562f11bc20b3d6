"""Branches that samples of unseen classes take, against the ways of single samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xnas_ray.explain.traversals import traversals
from xnas_ray.networks.decision_rules import DecisionRules


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_those_of_the_hard_ways(random_tree, seed):
    tree, names = random_tree(9, seed), ("seashore", "teddy", "none of it", "lamp")
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(50, 9)), rng.choice([0, 1, 3], 50)
    found = traversals(tree, logits, targets, names)
    counted: dict[tuple[str, int], int] = {}
    decisions = DecisionRules(tree).decisions(torch.from_numpy(logits), hard=True)
    for sample, label in enumerate(targets):
        for step in decisions.of(sample):
            counted[names[label], step.node] = counted.get((names[label], step.node), 0) + 1
    assert {(row["class"], row["node"]): row["samples"] for row in found.to_dict("records")} == counted
    assert found["class"].unique().tolist() == ["seashore", "teddy", "lamp"]
    for row in found.to_dict("records"):
        node = tree.nodes[row["node"]]
        assert (row["name"], row["leaf"]) == (node.name, node.is_leaf)
        assert row["share"] == row["samples"] / (targets == names.index(row["class"])).sum()
    ends = found[found["leaf"]].groupby("class")["share"].sum()
    assert np.allclose(ends, 1.0)
