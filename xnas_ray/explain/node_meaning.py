"""What the nodes of a tree stand for, tested on classes that the network has not seen (thesis, section 5.6).

A hypothesis says which unseen classes belong to which child of a node. Samples of these classes are passed through the
node; the share that goes to the child of its class is the hypothesis' accuracy. The same samples tell how well the
network itself knows superclasses that it was never taught (zero-shot superclass generalization, Table 5.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import ExplanationError
from xnas_ray.explain.hierarchy import Hierarchy

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
"""Of the intervals."""

_NODE = ("node", "name", "hypothesis", "classes", "samples", "network", "network_within", "mean_logit", "tree", "most")
_CHILD = ("node", "name", "child", "hypothesis", "classes", "samples", "agreement", "low", "high", "chance")
_CLASS = ("node", "name", "child", "class", "samples", "agreement")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the children of a node are taken to stand for, in their order.

    Attributes:
        node: its number.
        meanings: what each child is called.
        unseen: labels of the unseen classes that belong to each child; disjoint.
        seen: labels of the network's classes that belong to each superclass: those below the child, and others that
            are of its kind.
    """

    node: int
    meanings: tuple[str, ...]
    unseen: tuple[frozenset[int], ...]
    seen: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Meanings:
    """What the test found, in shares from 0 to 1.

    Attributes:
        superclasses: a row a hypothesis: ``node``, ``name``, ``hypothesis``, ``classes`` and ``samples`` (unseen ones),
            and the accuracies: ``network`` (its most probable class is one of the right superclass, as in the thesis'
            baseline), ``network_within`` (the same among the classes of the node's superclasses alone), ``mean_logit``
            (the largest mean logit of a superclass), ``tree`` (the child with the largest mean logit), ``most`` (what
            always the same answer would have).
        children: a row a child with samples: ``node``, ``name``, ``child``, ``hypothesis``, ``classes``, ``samples``,
            ``agreement`` with its binomial interval ``low`` to ``high`` (Wilson's, of samples as if they were drawn one
            by one), and ``chance``, one over the number of children.
        classes: a row an unseen class and node: ``node``, ``name``, ``child``, ``class``, ``samples``, ``agreement``.
    """

    superclasses: pd.DataFrame
    children: pd.DataFrame
    classes: pd.DataFrame


def node_meanings(
    tree: Hierarchy,
    logits: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    hypotheses: Sequence[Hypothesis],
) -> Meanings:
    """Pass samples of unseen classes through nodes, and count how many go where the hypotheses say.

    Args:
        tree: over the K classes of the network.
        logits: ``n x K``, the network's outputs for the samples.
        targets: ``n``, labels of the unseen classes.
        class_names: of the unseen classes, in label order.
        hypotheses: those without a sample are left out.

    Raises:
        ExplanationError: no hypothesis has a sample.
    """
    import pandas as pd

    nodes: list[dict[str, Any]] = []
    children: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    for one in hypotheses:
        found = _Passed.through(tree, logits, targets, one)
        if not len(found.expected):
            continue
        named = {"node": one.node, "name": tree.nodes[one.node].name}
        nodes.append({**named, **found.superclasses()})
        children += [{**named, **row} for row in found.children(tree)]
        classes += [{**named, **row} for row in found.classes(tree, class_names)]
    if not nodes:
        raise ExplanationError(
            "no unseen class belongs to a child of a node.",
            field="hypothesis",
            fix="Name them: --hypothesis '0=CLASS+CLASS,CLASS', the classes of each child of the node in their order.",
        )
    frames = ((nodes, _NODE), (children, _CHILD), (classes, _CLASS))
    return Meanings(*(pd.DataFrame(rows, columns=list(columns)) for rows, columns in frames))


@dataclass(frozen=True, slots=True)
class _Passed:
    """Samples that a hypothesis speaks of: where it expects them and where they went, children by their place."""

    hypothesis: Hypothesis
    targets: np.ndarray
    logits: np.ndarray
    expected: np.ndarray
    gone: np.ndarray

    @classmethod
    def through(cls, tree: Hierarchy, logits: np.ndarray, targets: np.ndarray, one: Hypothesis) -> _Passed:
        side = {label: place for place, labels in enumerate(one.unseen) for label in labels}
        rows = np.flatnonzero(np.isin(targets, list(side)))
        expected = np.array([side[int(label)] for label in targets[rows]], dtype=np.int64)
        number = {name: k for k, name in enumerate(tree.class_names)}
        below = [[number[leaf] for leaf in child.leaves] for child in tree.nodes[one.node].children]
        return cls(one, targets[rows], logits[rows], expected, _means(logits[rows], below).argmax(axis=1))

    def superclasses(self) -> dict[str, Any]:
        seen = [sorted(labels) for labels in self.hypothesis.seen]
        owner = np.full(self.logits.shape[1], -1)
        for place, labels in enumerate(seen):
            owner[labels] = place
        within = np.where(owner >= 0, self.logits, -np.inf)
        return {
            "hypothesis": " / ".join(self.hypothesis.meanings),
            "classes": len(np.unique(self.targets)),
            "samples": len(self.expected),
            "network": self._share(owner[self.logits.argmax(axis=1)]),
            "network_within": self._share(owner[within.argmax(axis=1)]),
            "mean_logit": self._share(_means(self.logits, seen).argmax(axis=1)),
            "tree": self._share(self.gone),
            "most": float(np.bincount(self.expected).max() / len(self.expected)),
        }

    def _share(self, answers: np.ndarray) -> float:
        return float((answers == self.expected).mean())

    def children(self, tree: Hierarchy) -> list[dict[str, Any]]:
        from scipy.stats import binomtest  # a second to import

        rows = []
        for place, child in enumerate(tree.nodes[self.hypothesis.node].children):
            mine = self.expected == place
            if not (count := int(mine.sum())):
                continue
            right = int((self.gone[mine] == place).sum())
            low, high = binomtest(right, count).proportion_ci(LEVEL, method="wilson")
            rows.append(
                {
                    "child": child.name,
                    "hypothesis": self.hypothesis.meanings[place],
                    "classes": len(np.unique(self.targets[mine])),
                    "samples": count,
                    "agreement": right / count,
                    "low": float(low),
                    "high": float(high),
                    "chance": 1 / len(self.hypothesis.meanings),
                }
            )
        return rows

    def classes(self, tree: Hierarchy, names: Sequence[str]) -> list[dict[str, Any]]:
        below = tree.nodes[self.hypothesis.node].children
        rows = []
        for label in np.unique(self.targets):
            mine = self.targets == label
            agreement = self.gone[mine] == self.expected[mine]
            child = below[int(self.expected[mine][0])].name
            facts = {"samples": int(mine.sum()), "agreement": float(agreement.mean())}
            rows.append({"child": child, "class": names[int(label)], **facts})
        return rows


def _means(logits: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    return np.stack([logits[:, list(group)].mean(axis=1) for group in groups], axis=1)
