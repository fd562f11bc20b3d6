"""How far classes are apart in the decision tree of a network, beside how far their activations are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from xnas_ray.randomness import Domain, rng
from xnas_ray.report.standings import FEWEST, PERMUTATIONS, Agreement

if TYPE_CHECKING:
    import pandas as pd


def tree_distances(table: pd.DataFrame) -> tuple[tuple[str, ...], np.ndarray]:
    """Cophenetic distances of the classes of a tree: how many classes the smallest node with both of them has.

    Args:
        table: ``decision_tree`` of one trial (see ``TreeOutcome.per_node``).

    Returns:
        The classes, and K x K distances, 0 on the diagonal.
    """
    nodes = table.sort_values("node")  # each before what is below it, so that the classes of a node lie together
    sizes = nodes["classes"].to_numpy(dtype=int)
    is_leaf = sizes == 1
    firsts = is_leaf.cumsum() - is_leaf
    distances = np.zeros((is_leaf.sum(), is_leaf.sum()))
    for first, size in zip(firsts, sizes, strict=True):
        distances[first : first + size, first : first + size] = size
    np.fill_diagonal(distances, 0)
    return tuple(map(str, nodes["leaves"][is_leaf])), distances


def tree_agreement(tree: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0) -> Agreement:
    """Rank correlation of distances in a tree with those of activations, over pairs of classes.

    Pairs that share a class depend on each other, so classes are shuffled, not pairs: Mantel's test (Cancer Research
    27, 1967).

    Args:
        tree: ``decision_tree`` of one trial.
        pairs: ``introspectability_pairs`` of the same one; classes that it lacks do not count.
        seed: of the permutations.
    """
    classes, distances = tree_distances(tree)
    place = {name: i for i, name in enumerate(classes)}
    others = np.full_like(distances, np.nan)
    for first, second, distance in zip(
        pairs["first"].map(str), pairs["second"].map(str), pairs["distance"], strict=True
    ):
        if first in place and second in place:
            others[place[first], place[second]] = others[place[second], place[first]] = distance
    kept = _complete(others)
    i, j = np.triu_indices(len(kept), 1)
    if len(kept) < 3:
        return Agreement(np.nan, len(kept), np.nan)
    near, far = np.zeros((len(kept), len(kept))), others[np.ix_(kept, kept)][i, j]
    near[i, j] = _centred(distances[np.ix_(kept, kept)][i, j])
    near += near.T
    ranks = _centred(far)
    length = float(np.sqrt((near[i, j] @ near[i, j]) * (ranks @ ranks)))
    if length == 0:
        return Agreement(np.nan, len(kept), np.nan)
    value = float(near[i, j] @ ranks) / length
    if len(kept) < FEWEST:
        return Agreement(value, len(kept), np.nan)
    draw = rng(seed, Domain.EXPLAIN, 5)
    orders = (draw.permutation(len(kept)) for _ in range(PERMUTATIONS))
    met = np.array([near[order[i], order[j]] @ ranks for order in orders]) / length
    p = (1 + (np.abs(met) >= abs(value) - 1e-12).sum()) / (1 + PERMUTATIONS)
    return Agreement(value, len(kept), float(p))


def _complete(others: np.ndarray) -> Sequence[int]:
    """Classes of which all distances among them are known; those with most gaps go first."""
    kept = list(range(len(others)))
    while kept:
        gaps = np.isnan(others[np.ix_(kept, kept)]).sum(axis=1)
        if (gaps <= 1).all():  # that to itself
            break
        kept.pop(int(np.argmax(gaps)))
    return kept


def _centred(values: np.ndarray) -> np.ndarray:
    ranks = rankdata(values)
    return np.asarray(ranks - ranks.mean())
