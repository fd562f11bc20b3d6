"""The same counts through GraKeL (Siglidis et al., JMLR 2020): the backend that others can check ours against."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from grakel import Graph, WeisfeilerLehman

from xnas_ray.surrogates.wl_features import FeatureId, Subtree, feature_id, node_labels

if TYPE_CHECKING:
    import networkx as nx


def wl_counts(
    graph: nx.DiGraph, depth: int, trees: dict[FeatureId, Subtree] | None = None
) -> list[dict[FeatureId, int]]:
    """As ``wl_features.wl_counts``: GraKeL refines and counts, its numbers are translated into our ids.

    GraKeL numbers labels within one fit and keeps, for every layer, the text ``"own,[successors]"`` behind each
    number; numbers of layer 0 stand for operations. So numbers translate layer by layer. One fit a graph, because a
    later ``transform`` forgets the labels that its first fit did not know.
    """
    labels = node_labels(graph)
    if not labels:  # GraKeL refuses graphs without nodes
        return [{} for _ in range(depth + 1)]
    position = {node: i for i, node in enumerate(labels)}
    edges = {i: [position[s] for s in graph.successors(node)] for node, i in position.items()}
    # n_iter is at least 1 and an int of Python's own, else GraKeL raises TypeError.
    kernel = WeisfeilerLehman(n_iter=max(1, depth), normalize=False)
    kernel.fit([Graph(edges, {i: labels[node] for node, i in position.items()}, graph_format="dictionary")])

    known: dict[FeatureId, Subtree] = {} if trees is None else trees
    names: dict[int, FeatureId] = {}  # GraKeL's numbers are unique over all layers
    layers = []
    for layer in range(depth + 1):
        for text, number in kernel._inv_labels[layer].items():
            tree = _subtree(text, layer, names, known)
            names[number] = feature_id(tree)
            known.setdefault(names[number], tree)
        histogram = kernel.X[layer]
        counts = histogram.X.toarray() if scipy.sparse.issparse(histogram.X) else np.asarray(histogram.X)
        layers.append({names[number]: int(counts[0, column]) for number, column in histogram._labels.items()})
    return layers


def _subtree(text: str, layer: int, names: dict[int, FeatureId], trees: dict[FeatureId, Subtree]) -> Subtree:
    """What GraKeL's label of one layer stands for, given the names of the layers below."""
    if layer == 0:
        return Subtree(0, text)
    own, _, successors = text.partition(",")
    root = names[int(own)]
    return Subtree(layer, trees[root].label, root, tuple(sorted(names[number] for number in json.loads(successors))))
