"""Small operations on architecture graphs: directed, acyclic, every node labelled by its attribute ``op_name``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import networkx as nx
from networkx.algorithms.isomorphism import categorical_node_match

OP_NAME = "op_name"
INPUT = "input"
OUTPUT = "output"

Unfolding = tuple[str, frozenset["Unfolding"]]
"""A node's label and the unfoldings of its predecessors."""


def chain(labels: Iterable[str]) -> nx.DiGraph:
    """A graph of nodes 0, 1, … with these labels, each joined to the next."""
    graph = nx.DiGraph()
    for node, label in enumerate(labels):
        graph.add_node(node, **{OP_NAME: label})
    nx.add_path(graph, range(len(graph)))
    return graph


def remove(graph: nx.DiGraph, op_name: str) -> None:
    """Delete every node of that operation with its edges, in place: what it computed is lost."""
    graph.remove_nodes_from([node for node, label in graph.nodes(data=OP_NAME) if label == op_name])


def contract(graph: nx.DiGraph, op_name: str) -> None:
    """Delete every node of that operation, in place, wiring its predecessors to its successors.

    One node at a time on the graph as it then is, so that chains of such nodes keep their connection (wiring by the
    neighbours of the original graph, as NAS-BOWL's code does, loses it).
    """
    for node in [node for node, label in graph.nodes(data=OP_NAME) if label == op_name]:
        sources, targets = list(graph.predecessors(node)), list(graph.successors(node))
        graph.remove_node(node)
        graph.add_edges_from((source, target) for source in sources for target in targets)


def prune(graph: nx.DiGraph, source: Hashable, sink: Hashable) -> nx.DiGraph:
    """A copy with only what lies on a path from ``source`` to ``sink``; both ends stay even when no path joins them."""
    live = (nx.descendants(graph, source) | {source}) & (nx.ancestors(graph, sink) | {sink})
    return graph.subgraph(live | {source, sink}).copy()


def isomorphic(first: nx.DiGraph, second: nx.DiGraph) -> bool:
    """Whether a renaming of nodes turns one graph into the other, labels included."""
    return bool(nx.is_isomorphic(first, second, node_match=categorical_node_match(OP_NAME, None)))


def unfold(graph: nx.DiGraph, node: Hashable) -> Unfolding:
    """The expression that ``node`` computes, as a nested set: equal for graphs that differ in sharing only.

    A result used twice and the same operation computed twice on the same inputs unfold alike.
    """
    known: dict[Hashable, Unfolding] = {}
    for current in nx.topological_sort(graph.subgraph(nx.ancestors(graph, node) | {node})):
        inputs = frozenset(known[p] for p in graph.predecessors(current))
        known[current] = (graph.nodes[current][OP_NAME], inputs)
    return known[node]
