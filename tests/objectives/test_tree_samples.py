"""Samples of a tree against loops: the largest path entropies, the most similar features, naive ways down the tree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from xnas_ray.explain.hierarchy import Node
from xnas_ray.objectives import tree_samples as module
from xnas_ray.objectives.decision_tree import TreeAccuracy, TreeGap
from xnas_ray.objectives.tree_outcome import TreeOutcome
from xnas_ray.objectives.tree_samples import most_similar, reach, tree_samples
from xnas_ray.store.tree_samples import AMBIGUOUS, SIMILAR
from xnas_ray.tasks.base import Data, Split
from xnas_ray.testing.tiny import tiny_trained
from xnas_ray.training.trained import TrainedCandidate


def made(tree, samples: int = 80, seed: int = 0) -> TreeOutcome:
    generator = torch.Generator().manual_seed(seed)
    count = len(tree.class_names)
    return TreeOutcome(tree, 2 * torch.randn(samples, count, generator=generator), torch.arange(samples) % count)


def with_images(outcome: TreeOutcome) -> TrainedCandidate:
    """A candidate whose validation samples are images that tell their number."""
    count, trained = len(outcome.logits), tiny_trained()
    images = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2) / 255
    split = Split((images,), outcome.targets)
    data = Data(split, split, split, classes=outcome.hierarchy.class_names, image_range=((0.0, 1.0),))
    return replace(trained, data=data, outputs=outcome.logits, targets=outcome.targets)


def down(node: Node, scores: dict[str, float], probability: float = 1.0) -> dict[int, float]:
    """Probabilities of arriving by recursion, a node at a time: by the node's identity."""
    found = {id(node): probability}
    means = np.array([np.mean([scores[leaf] for leaf in child.leaves]) for child in node.children])
    if len(means):
        shares = np.exp(means - means.max()) / np.exp(means - means.max()).sum()
        for child, share in zip(node.children, shares, strict=True):
            found |= down(child, scores, probability * share)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_reach_is_the_product_of_the_decisions(random_tree, seed):
    outcome = made(random_tree(9, seed), samples=20, seed=seed)
    found = reach(outcome.rules, outcome.logits)
    for sample, logits in enumerate(outcome.logits.tolist()):
        naive = down(outcome.hierarchy.root, dict(zip(outcome.hierarchy.class_names, logits, strict=True)))
        expected = [naive[id(node)] for node in outcome.hierarchy.nodes]
        assert found[sample].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_most_ambiguous_come_first(random_tree):
    outcome = made(random_tree(8, 3))
    entropies = []
    for row in outcome.logits:
        steps = outcome.rules.decisions(row[None], hard=True).of(0)[:-1]
        values = [step.entropy for step in steps]
        entropies.append(max(values) - min(values))
    found = tree_samples(with_images(outcome), outcome, ambiguous=6)
    first = found.group == AMBIGUOUS
    assert found.sample[first].tolist() == np.argsort(-np.array(entropies), kind="stable")[:6].tolist()
    assert found.path_entropy[first].tolist() == pytest.approx(sorted(entropies)[:-7:-1], abs=1e-6)
    assert (found.node[first] == -1).all() and (found.node[~first] >= 0).all()


def test_predictions_reach_and_images_are_those_of_the_samples(random_tree):
    outcome = made(random_tree(5, 1))
    found = tree_samples(with_images(outcome), outcome)
    rows = torch.from_numpy(found.sample)
    assert found.network.tolist() == outcome.logits[rows].argmax(dim=1).tolist()
    assert found.target.tolist() == outcome.targets[rows].tolist()
    assert found.soft.tolist() == outcome.rules.soft(outcome.logits[rows]).tolist()
    assert found.hard.tolist() == outcome.rules.hard(outcome.logits[rows]).tolist()
    assert np.allclose(found.reach, reach(outcome.rules, outcome.logits[rows]), atol=1e-6)
    assert found.images.shape == (len(found), 2, 2, 1) and found.images[:, 0, 0, 0].tolist() == rows.tolist()


def features_of(trained: TrainedCandidate) -> Tensor:
    """What the last layer reads, by a hook."""
    caught: list[Tensor] = []
    handle = trained.model.head.register_forward_hook(lambda module, inputs, output: caught.append(inputs[0]))
    with torch.no_grad():
        trained.model.eval()(*trained.data.validation.inputs)
    handle.remove()
    return caught[0]


def test_examples_have_the_largest_inner_product_with_the_nodes_weight():
    """By brute force from the features and weights; biases that differ do not change the order."""
    trained = tiny_trained(epochs=1)
    with torch.no_grad():
        trained.model.head.bias.copy_(torch.tensor([5.0, -3.0]))
        outputs = trained.model.eval()(*trained.data.validation.inputs)
    trained = replace(trained, outputs=outputs)
    outcome = TreeGap().outcome(trained)
    features, weight = features_of(trained), trained.model.head.weight.detach()
    number = {name: k for k, name in enumerate(outcome.hierarchy.class_names)}
    found = most_similar(outcome, 3)
    assert list(found) == [0, 1, 2]
    for i, rows in found.items():
        mine = weight[[number[leaf] for leaf in outcome.hierarchy.nodes[i].leaves]].mean(dim=0)
        products = [float(features[row] @ mine) for row in range(len(features))]
        assert rows.tolist() == sorted(range(len(products)), key=lambda row: -products[row])[:3]


def test_of_many_nodes_those_near_the_root_have_examples(random_tree, monkeypatch):
    outcome = made(random_tree(12, 5))
    depths = dict(enumerate(depth for _, depth in outcome.hierarchy.walk()))
    monkeypatch.setattr(module, "MAX_NODES", 5)
    monkeypatch.setattr(module, "MAX_SAMPLES", 7)
    found = most_similar(outcome, 2)
    assert len(found) == 5 and max(depths[i] for i in found) <= min(depths[i] for i in set(depths) - set(found))
    assert all(len(rows) == 2 and rows.max() < 7 for rows in found.values())


def test_two_classes_have_no_ambiguous_samples():
    """There is one decision, so its entropy differs from nothing; data that are no images give none."""
    trained = tiny_trained()
    found = TreeAccuracy().samples(trained)
    assert set(found.group.tolist()) == {SIMILAR} and len(found) == 9 and not found.has_images
