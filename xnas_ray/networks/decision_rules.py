"""A network's logits read as a decision tree over its classes (Wan et al., NBDT, ICLR 2021).

The score of a child is the mean of the logits of its classes, which is the inner product of the features with the mean
of their weights (and biases); the children of a node share its probability by the softmax of their scores. Everything
is computed for all nodes and samples at once: the means and the sums along the paths are two products with sparse
matrices of 0 and 1, which tell the classes below a child and the children on the way to a class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from xnas_ray.errors import HierarchyError


class TreeNode(Protocol):
    """A node, as ``explain.hierarchy.Node`` is one."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of the classes below."""
        ...

    @property
    def children(self) -> Sequence[TreeNode]:
        """None of a leaf, else two or more."""
        ...


class Tree(Protocol):
    """A tree whose leaves are classes, as ``explain.hierarchy.Hierarchy`` is one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order."""
        ...

    @property
    def nodes(self) -> Sequence[TreeNode]:
        """Each before what is below it, the root first."""
        ...


@dataclass(frozen=True)
class Decision:
    """A node on the way of a sample.

    Attributes:
        node: its number, a place in the tree's ``nodes``.
        name: what it is called.
        probability: of going there from the node before; 1 at the root.
        entropy: of the decision between its children, in nats; 0 of a class, which decides nothing.
    """

    node: int
    name: str
    probability: float
    entropy: float


@dataclass(frozen=True, eq=False)
class Decisions:
    """The ways of B samples, each padded to the longest one, L + 1 nodes.

    Attributes:
        names: of the tree's nodes.
        classes: int64 ``B``: where they end.
        nodes: int64 ``B x (L + 1)``: numbers of the nodes, from the root to the class; then -1.
        probabilities: ``B x (L + 1)``: of going to each from the one before; 1 at the root and after the class.
        entropies: ``B x (L + 1)``: of the decision at each, in nats; 0 at the class and after it.
        inner: bool ``B x (L + 1)``: where a decision was taken.
    """

    names: tuple[str, ...]
    classes: Tensor
    nodes: Tensor
    probabilities: Tensor
    entropies: Tensor
    inner: Tensor

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.classes)

    def of(self, sample: int) -> list[Decision]:
        """The way of a sample, from the root to its class."""
        rows = zip(
            *(values[sample].tolist() for values in (self.nodes, self.probabilities, self.entropies)), strict=True
        )
        return [
            Decision(node, self.names[node], probability, entropy) for node, probability, entropy in rows if node >= 0
        ]

    @property
    def path_entropy(self) -> Tensor:
        """Largest less smallest entropy on the way, ``B``: large where most is clear but for a few decisions (5.5)."""
        smallest = self.entropies.masked_fill(~self.inner, torch.inf).amin(dim=1)
        return self.entropies.amax(dim=1) - smallest

    @property
    def mean_entropy(self) -> Tensor:
        """Mean entropy of the decisions on the way, ``B``."""
        return self.entropies.sum(dim=1) / self.inner.sum(dim=1)


class DecisionRules(nn.Module):
    """Soft and hard inference of a tree on logits; has no weights, and its buffers are in no state dictionary.

    Edges lead to the E nodes other than the root; siblings lie together, and nodes with as many children do.

    Args:
        tree: over the K classes of the network.

    Attributes:
        tree: the same.
        inner: numbers of the N inner nodes, in the order of the rows of ``entropies``.
    """

    below: Tensor
    below_starts: Tensor
    above: Tensor
    above_starts: Tensor
    path: Tensor
    parent: Tensor
    child: Tensor
    step: Tensor
    leaf: Tensor
    first: Tensor
    arity: Tensor

    def __init__(self, tree: Tree) -> None:
        """Number nodes and edges."""
        super().__init__()
        self.tree = tree
        number = {name: k for k, name in enumerate(tree.class_names)}
        place = {id(node): i for i, node in enumerate(tree.nodes)}
        inner = sorted((i for i, node in enumerate(tree.nodes) if node.children), key=self._arity)
        edges = [(row, place[id(child)]) for row, i in enumerate(inner) for child in tree.nodes[i].children]
        self.inner: tuple[int, ...] = tuple(inner)
        arities = [self._arity(i) for i in inner]
        self.groups = _runs(arities)
        row = {i: n for n, i in enumerate(inner)}
        below = [[number[leaf] for leaf in tree.nodes[i].leaves] for _, i in edges]
        above: list[list[int]] = [[] for _ in number]
        for edge in sorted(range(len(edges)), key=lambda edge: edges[edge][1]):  # nodes are numbered from the root down
            for k in below[edge]:
                above[k].append(edge)
        self.depth = max(map(len, above))
        self._lists("below", below)
        self._lists("above", above)
        self._numbers("path", [[*way, *[-1] * (self.depth - len(way))] for way in above])
        self._numbers("parent", [n for n, _ in edges])
        self._numbers("child", [i for _, i in edges])
        self._numbers("step", [row.get(i, -1) for _, i in edges])  # the inner node that an edge leads to
        leaves = [number[tree.nodes[i].leaves[0]] if i not in row else -1 for _, i in edges]
        self._numbers("leaf", leaves)
        self._numbers("arity", arities)
        self._numbers("first", [0, *itertools.accumulate(arities[:-1])])

    def _arity(self, node: int) -> int:
        return len(self.tree.nodes[node].children)

    def _numbers(self, name: str, values: Sequence[int] | Sequence[Sequence[int]]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)

    def _lists(self, name: str, lists: Sequence[Sequence[int]]) -> None:
        """Lists of numbers as one, and where each begins."""
        self._numbers(name, [number for one in lists for number in one])
        lengths = torch.tensor([0, *map(len, lists[:-1])])
        self._numbers(f"{name}_starts", lengths.cumsum(0).tolist())

    # ---- probabilities ----------------------------------------------------------------------------------------------

    def forward(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the classes, ``B x K``: sums along the paths from the root (equation 5.1 of the thesis).

        Args:
            logits: ``B x K`` in label order; half precision is computed with in float32.

        Raises:
            HierarchyError: there is another number of classes.
        """
        return self._along_paths(self._choices(logits)).t()

    def soft(self, logits: Tensor) -> Tensor:
        """Classes of the largest probability, int64 ``B``."""
        return self(logits).argmax(dim=1)

    def hard(self, logits: Tensor) -> Tensor:
        """Classes at which samples arrive that follow the most probable child at every node, int64 ``B``."""
        return self._followed(self._choices(logits))

    def choices(self, logits: Tensor) -> Tensor:
        """Log-probabilities of every edge, given its parent, ``B x E``; those of siblings are a distribution."""
        return self._choices(logits).t()

    def shares(self, classes: Tensor) -> Tensor:
        """Sums over the classes below every edge, ``B x E``.

        Args:
            classes: ``B x K``, a number a class, such as its share of a sample's label.
        """
        return _bags(classes.t().contiguous(), self.below, self.below_starts, "sum").t()

    def entropies(self, logits: Tensor) -> Tensor:
        """Entropy of every decision, ``B x N`` in nats; see ``inner``."""
        return self._entropies(self._choices(logits)).t()

    @torch.no_grad()
    def decisions(self, logits: Tensor, *, hard: bool = False) -> Decisions:
        """The way of every sample to the class that is predicted for it.

        Args:
            logits: ``B x K``.
            hard: the way of hard inference; else that to the class of the largest probability.

        Raises:
            HierarchyError: there is another number of classes.
        """
        choices = self._choices(logits)
        classes = self._followed(choices) if hard else self._along_paths(choices).argmax(dim=0)
        path = self.path[classes]  # B x L edges
        known = path >= 0
        edges = path.clamp_min(0)
        samples = torch.arange(len(logits), device=logits.device)[:, None]
        chosen = choices[edges, samples].exp().masked_fill(~known, 1.0)
        entropies = self._entropies(choices)[self.parent[edges], samples].masked_fill(~known, 0.0)
        reached = self.child[edges].masked_fill(~known, -1)
        first, none = torch.zeros_like(samples), torch.zeros_like(chosen[:, :1])
        return Decisions(
            names=tuple(node.name for node in self.tree.nodes),
            classes=classes,
            nodes=torch.cat([first, reached], dim=1),
            probabilities=torch.cat([none + 1, chosen], dim=1),
            entropies=torch.cat([entropies, none], dim=1),
            inner=torch.cat([known, none.bool()], dim=1),
        )

    # ---- by edge, E x B: rows of a sample a column are what the sparse products read ---------------------------------

    def _choices(self, logits: Tensor) -> Tensor:
        if logits.dim() != 2 or logits.shape[1] != len(self.tree.class_names):
            raise HierarchyError(
                f"logits of the shape {tuple(logits.shape)} do not fit {len(self.tree.class_names)} classes.",
                field="logits",
                fix="Give the network's own outputs, samples x classes, in the order of class_names.",
            )
        wide = logits if logits.dtype == torch.float64 else logits.float()
        scores = _bags(wide.t().contiguous(), self.below, self.below_starts, "mean")
        parts = [part.log_softmax(dim=1).flatten(0, 1) for part in self._siblings(scores)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _siblings(self, values: Tensor) -> list[Tensor]:
        """Values of edges, ``E x B``, by the number of their siblings: ``nodes x children x B``."""
        sizes = [arity * count for arity, count in self.groups]
        return [
            part.unflatten(0, (count, arity))
            for part, (arity, count) in zip(values.split(sizes), self.groups, strict=True)
        ]

    def _along_paths(self, choices: Tensor) -> Tensor:
        return _bags(choices, self.above, self.above_starts, "sum")

    def _entropies(self, choices: Tensor) -> Tensor:
        return torch.cat([-(part.exp() * part).sum(dim=1) for part in self._siblings(choices)])

    def _followed(self, choices: Tensor) -> Tensor:
        """Classes by hard inference: all samples go down together, a node a step."""
        samples = torch.arange(choices.shape[1], device=choices.device)[:, None]
        children = torch.arange(max(arity for arity, _ in self.groups), device=choices.device)
        at = torch.full((len(samples),), self.inner.index(0), device=choices.device)  # rows of inner nodes
        edges = torch.zeros_like(at)
        for _ in range(self.depth):
            missing = children >= self.arity[at, None]
            reachable = (self.first[at, None] + children).masked_fill(missing, 0)
            best = choices[reachable, samples].masked_fill(missing, -torch.inf).argmax(dim=1)
            edges = torch.where(at >= 0, self.first[at] + best, edges)  # who has arrived stays
            at = self.step[edges]
        return self.leaf[edges]


def _bags(rows: Tensor, members: Tensor, starts: Tensor, mode: str) -> Tensor:
    """Sums or means of rows: the product of a sparse matrix of 0 and 1, in which torch's bags are fastest."""
    return functional.embedding_bag(members, rows, starts, mode=mode)


def _runs(values: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Each value of a sorted sequence, and how often it is there."""
    return tuple((value, values.count(value)) for value in dict.fromkeys(values))
