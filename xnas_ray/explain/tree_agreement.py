"""How alike two hierarchies of the same classes are: measures of phylogenetics, on any rooted trees."""

from __future__ import annotations

import numpy as np

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy


def triples_agreement(hierarchy: Hierarchy, reference: Hierarchy) -> float:
    """Share of the triples of classes that the reference resolves which the hierarchy resolves the same way.

    A tree resolves a triple as ``ij|k`` where i and j part below the node at which k leaves them. This is one less the
    triples distance (Critchlow, Pearl & Qian, Systematic Biology 45(3), 1996), of those triples that the reference
    resolves: to divide what WordNet leaves undivided is no disagreement, unlike in ``robinson_foulds``. A random binary
    tree agrees on a third of them.

    The count takes the square of the number of classes: ``ij|k`` is shared for every k outside of both nodes at which
    i and j meet.

    Returns:
        From 0 to 1; 1 where the reference resolves none, as with two classes.

    Raises:
        HierarchyError: the classes are not the same.
    """
    _check_same(hierarchy, reference)
    (meets, inside), (others, outside) = (_meetings(tree, hierarchy.class_names) for tree in (hierarchy, reference))
    count = len(hierarchy.class_names)
    both = inside.astype(np.float64) @ outside.T  # classes that two nodes share
    sizes, other_sizes = inside.sum(axis=1), outside.sum(axis=1)
    i, j = np.triu_indices(count, 1)
    first, second = meets[i, j], others[i, j]
    shared = (count - sizes[first] - other_sizes[second] + both[first, second]).sum()
    resolved = (count - other_sizes[second]).sum()
    return float(shared / resolved) if resolved else 1.0


def robinson_foulds(hierarchy: Hierarchy, reference: Hierarchy) -> float:
    """Share of the groups of classes, of both trees together, that only one of them has.

    The distance of Robinson & Foulds (Mathematical Biosciences 53, 1981) between rooted trees, divided by the largest
    that trees with so many groups can have. Groups are the leaves of inner nodes other than the root. A group that has
    one class too many counts as much as one that has nothing in common with any.

    Returns:
        From 0, the same tree, to 1; 0 where neither has a group.

    Raises:
        HierarchyError: the classes are not the same.
    """
    _check_same(hierarchy, reference)
    first, second = (
        {frozenset(node.leaves) for node in tree.nodes[1:] if not node.is_leaf} for tree in (hierarchy, reference)
    )
    return len(first ^ second) / (len(first) + len(second)) if first or second else 0.0


def _meetings(tree: Hierarchy, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest inner node of each pair of K classes, ``K x K``, and which classes each one has, ``nodes x K``."""
    place = {name: i for i, name in enumerate(tree.root.leaves)}  # from left to right: a node's classes are a run
    order = np.array([place[name] for name in classes])
    inner = [node for node in tree.nodes if not node.is_leaf]
    meets = np.zeros((len(classes), len(classes)), dtype=np.int64)
    inside = np.zeros((len(inner), len(classes)), dtype=bool)
    for row, node in enumerate(inner):
        start = place[node.leaves[0]]
        end = start + len(node.leaves)
        inside[row, start:end] = True
        for child in node.children:
            begin = place[child.leaves[0]]
            run = slice(begin, begin + len(child.leaves))
            meets[run, start:begin] = meets[run, run.stop : end] = row  # each pair is written once from either side
    return meets[np.ix_(order, order)], inside[:, order]


def _check_same(first: Hierarchy, second: Hierarchy) -> None:
    if only := sorted(set(first.class_names) ^ set(second.class_names)):
        raise HierarchyError(f"only one tree has the class {only[0]!r}.", field="hierarchy", fix="Name classes alike.")
