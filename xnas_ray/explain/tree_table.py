"""The stored tree of a trial, a row a node, and what is read off it: frequencies, ways of samples, examples."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import StoreError
from xnas_ray.explain.hierarchy import Hierarchy, Node, grow
from xnas_ray.store.tree_samples import AMBIGUOUS, SIMILAR

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.store.tree_samples import TreeSamples

COLUMNS = ("node", "parent", "depth", "name", "wnid", "classes", "leaves", "visits", "right", "entropy")
"""Of the table ``decision_tree`` of one trial (``objectives.tree_outcome``)."""

_TINY = 1e-12


def tree_of_trial(table: pd.DataFrame, trial: int) -> pd.DataFrame:
    """The tree of one trial of a search's table ``decision_tree``, nodes in order, with their ``share`` of all samples.

    Raises:
        StoreError: this is no such table, or it has no whole tree of the trial.
    """
    missing = [name for name in ("trial", *COLUMNS) if name not in table]
    if missing:
        raise StoreError(f"this is no table of trees: it lacks {', '.join(missing)}.", field="table", valid=COLUMNS)
    found = table[table["trial"] == trial].sort_values("node", ignore_index=True)[list(COLUMNS)]
    if not len(found):
        trials = sorted(set(table["trial"].tolist()))
        raise StoreError(f"trial {trial} has no decision tree.", field="trial", got=trial, valid=trials)
    if not hangs_together(found):
        raise StoreError(f"the nodes of the tree of trial {trial} do not fit together.", field="trial")
    return found.assign(share=found["visits"] / max(1, int(found["visits"][0])))


def hangs_together(tree: pd.DataFrame) -> bool:
    """Whether all nodes are below the first one: whoever follows parents must arrive there.

    Args:
        tree: the rows of one trial in the order of their nodes, at least one.
    """
    nodes, parents = (tree[name].to_numpy(dtype=float) for name in ("node", "parent"))
    places = np.arange(len(tree))
    whole = bool((nodes == places).all() and (parents == np.floor(parents)).all())
    return whole and parents[0] == -1 and bool(((parents[1:] >= 0) & (parents[1:] < places[1:])).all())


def children_of(tree: pd.DataFrame) -> dict[int, list[int]]:
    """Numbers of the children of every inner node."""
    found: dict[int, list[int]] = {}
    for node, parent in zip(tree["node"].tolist(), tree["parent"].tolist(), strict=True):
        if parent >= 0:
            found.setdefault(parent, []).append(node)
    return found


def hierarchy_of(tree: pd.DataFrame, class_names: Sequence[str]) -> Hierarchy:
    """The hierarchy whose nodes have the numbers of the table.

    Args:
        tree: see ``tree_of_trial``.
        class_names: in label order.

    Raises:
        HierarchyError: these are not its classes.
    """
    names, wnids = tree["name"].tolist(), tree["wnid"].tolist()

    def build(number: int, below: tuple[Node, ...]) -> Node:
        wnid = wnids[number] or None
        return Node.over(below, names[number], wnid) if below else Node.leaf(names[number], wnid)

    return Hierarchy(grow(0, children_of(tree), build), tuple(class_names))


def upper_nodes(tree: pd.DataFrame, limit: int) -> pd.DataFrame:
    """The nodes down to the largest depth at which there are at most ``limit``, the root's children at least."""
    counts = tree["depth"].value_counts().sort_index().cumsum()
    depth = max([1, *(int(d) for d, count in counts.items() if count <= limit)])
    return tree[tree["depth"] <= depth]


def way(reach: np.ndarray, children: Mapping[int, Sequence[int]]) -> list[int]:
    """The nodes on a sample's way by hard inference, from the root to its class.

    Args:
        reach: of the sample, the probability of arriving at every node.
        children: see ``children_of``.
    """
    found = [0]
    while below := children.get(found[-1]):
        found.append(below[int(np.argmax(reach[list(below)]))])
    return found


def entropy_at(node: int, reach: np.ndarray, children: Mapping[int, Sequence[int]]) -> float:
    """Entropy of a sample's decision at a node, in nats."""
    shares = reach[list(children[node])].astype(np.float64)
    shares = shares / max(float(shares.sum()), _TINY)
    return float(-(shares * np.log(np.maximum(shares, _TINY))).sum())


def ambiguous_table(tree: pd.DataFrame, samples: TreeSamples, number: int | None = None) -> pd.DataFrame:
    """The samples with the largest path entropy, a row each, the most ambiguous first.

    Columns: ``sample`` (its place in the validation split), the classes ``target``, ``network``, ``soft`` and ``hard``,
    ``path_entropy`` in nats, ``doubt`` (the node on its way whose decision is the least certain), ``entropy`` (of that
    decision) and ``way``, such as ``animal 0.99 > cat 0.52``: nodes with the probability of going there from the one
    before.

    Args:
        tree: see ``tree_of_trial``.
        samples: of its tree.
        number: at most so many.
    """
    import pandas as pd

    _check(tree, samples)
    children, names = children_of(tree), tree["name"].tolist()
    rows = []
    for i in np.flatnonzero(samples.group == AMBIGUOUS)[:number]:
        passed, reach = way(samples.reach[i], children), samples.reach[i]
        entropies = [entropy_at(node, reach, children) for node in passed[:-1]]
        doubt = int(np.argmax(entropies))
        steps = [
            f"{names[node]} {reach[node] / max(float(reach[before]), _TINY):.2f}"
            for before, node in itertools.pairwise(passed)
        ]
        rows.append(
            {
                **_classes(samples, i),
                "path_entropy": float(samples.path_entropy[i]),
                "doubt": names[passed[doubt]],
                "entropy": entropies[doubt],
                "way": " > ".join(steps),
            }
        )
    columns = ["sample", *_PREDICTED, "path_entropy", "doubt", "entropy", "way"]
    return pd.DataFrame(rows, columns=columns)


def similar_table(tree: pd.DataFrame, samples: TreeSamples) -> pd.DataFrame:
    """The maximum-similarity examples of nodes, a row each, nodes in order and the most similar first.

    Columns: ``node``, ``name``, ``rank`` (from 1), ``sample``, ``target``, ``network``, ``soft``, ``hard`` and ``own``
    (whether its class is below the node).

    Args:
        tree: see ``tree_of_trial``.
        samples: of its tree.
    """
    import pandas as pd

    _check(tree, samples)
    names, hierarchy = tree["name"].tolist(), hierarchy_of(tree, samples.classes)
    rows, ranks = [], dict.fromkeys(range(len(names)), 0)
    similar = np.flatnonzero(samples.group == SIMILAR)
    for i in similar[np.argsort(samples.node[similar], kind="stable")]:
        node = int(samples.node[i])
        ranks[node] += 1
        facts = _classes(samples, i)
        own = facts["target"] in hierarchy.nodes[node].leaves
        rows.append({"node": node, "name": names[node], "rank": ranks[node], **facts, "own": own})
    return pd.DataFrame(rows, columns=["node", "name", "rank", "sample", *_PREDICTED, "own"])


_PREDICTED = ("target", "network", "soft", "hard")


def _classes(samples: TreeSamples, i: int) -> dict[str, object]:
    return {
        "sample": int(samples.sample[i]),
        **{name: samples.classes[int(getattr(samples, name)[i])] for name in _PREDICTED},
    }


def _check(tree: pd.DataFrame, samples: TreeSamples) -> None:
    if samples.reach.shape[1] != len(tree):
        raise StoreError(
            f"samples on their ways through {samples.reach.shape[1]} nodes do not fit a tree of {len(tree)}.",
            field="samples",
        )
