"""What a hierarchy decides for samples, from a network's outputs alone: accuracies, entropies, a table of its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.networks.decision_rules import DecisionRules, Decisions, Tree

if TYPE_CHECKING:
    import pandas as pd

EntropyOf = Literal["range", "mean"]

_BATCH = 2048


@dataclass(frozen=True, eq=False)
class TreeOutcome:
    """A tree, and what it decides for samples.

    Attributes:
        hierarchy: over the classes.
        logits: ``n x K`` of the network, float32 on the CPU.
        targets: int64 ``n``.
    """

    hierarchy: Hierarchy
    logits: Tensor
    targets: Tensor

    @cached_property
    def rules(self) -> DecisionRules:
        """Of the hierarchy."""
        return DecisionRules(self.hierarchy)

    @property
    def network_accuracy(self) -> float:
        """Percentage of samples that the network itself predicts."""
        return _percent(self.logits.argmax(dim=1) == self.targets)

    @cached_property
    def soft_accuracy(self) -> float:
        """Percentage of samples for whose class the product of the decisions is largest."""
        return _percent(torch.cat([self.rules.soft(part) for part in self._parts()]) == self.targets)

    @cached_property
    def hard_accuracy(self) -> float:
        """Percentage of samples that arrive at their class by the most probable child at every node."""
        return _percent(torch.cat([self.rules.hard(part) for part in self._parts()]) == self.targets)

    def path_entropy(self, of: EntropyOf = "range") -> float:
        """Mean over samples, in nats, of the entropies on the hard path: largest less smallest, or their mean."""
        parts = [found.path_entropy if of == "range" else found.mean_entropy for found in self._decisions()]
        return float(torch.cat(parts).double().mean())

    def per_node(self) -> pd.DataFrame:
        """One row a node of the hierarchy, each before what is below it.

        Columns: ``node`` (from 0, the root), ``parent`` (-1 of the root), ``depth``, ``name``, ``wnid`` (empty where it
        is not known), ``classes`` (how many are below), ``leaves`` (their names); of the samples by hard inference
        ``visits`` (how many come by), ``right`` (the share of the samples of its classes that come by, NaN where there
        are none) and ``entropy`` (mean of its decisions in nats, 0 of a class, NaN where none comes by).
        """
        import pandas as pd

        tree = self.hierarchy
        count = len(tree.nodes)
        visits, own, right = (torch.zeros(count, dtype=torch.int64) for _ in range(3))
        entropy = torch.zeros(count, dtype=torch.float64)
        belongs = classes_below(tree)
        for found, targets in zip(self._decisions(), self.targets.split(_BATCH), strict=True):
            samples, steps = torch.nonzero(found.nodes >= 0, as_tuple=True)
            nodes = found.nodes[samples, steps]
            visits += torch.bincount(nodes, minlength=count)
            right += torch.bincount(nodes[belongs[nodes, targets[samples]]], minlength=count)
            own += belongs[:, targets].sum(dim=1)
            entropy.index_add_(0, nodes, found.entropies[samples, steps].double())
        parents = {child: i for i, children in tree.children.items() for child in children}
        return pd.DataFrame(
            {
                "node": range(count),
                "parent": [parents.get(i, -1) for i in range(count)],
                "depth": [depth for _, depth in tree.walk()],
                "name": [node.name for node in tree.nodes],
                "wnid": [node.wnid or "" for node in tree.nodes],
                "classes": [len(node.leaves) for node in tree.nodes],
                "leaves": [", ".join(node.leaves) for node in tree.nodes],
                "visits": visits.numpy(),
                "right": (right / own).numpy(),
                "entropy": (entropy / visits).numpy(),
            }
        )

    def _decisions(self) -> Iterator[Decisions]:
        return (self.rules.decisions(part, hard=True) for part in self._parts())

    def _parts(self) -> tuple[Tensor, ...]:
        """A thousand classes have two thousand edges: not of all samples at once."""
        return self.logits.split(_BATCH)


def classes_below(tree: Tree) -> Tensor:
    """Which classes are below which node, bool ``V x K``."""
    number = {name: k for k, name in enumerate(tree.class_names)}
    found = torch.zeros(len(tree.nodes), len(number), dtype=torch.bool)
    for i, node in enumerate(tree.nodes):
        found[i, [number[leaf] for leaf in node.leaves]] = True
    return found


def _percent(right: Tensor) -> float:
    return 100.0 * right.double().mean().item()
