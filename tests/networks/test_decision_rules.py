"""Decision rules against a recursive implementation that looks at one sample and one node at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node, grow
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.networks.decision_rules import DecisionRules

trees = st.tuples(st.integers(2, 14), st.integers(0, 2000))


def shares(node: Node, logits: dict[str, float]) -> list[float]:
    """Probabilities of the children of a node."""
    scores = [np.mean([logits[leaf] for leaf in child.leaves]) for child in node.children]
    odds = np.exp(np.array(scores) - max(scores))
    return list(odds / odds.sum())


def spread(node: Node, logits: dict[str, float], mass: float = 1.0) -> dict[str, float]:
    """Probabilities of the classes below a node."""
    if node.is_leaf:
        return {node.name: mass}
    found: dict[str, float] = {}
    for child, share in zip(node.children, shares(node, logits), strict=True):
        found |= spread(child, logits, mass * share)
    return found


def followed(node: Node, logits: dict[str, float]) -> str:
    """The class at which the most probable children end."""
    return node.name if node.is_leaf else followed(node.children[int(np.argmax(shares(node, logits)))], logits)


def way(root: Node, to: str, logits: dict[str, float]) -> list[tuple[str, float, float]]:
    """Name, probability and entropy of each node on the way to a class."""
    steps, node, probability = [], root, 1.0
    while not node.is_leaf:
        parts = shares(node, logits)
        steps.append((node.name, probability, -sum(p * math.log(p) for p in parts)))
        taken = next(i for i, child in enumerate(node.children) if to in child.leaves)
        node, probability = node.children[taken], parts[taken]
    return [*steps, (node.name, probability, 0.0)]


def batch(tree: Hierarchy, seed: int, samples: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(samples, len(tree.class_names), generator=generator, dtype=torch.float64)


def by_name(tree: Hierarchy, row: Tensor) -> dict[str, float]:
    return dict(zip(tree.class_names, row.tolist(), strict=True))


@given(shape=trees)
def test_soft_and_hard_inference_are_those_of_the_definition(random_tree, shape):
    tree = random_tree(*shape)
    logits, rules = batch(tree, shape[1]), DecisionRules(tree)
    found, hard = rules(logits).exp(), rules.hard(logits)
    assert torch.allclose(found.sum(dim=1), torch.ones(len(logits), dtype=torch.float64), atol=1e-12)
    for i, row in enumerate(logits):
        named = by_name(tree, row)
        expected = spread(tree.root, named)
        assert found[i].tolist() == pytest.approx([expected[name] for name in tree.class_names], abs=1e-12)
        assert tree.class_names[hard[i]] == followed(tree.root, named)
    assert torch.equal(rules.soft(logits), found.argmax(1))


@given(shape=trees, hard=st.booleans())
def test_every_sample_of_a_batch_gets_its_own_decisions(random_tree, shape, hard):
    tree = random_tree(*shape)
    logits, rules = batch(tree, shape[1]), DecisionRules(tree)
    found = rules.decisions(logits, hard=hard)
    assert torch.equal(found.classes, rules.hard(logits) if hard else rules.soft(logits)) and len(found) == len(logits)
    for i, row in enumerate(logits):
        expected = way(tree.root, tree.class_names[found.classes[i]], by_name(tree, row))
        decisions = found.of(i)
        assert [d.name for d in decisions] == [name for name, _, _ in expected]
        assert [tree.nodes[d.node].name for d in decisions] == [d.name for d in decisions]
        assert [d.probability for d in decisions] == pytest.approx([p for _, p, _ in expected], abs=1e-12)
        assert [d.entropy for d in decisions] == pytest.approx([h for _, _, h in expected], abs=1e-12)
        taken = [h for _, _, h in expected[:-1]]
        assert found.path_entropy[i].item() == pytest.approx(max(taken) - min(taken), abs=1e-12)
        assert found.mean_entropy[i].item() == pytest.approx(np.mean(taken), abs=1e-12)
        alone = rules.decisions(logits[i : i + 1], hard=hard).of(0)
        assert [d.node for d in alone] == [d.node for d in decisions], "whatever else is in the batch"


@given(seed=st.integers(0, 1000))
def test_two_classes_are_a_plain_softmax(random_tree, seed):
    rules, logits = DecisionRules(random_tree(2, seed)), torch.randn(5, 2, dtype=torch.float64) * 10
    assert torch.allclose(rules(logits), logits.log_softmax(1))
    assert torch.equal(rules.hard(logits), logits.argmax(1))


def test_a_flat_tree_is_a_plain_softmax_too():
    names = tuple(f"c{i}" for i in range(6))
    rules = DecisionRules(Hierarchy(Node.over([Node.leaf(name) for name in reversed(names)]), names))
    logits = torch.randn(5, 6)
    assert torch.allclose(rules(logits), logits.log_softmax(1), atol=1e-6)
    assert torch.equal(rules.hard(logits), logits.argmax(1))


@given(shape=trees)
def test_children_share_the_probability_of_their_parent(random_tree, shape):
    tree = random_tree(*shape)
    logits, rules = batch(tree, shape[1]), DecisionRules(tree)
    choices = rules.choices(logits).exp()
    for row, node in enumerate(rules.inner):
        edges = torch.nonzero(rules.parent == row).flatten()
        assert [tree.nodes[i] for i in rules.child[edges].tolist()] == list(tree.nodes[node].children)
        assert torch.allclose(choices[:, edges].sum(1), torch.ones(len(logits), dtype=torch.float64))
        expected = torch.special.entr(choices[:, edges]).sum(1)
        assert torch.allclose(rules.entropies(logits)[:, row], expected)


def test_means_of_logits_are_products_with_means_of_weights():
    """Equation 5.5 of the thesis; the bias is averaged with the weights."""
    rng = np.random.default_rng(0)
    weights, bias, features = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=(3, 4))
    tree = induced_hierarchy(weights, [f"c{i}" for i in range(6)])
    rules = DecisionRules(tree)
    choices = rules.choices(torch.from_numpy(features @ weights.T + bias)).exp()
    edges = [edge for edge in range(len(rules.child)) if rules.inner[rules.parent[edge]] == 0]
    scores = []
    for edge in edges:
        own = [tree.class_names.index(leaf) for leaf in tree.nodes[rules.child[edge]].leaves]
        scores.append(features @ weights[own].mean(0) + bias[own].mean())
    odds = np.exp(scores)
    assert np.allclose(choices[:, edges].numpy().T, odds / odds.sum(axis=0))


def test_gradients_are_those_of_finite_differences(random_tree):
    for shape in ((2, 0), (5, 1), (9, 4)):
        tree = random_tree(*shape)
        rules, logits = DecisionRules(tree), batch(tree, 3, samples=3).requires_grad_()
        assert torch.autograd.gradcheck(rules, (logits,))
        assert torch.autograd.gradcheck(rules.entropies, (logits,))


def test_extreme_logits_stay_finite(random_tree):
    tree = random_tree(8, 3)
    logits = (1e4 * batch(tree, 0)).float().requires_grad_()
    found = DecisionRules(tree)(logits)
    found.max(dim=1).values.sum().backward()
    assert torch.isfinite(found).all() and torch.isfinite(logits.grad).all()


def test_half_precision_is_computed_with_in_single(random_tree):
    tree = random_tree(8, 3)
    rules, logits = DecisionRules(tree), batch(tree, 0).bfloat16()
    found = rules(logits)
    assert found.dtype == torch.float32 and torch.equal(found, rules(logits.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rules(logits.float()), found)


def test_a_chain_of_three_hundred_classes():
    names = tuple(f"c{i}" for i in range(300))
    children: dict[Any, list[Any]] = {i: [names[i], i + 1] for i in range(298)} | {298: [names[298], names[299]]}
    root = grow(0, children, lambda key, below: Node.over(below) if below else Node.leaf(key))
    rules = DecisionRules(Hierarchy(root, names))
    logits = torch.randn(2, 300, dtype=torch.float64)
    found = rules(logits)
    assert torch.allclose(found.exp().sum(1), torch.ones(2, dtype=torch.float64))
    rest = np.array([logits[0, i + 1 :].mean().item() for i in range(299)])
    stay = np.array([logits[0, i].item() for i in range(299)])
    going = -np.log1p(np.exp(stay - rest))  # log-probability of going on
    expected = [*(going[:i].sum() - np.log1p(np.exp(rest[i] - stay[i])) for i in range(299)), going.sum()]
    assert found[0].tolist() == pytest.approx(expected)


def test_it_has_no_weights_and_moves_with_the_network(random_tree):
    rules = DecisionRules(random_tree(5))
    assert not list(rules.parameters()) and not rules.state_dict()
    assert {buffer.device.type for buffer in rules.to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 5, 3)])
def test_other_outputs_are_refused(random_tree, shape):
    with pytest.raises(HierarchyError, match="do not fit 5 classes") as error:
        DecisionRules(random_tree(5))(torch.zeros(shape))
    assert error.value.field == "logits"


@given(shape=trees)
def test_shares_are_sums_over_the_classes_below(random_tree, shape):
    tree, numbers = random_tree(*shape), batch(random_tree(*shape), shape[1])
    rules = DecisionRules(tree)
    below = [[tree.class_names.index(leaf) for leaf in tree.nodes[child].leaves] for child in rules.child.tolist()]
    assert torch.allclose(rules.shares(numbers), torch.stack([numbers[:, own].sum(1) for own in below], dim=1))
