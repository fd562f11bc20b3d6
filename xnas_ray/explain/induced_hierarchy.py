"""The hierarchy that a classifier's last weights hold (Wan et al., NBDT: Neural-Backed Decision Trees, ICLR 2021).

Classes whose weight vectors are close come together first, by agglomerative clustering; the tree of the merges is the
hierarchy. Random trees to compare it with are here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node, check_classes, grow
from xnas_ray.randomness import Domain, rng

LINKAGES = ("ward", "average", "complete", "single")


def induced_hierarchy(
    weights: np.ndarray, class_names: Sequence[str], *, linkage: str = "ward", normalize: bool = True
) -> Hierarchy:
    """The binary tree of the K - 1 merges of K weight vectors, by Euclidean distances.

    Args:
        weights: ``K x D``, the row of each class in the last linear layer (``networks.final_layer`` finds it).
        class_names: in the order of the rows.
        linkage: how far apart groups are: ``"ward"``, ``"average"``, ``"complete"`` or ``"single"``.
        normalize: divide rows by their length first, as the paper says (section 3.2); the published package does not.

    Returns:
        A hierarchy of 2K - 1 nodes, inner ones called by their classes.

    Raises:
        HierarchyError: rows and names do not fit, a weight is not finite, or a row to be normalized is zero.
    """
    names = check_classes(class_names)
    rows = np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0 or len(rows) != len(names):
        raise HierarchyError(
            f"weights of the shape {rows.shape} do not fit {len(names)} classes.",
            field="weights",
            fix="Give one row a class.",
        )
    if linkage not in LINKAGES:
        raise HierarchyError(f"there is no {linkage!r}.", field="linkage", got=linkage, valid=LINKAGES)
    if not np.isfinite(rows).all():
        raise HierarchyError("a weight is not finite.", field="weights", fix="Train more gently.")
    if normalize:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.all():
            dead = names[int(np.argmin(lengths))]
            raise HierarchyError(f"the row of {dead!r} is zero.", field="weights", fix="Set normalize = False.")
        rows = rows / lengths
    from scipy.cluster import hierarchy  # half a second to import

    merges = hierarchy.linkage(rows, method=linkage)[:, :2].astype(np.int64)
    return _of_merges(merges, names)


def random_hierarchy(class_names: Sequence[str], *, branching: int = 2, seed: int = 0) -> Hierarchy:
    """A tree of random groups: shuffled classes in groups of ``branching``, groups of groups, and so on to the root.

    Args:
        class_names: in label order.
        branching: children of every node but the last ones of a row.
        seed: of the shuffle.

    Raises:
        HierarchyError: there are fewer than two classes, two are the same, or ``branching`` is below 2.
    """
    names = check_classes(class_names)
    if branching < 2:
        raise HierarchyError(f"must be at least 2, got {branching}.", field="branching")
    order = rng(seed, Domain.EXPLAIN, len(names)).permutation(len(names))
    row = [Node.leaf(names[i]) for i in order]
    while len(row) > 1:
        groups = [row[i : i + branching] for i in range(0, len(row), branching)]
        row = [group[0] if len(group) == 1 else Node.over(group) for group in groups]
    return Hierarchy(row[0], names)


def _of_merges(merges: np.ndarray, names: tuple[str, ...]) -> Hierarchy:
    """The tree of merges as scipy and scikit-learn number them: row i joins two earlier ones into K + i."""
    count = len(names)
    children = {count + i: [int(first), int(second)] for i, (first, second) in enumerate(merges)}

    def build(number: int, below: tuple[Node, ...]) -> Node:
        return Node.over(below) if below else Node.leaf(names[number])

    return Hierarchy(grow(count + len(merges) - 1, children, build), names)
