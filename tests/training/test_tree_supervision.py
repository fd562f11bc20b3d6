"""Losses along a tree against loops over samples and nodes, and against the formulas of the published package."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.training.tree_supervision import (
    LABELS_FADING,
    TREE_LARGE,
    TREE_SMALL,
    TreeSupervision,
    TreeUpdates,
    WeightSchedule,
    hard_tree_loss,
    soft_tree_loss,
)

trees = st.tuples(st.integers(2, 12), st.integers(0, 2000))


def batch(tree: Hierarchy, seed: int, samples: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = len(tree.class_names)
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (samples,), generator=generator)


def node_terms(tree: Hierarchy, logits: Tensor, targets: Tensor) -> dict[Node, list[Tensor]]:
    """Cross entropies between the children of every inner node, of the samples whose label is below it."""
    terms: dict[Node, list[Tensor]] = {node: [] for node in tree.nodes if not node.is_leaf}
    for row, target in zip(logits, targets.tolist(), strict=True):
        label = tree.class_names[target]
        for node, losses in terms.items():
            if label in node.leaves:
                own = [[tree.class_names.index(leaf) for leaf in child.leaves] for child in node.children]
                scores = torch.stack([row[columns].mean() for columns in own])
                right = next(i for i, child in enumerate(node.children) if label in child.leaves)
                losses.append(functional.cross_entropy(scores[None], torch.tensor([right])))
    return terms


@given(shape=trees)
def test_the_losses_are_those_of_loops(random_tree, shape):
    tree = random_tree(*shape)
    (logits, targets), rules = batch(tree, shape[1]), DecisionRules(tree)
    terms = node_terms(tree, logits, targets)
    total = sum((loss for losses in terms.values() for loss in losses), torch.zeros((), dtype=torch.float64))
    assert torch.allclose(soft_tree_loss(rules, logits, targets), total / len(targets))
    means = [torch.stack(losses).mean().item() if losses else 0.0 for losses in terms.values()]
    assert hard_tree_loss(rules, logits, targets).item() == pytest.approx(np.mean(means))


@given(shape=trees, start=st.floats(0.1, 10))
def test_legacy_losses_are_the_formulas_of_the_published_package(random_tree, shape, start):
    tree = random_tree(*shape)
    (logits, targets), rules = batch(tree, shape[1]), DecisionRules(tree)
    probabilities = rules(logits).exp()
    second = -torch.log_softmax(probabilities, 1)[torch.arange(len(targets)), targets].mean()
    assert torch.allclose(soft_tree_loss(rules, logits, targets, legacy=True), second)
    # Nodes with as many children are one batch there, scaled by their samples over B N / 2 and by the weight.
    terms = node_terms(tree, logits, targets)
    half = len(targets) * len(terms) / 2
    by_children: dict[int, list[Tensor]] = {}
    for node, losses in terms.items():
        by_children.setdefault(len(node.children), []).extend(losses)
    inner = sum(torch.stack(losses).mean() * len(losses) / half * start for losses in by_children.values() if losses)
    weights = WeightSchedule(start, 3.0)
    loss = TreeSupervision(tree, kind="hard", tree_weight=weights, legacy=True)
    loss.start_epoch(1, 4)
    plain = functional.cross_entropy(logits, targets)
    assert torch.allclose(loss(logits, targets), plain + inner * (0.75 * start + 0.25 * 3.0))


@pytest.mark.parametrize(("classes", "floor"), [(10, 1.46), (100, 3.62), (200, 4.31), (1000, 5.91)])
def test_a_second_softmax_leaves_a_perfect_network_a_loss(classes, floor):
    tree = induced_hierarchy(np.random.default_rng(0).normal(size=(classes, 8)), [f"c{i}" for i in range(classes)])
    rules, targets = DecisionRules(tree), torch.arange(classes)[:20]
    logits = 1e7 * torch.eye(classes, dtype=torch.float64)[:20]
    assert soft_tree_loss(rules, logits, targets).item() == pytest.approx(0, abs=1e-9)
    legacy = soft_tree_loss(rules, logits, targets, legacy=True).item()
    assert legacy == pytest.approx(math.log(1 + (classes - 1) / math.e)) and legacy == pytest.approx(floor, abs=0.005)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("legacy", [False, True])
def test_gradients_are_those_of_finite_differences(random_tree, kind, legacy):
    tree = random_tree(7, 5)
    logits, targets = batch(tree, 1, samples=4)
    loss = TreeSupervision(tree, kind=kind, legacy=legacy, tree_weight=WeightSchedule(0.5, 2.0))
    loss.start_epoch(1, 2)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits.requires_grad_(),))


def test_two_classes_lose_the_plain_cross_entropy(random_tree):
    tree = random_tree(2)
    (logits, targets), rules = batch(tree, 0), DecisionRules(tree)
    plain = functional.cross_entropy(logits, targets)
    assert torch.allclose(soft_tree_loss(rules, logits, targets), plain)
    assert torch.allclose(hard_tree_loss(rules, logits, targets), plain)


@given(shape=trees, smoothing=st.sampled_from([0.1, 0.5]))
def test_smoothed_labels_are_shares_of_all_classes(random_tree, shape, smoothing):
    """Every sample is one of each class, counted by the share of its label."""
    tree = random_tree(*shape)
    (logits, targets), rules = batch(tree, shape[1]), DecisionRules(tree)
    classes = len(tree.class_names)
    copies, labels = logits.repeat_interleave(classes, 0), torch.arange(classes).repeat(len(targets))
    shares = ((1 - smoothing) * functional.one_hot(targets, classes) + smoothing / classes).flatten()
    soft = -(shares * rules(copies)[torch.arange(len(labels)), labels]).sum() / len(targets)
    assert torch.allclose(soft_tree_loss(rules, logits, targets, label_smoothing=smoothing), soft)
    legacy = hard_tree_loss(rules, logits, targets, legacy=True, label_smoothing=smoothing)
    assert torch.allclose(legacy, 2 / len(rules.inner) * soft)
    whole = hard_tree_loss(rules, logits, targets, label_smoothing=smoothing)
    sums, counts = {}, {}
    for row, label, share in zip(copies, labels, shares, strict=True):
        for node, found in node_terms(tree, row[None], label[None]).items():
            if found:
                sums[node] = sums.get(node, 0) + share * found[0]
                counts[node] = counts.get(node, 0) + share
    assert torch.allclose(whole, torch.stack([sums[node] / counts[node] for node in sums]).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ranks_that_share_a_batch_lose_what_the_whole_batch_does(random_tree, smoothing):
    """Five samples on one rank and two on the other; each hears the sum of what both say."""
    tree = random_tree(7, 5)
    (logits, targets), rules = batch(tree, 1), DecisionRules(tree)
    parts = [(logits[:5], targets[:5]), (logits[5:], targets[5:])]
    said: list[Tensor] = []

    def lose(part: tuple[Tensor, Tensor], total) -> Tensor:
        return hard_tree_loss(rules, *part, label_smoothing=smoothing, total=total)

    for part in parts:
        lose(part, lambda numbers: said.append(numbers) or numbers)
    losses = [lose(part, lambda numbers: sum(said)) for part in parts]
    whole = hard_tree_loss(rules, logits, targets, label_smoothing=smoothing)
    assert torch.allclose((5 * losses[0] + 2 * losses[1]) / 7, whole)
    alone = [lose(part, None) for part in parts]
    assert not torch.allclose((5 * alone[0] + 2 * alone[1]) / 7, whole), "else this tells nothing"


# ---- over a training -------------------------------------------------------------------------------------------------


def test_schedules_of_the_thesis():
    assert [TREE_SMALL(p) for p in (0, 0.5, 1)] == [0, 0.25, 0.5]
    assert TREE_LARGE(1) == 5 and LABELS_FADING(0.25) == 0.75
    assert WeightSchedule(1.0, 3.0, power=2)(0.5) == 1.5
    assert [epoch for epoch in range(200) if TreeUpdates().due(epoch)] == [67, 77, 87, 97, 107, 117]
    assert [epoch for epoch in range(200) if TreeUpdates(120, 121, 10).due(epoch)] == [120]


@pytest.mark.parametrize(
    ("epochs", "shares", "expected"),
    [
        (200, (0.335, 0.6, 0.05), [67, 77, 87, 97, 107, 117]),
        (200, (0.6, 0.605, 0.05), [120]),
        (12, (0.335, 0.6, 0.05), [5, 6, 7]),
        (10, (0.3, 0.9, 0.2), [3, 5, 7]),
        (3, (0.335, 0.6, 0.05), [2]),
        (1, (0.335, 0.6, 0.05), []),
        (1, (0.0, 0.6, 0.05), [0]),
    ],
)
def test_shares_of_a_schedule_are_its_epochs(epochs, shares, expected):
    start, until, every = shares
    updates = TreeUpdates.in_schedule(epochs, start=start, until=until, every=every)
    assert [epoch for epoch in range(epochs) if updates.due(epoch)] == expected


def test_weights_follow_the_epochs(random_tree):
    tree = random_tree(5)
    (logits, targets), rules = batch(tree, 0), DecisionRules(tree)
    plain, along = functional.cross_entropy(logits, targets), soft_tree_loss(rules, logits, targets)
    loss = TreeSupervision(tree, tree_weight=TREE_SMALL, label_weight=LABELS_FADING)
    assert torch.allclose(loss(logits, targets), 0.5 * along), "as at the end, where nobody tells the epoch"
    loss.start_epoch(0, 10)
    assert torch.allclose(loss(logits, targets), plain)
    loss.start_epoch(4, 10)
    assert torch.allclose(loss(logits, targets), 0.6 * plain + 0.2 * along)


def test_trees_are_made_anew_while_training(random_tree):
    made: list[Hierarchy] = []

    def build() -> Hierarchy:
        made.append(random_tree(5, len(made)))
        return made[-1]

    loss = TreeSupervision(None, updates=TreeUpdates(2, 6, 3), build=build, tree_weight=WeightSchedule(0.5, 0.5))
    logits, targets = batch(random_tree(5), 0)
    plain = functional.cross_entropy(logits, targets)
    counts = []
    for epoch in range(8):
        loss.start_epoch(epoch, 8)
        counts.append(len(made))
        tree = loss.tree
        expected = plain if tree is None else soft_tree_loss(DecisionRules(tree), logits, targets)
        assert torch.allclose(loss(logits, targets), plain + 0.5 * expected)
    assert counts == [0, 0, 1, 1, 1, 2, 2, 2]
    resumed = TreeSupervision(None, updates=TreeUpdates(2, 6, 3), build=build, tree_weight=WeightSchedule(0.5, 0.5))
    resumed.tree = loss.tree
    loss.start_epoch(5, 8)
    resumed.tree, count = loss.tree, len(made)
    resumed.start_epoch(5, 8, resumed=True)
    assert torch.equal(resumed(logits, targets), loss(logits, targets)) and len(made) == count == 3


def test_it_teaches_a_linear_layer_to_decide_along_any_tree(random_tree):
    torch.manual_seed(0)
    centres = torch.randn(6, 12)
    labels = torch.arange(6).repeat(30)
    x = centres[labels] + 0.3 * torch.randn(180, 12)
    tree = random_tree(6, 11)
    weights, loss = torch.zeros(12, 6, requires_grad=True), TreeSupervision(tree, label_weight=WeightSchedule(0, 0))
    for _ in range(60):
        (gradient,) = torch.autograd.grad(loss(x @ weights, labels), weights)
        weights = (weights - 0.5 * gradient).detach().requires_grad_()
    assert (DecisionRules(tree).hard(x @ weights) == labels).float().mean() > 0.95


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda tree: TreeSupervision(tree, kind="softly"), "kind"),
        (lambda tree: TreeSupervision(None), "tree"),
        (lambda tree: TreeSupervision(tree, updates=TreeUpdates()), "tree"),
        (lambda tree: TreeUpdates(5, 5), "updates"),
        (lambda tree: TreeUpdates(every_epochs=0), "updates"),
        (lambda tree: WeightSchedule(power=0), "power"),
    ],
)
def test_bad_settings_are_named(random_tree, make, field):
    with pytest.raises(HierarchyError) as error:
        make(random_tree(4))
    assert error.value.field == field
