"""Where motifs occur: in one architecture, node by node, and in many, to see whether they keep their promise."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import SpecError
from xnas_ray.explain.motifs import Motif
from xnas_ray.surrogates.wl_features import WLFeatures, wl_ids

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


Edge = tuple[Hashable, Hashable]


@dataclass(frozen=True, slots=True)
class Occurrences:
    """A motif in one architecture.

    Attributes:
        motif: which one.
        roots: nodes at which it begins, in the order of the graph.
        nodes: for every root, the nodes that the motif's tree unfolds to, the root included.
        edges: those that the trees of all its roots follow.
    """

    motif: Motif
    roots: tuple[Hashable, ...]
    nodes: tuple[frozenset[Hashable], ...]
    edges: frozenset[Edge]


def explain_architecture(graphs: Mapping[str, nx.DiGraph], motifs: Sequence[Motif]) -> list[Occurrences]:
    """Those of the motifs that an architecture has, in the given order, with their nodes.

    A motif begins at the nodes whose id at its layer is its own; from there it reaches every node within as many steps
    as its layer has.

    Args:
        graphs: of the architecture, one a cell (``Space.graphs``).
        motifs: what to look for; those of other cells are not found.
    """
    depth = {
        cell: max((motif.layer for motif in motifs if motif.cell == cell), default=0) for cell in graphs
    }  # refined once a cell, as deep as its motifs need
    ids = {cell: wl_ids(graph, depth[cell]) for cell, graph in graphs.items()}
    found = []
    for motif in motifs:
        if motif.cell not in graphs:
            continue
        roots = tuple(node for node, id_ in ids[motif.cell][motif.layer].items() if id_ == motif.id)
        if len(roots) >= motif.occurrence:
            edges = [_followed(graphs[motif.cell], root, motif.layer) for root in roots]
            nodes = (frozenset([root]).union(*some) for root, some in zip(roots, edges, strict=True))
            found.append(Occurrences(motif, roots, tuple(nodes), frozenset().union(*edges)))
    return found


def _followed(graph: nx.DiGraph, root: Hashable, steps: int) -> frozenset[Edge]:
    """Edges on some path of at most so many from the root."""
    followed: set[Edge] = set()
    frontier = {root}
    for _ in range(steps):
        followed.update(edges := [(node, following) for node in frontier for following in graph.successors(node)])
        frontier = {following for _, following in edges}
    return frozenset(followed)


def presence(features: WLFeatures, rows: Sequence[int] | np.ndarray, motifs: Sequence[Motif]) -> np.ndarray:
    """Which architectures contain which motifs: a boolean matrix, rows x motifs.

    A motif that none of the features' architectures has is in none.

    Args:
        features: counts of either kind, at least as deep as the motifs.
        rows: the architectures.
        motifs: what to look for; those of other cells are not found.

    Raises:
        SpecError: the features are not deep enough.
    """
    chosen = np.asarray(rows, dtype=np.intp)
    found = np.zeros((len(chosen), len(motifs)), dtype=bool)
    deepest = max((motif.layer for motif in motifs), default=0)
    if deepest > features.depth:
        raise SpecError(f"is {features.depth}, the motifs need {deepest}.", field="features.depth")
    for term in {(motif.layer, motif.cell) for motif in motifs if motif.cell in features.cells}:
        place = {column: j for j, column in enumerate(features.columns(*term))}
        counts = features.matrix(*term)[chosen].tocsc()
        for j, motif in enumerate(motifs):
            column = (motif.id, motif.occurrence if features.kind == "oa" else 1)
            if (motif.layer, motif.cell) == term and column in place:
                least = 1 if features.kind == "oa" else motif.occurrence
                found[:, j] = counts[:, [place[column]]].toarray().ravel() >= least
    return found


def validate(
    motifs: Sequence[Motif],
    features: WLFeatures,
    rows: Sequence[int] | np.ndarray,
    outcomes: Sequence[float] | np.ndarray,
    *,
    maximize: bool = True,
) -> pd.DataFrame:
    """Outcomes of other architectures with and without each motif: does it keep its promise?

    The test is Mann and Whitney's, two-sided; with many motifs look at ``p_adjusted``, after Benjamini and Hochberg
    (the false discovery rate). A motif is not assigned at random, so a difference is an association: what usually
    comes with the motif counts too.

    Args:
        motifs: what to look for.
        features: counts of the architectures.
        rows: architectures that the model has not seen, length n.
        outcomes: their metric, length n.
        maximize: whether larger outcomes are better.

    Returns:
        One row a motif, in the given order: ``motif``, ``cell``, ``layer``, ``occurrence``, ``text``, ``mark``,
        ``effect`` (the motif's), ``with`` and ``without`` (numbers of architectures), ``median_with``,
        ``median_without``, ``superiority`` (probability that one with is better than one without, minus the reverse;
        ties count for neither), ``p``, ``p_adjusted``, ``kept`` (whether the superiority has the sign of the effect).
        Medians, superiority and p are null where either group is empty.

    Raises:
        SpecError: numbers of rows and outcomes differ, or the features are not deep enough.
    """
    import pandas as pd

    values = np.asarray(outcomes, dtype=np.float64)
    if len(values) != len(rows):
        raise SpecError(f"{len(values)} outcomes are given for {len(rows)} rows.", field="outcomes")
    has = presence(features, rows, motifs)
    found = [
        {
            "motif": motif.id,
            "cell": motif.cell,
            "layer": motif.layer,
            "occurrence": motif.occurrence,
            "text": motif.text,
            "mark": motif.mark,
            "effect": motif.effect,
            **_difference(values[has[:, j]], values[~has[:, j]], maximize),
        }
        for j, motif in enumerate(motifs)
    ]
    names = ["motif", "cell", "layer", "occurrence", "text", "mark", "effect", *_MEASURED]
    frame = pd.DataFrame(found, columns=names)
    frame.insert(len(names), "p_adjusted", _false_discovery(frame["p"].to_numpy(dtype=np.float64)))
    frame["kept"] = np.sign(frame["superiority"]) == np.sign(frame["effect"])
    return frame


_MEASURED = ("with", "without", "median_with", "median_without", "superiority", "p")


def _difference(first: np.ndarray, second: np.ndarray, maximize: bool) -> dict[str, float]:
    """How outcomes with a motif compare with those without it."""
    if not len(first) or not len(second):
        return dict(zip(_MEASURED, (len(first), len(second), *[float("nan")] * 4), strict=True))
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(first, second, alternative="two-sided", method="asymptotic")
    superiority = (2 * float(test.statistic) / (len(first) * len(second)) - 1) * (1 if maximize else -1)
    medians = float(np.median(first)), float(np.median(second))
    return dict(zip(_MEASURED, (len(first), len(second), *medians, superiority, float(test.pvalue)), strict=True))


def _false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p values; NaN stays NaN and counts not."""
    adjusted = np.full_like(p, np.nan)
    known = ~np.isnan(p)
    if known.any():
        from scipy.stats import false_discovery_control

        adjusted[known] = false_discovery_control(p[known])
    return adjusted
