"""CPU milliseconds of a decision tree on logits: our sparse products beside one node after the other.

``python experiments/performance/tree_inference.py`` makes the induced tree of random weights for 10, 100 and 1,000
classes and decides on batches of 512 on one thread: soft inference, its gradient, hard inference. The other side goes
over the nodes as the published package does: it means the logits of each child's classes, takes softmax and maximum,
and multiplies the classes' probabilities; for hard inference it then walks down with every sample. Least of the
repeats, in which both sides take turns; that both give the same is checked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.randomness import Domain, rng

CLASSES, BATCH, FEATURES = (10, 100, 1000), 512, 64


class ByNode:
    """The same rules, node by node and sample by sample."""

    def __init__(self, tree: Hierarchy) -> None:
        self.tree = tree
        number = {name: i for i, name in enumerate(tree.class_names)}
        self.columns = {node: [number[leaf] for leaf in node.leaves] for node in tree.nodes}
        self.inner = [node for node in tree.nodes if not node.is_leaf]

    def shares(self, logits: Tensor, node: Node) -> tuple[Tensor, Tensor]:
        """Probabilities of a node's children, and the most probable one."""
        scores = torch.stack([logits.T[self.columns[child]].mean(dim=0) for child in node.children]).T
        return scores.softmax(dim=1), scores.max(dim=1).indices

    def soft(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes."""
        found = torch.ones_like(logits)
        for node in self.inner:
            shares, _ = self.shares(logits, node)
            columns = [k for child in node.children for k in self.columns[child]]
            factors = shares[:, [i for i, child in enumerate(node.children) for _ in self.columns[child]]]
            if logits.requires_grad:  # not in place
                found = found * torch.ones_like(logits).index_copy(1, torch.tensor(columns), factors)
            else:
                found[:, columns] *= factors
        return found

    def hard(self, logits: Tensor) -> Tensor:
        """Classes at which the samples arrive."""
        best = {node: self.shares(logits, node)[1].tolist() for node in self.inner}
        found = []
        for sample in range(len(logits)):
            node = self.tree.root
            while not node.is_leaf:
                node = node.children[best[node][sample]]
            found.append(self.columns[node][0])
        return torch.tensor(found)


def least_ms(runs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Least CPU milliseconds of each call, which take turns; a first round warms up."""
    found = []
    for _ in range(repeats + 1):
        for run in runs:
            begun_s = time.process_time()
            run()
            found.append(1000 * (time.process_time() - begun_s))
    return [min(found[i :: len(runs)][1:]) for i in range(len(runs))]


def gradient(probabilities: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(probabilities(logits)[:, 0].sum(), logits)
    return found


def compare(classes: int, repeats: int) -> None:
    """Measure and print the lines of one number of classes."""
    weights = rng(0, Domain.EXPLAIN, classes).standard_normal((classes, FEATURES))
    tree = induced_hierarchy(weights, [f"class {i}" for i in range(classes)])
    rules, by_node = DecisionRules(tree), ByNode(tree)
    features = rng(1, Domain.EXPLAIN, classes).standard_normal((BATCH, FEATURES))
    logits = torch.from_numpy((features @ weights.T).astype(np.float32) / 4)
    leaf = logits.clone().requires_grad_()

    def soft(values: Tensor) -> Tensor:
        return rules(values).exp()

    pairs: list[tuple[str, Callable[[], Tensor], Callable[[], Tensor]]] = [
        ("soft", lambda: by_node.soft(logits), lambda: soft(logits)),
        ("gradient", lambda: gradient(by_node.soft, leaf), lambda: gradient(soft, leaf)),
        ("hard", lambda: by_node.hard(logits), lambda: rules.hard(logits)),
    ]
    if classes == max(CLASSES):
        pairs.pop(1)  # node by node its graph would keep 4 GB
    for name, theirs, ours in pairs:
        assert torch.allclose(ours().float(), theirs().float(), atol=1e-5), name
        other, mine = least_ms((theirs, ours), repeats)
        print(f"| {classes} | {tree.depth} | {name} | {other:.2f} | {mine:.2f} | {other / mine:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| classes | depth | {BATCH} samples | by node, ms | ours, ms | ratio |\n|---|---|---|---|---|---|")
    for classes in CLASSES:
        compare(classes, given.repeats)


if __name__ == "__main__":
    main()
