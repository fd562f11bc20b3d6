"""Validation samples that show what a decision tree does: ambiguous ones, and examples of what its nodes stand for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.objectives.tree_outcome import TreeOutcome, classes_below
from xnas_ray.store.tree_samples import AMBIGUOUS, SIMILAR, TreeSamples
from xnas_ray.tasks.shown_images import shown_images
from xnas_ray.training.trained import TrainedCandidate

AMBIGUOUS_SAMPLES = 10
EXAMPLES = 3
"""Of a node."""

MAX_NODES = 200
"""Nodes that have examples: those nearest to the root."""

MAX_SAMPLES = 5000
"""Validation samples among which examples are looked for: the first ones."""

_BATCH = 2048


def tree_samples(
    trained: TrainedCandidate, outcome: TreeOutcome, *, ambiguous: int = AMBIGUOUS_SAMPLES, examples: int = EXAMPLES
) -> TreeSamples:
    """The samples with the largest path entropy, and the maximum-similarity examples of nodes.

    Examples of a node are the samples whose features have the largest inner product with its weight, the mean of the
    weights of its classes (thesis, section 5.6; by the inner product, as the tree decides, not by the cosine). That
    product is the mean of the classes' logits less the mean of their biases, a constant of the node, so the outputs
    that the trial has anyway put samples in the same order as the features would, and nothing runs again. Of a network
    that does more to its logits than to give them out, as a logarithm of the softmax, these outputs count.

    Args:
        trained: gives the images.
        outcome: of its tree on the validation split.
        ambiguous: most samples of the first sort; those whose path entropy is 0 are none.
        examples: samples a node.
    """
    entropies = path_entropies(outcome)
    first = torch.argsort(entropies, descending=True, stable=True)[:ambiguous]
    first = first[entropies[first] > 0]
    found = most_similar(outcome, examples)
    rows = torch.cat([first, *found.values()])
    nodes = [-1] * len(first) + [node for node, some in found.items() for _ in some]
    logits, rules = outcome.logits[rows], outcome.rules
    images = shown_images(trained.data, trained.data.validation, rows)
    return TreeSamples(
        classes=outcome.hierarchy.class_names,
        group=np.array([AMBIGUOUS if node < 0 else SIMILAR for node in nodes]),
        node=np.array(nodes, dtype=np.int64),
        sample=rows.numpy(),
        target=outcome.targets[rows].cpu().numpy(),
        network=logits.argmax(dim=1).numpy(),
        soft=rules.soft(logits).numpy(),
        hard=rules.hard(logits).numpy(),
        path_entropy=entropies[rows].float().numpy(),
        reach=reach(rules, logits).float().numpy(),
        images=images,
    )


def path_entropies(outcome: TreeOutcome) -> Tensor:
    """The path entropy of every sample by hard inference, ``n`` in nats."""
    parts = outcome.logits.split(_BATCH)
    return torch.cat([outcome.rules.decisions(part, hard=True).path_entropy for part in parts])


def most_similar(outcome: TreeOutcome, examples: int = EXAMPLES) -> dict[int, Tensor]:
    """The samples that are most like each node, the most similar first: int64, by the node's number.

    Args:
        outcome: of a tree.
        examples: most samples a node.
    """
    tree, logits = outcome.hierarchy, outcome.logits[:MAX_SAMPLES]
    depths = [depth for _, depth in tree.walk()]
    chosen = sorted(range(len(depths)), key=depths.__getitem__)[:MAX_NODES]
    below = classes_below(tree)[sorted(chosen)].double()
    scores = (below / below.sum(dim=1, keepdim=True)) @ logits.double().t()
    best = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :examples]
    return dict(zip(sorted(chosen), best, strict=True))


def reach(rules: DecisionRules, logits: Tensor) -> Tensor:
    """Probability of arriving at every node of the tree, float64 ``B x V``: that of all classes below it.

    Args:
        rules: of a tree of V nodes.
        logits: ``B x K``.
    """
    with torch.no_grad():
        probabilities = rules(logits.double()).exp()
        return (probabilities @ classes_below(rules.tree).double().t()).clamp(max=1.0)
