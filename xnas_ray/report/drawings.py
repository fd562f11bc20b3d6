"""Architectures as short lists of numbers, from which the page draws them when somebody looks.

Sixteen thousand drawings would be 100 MB of SVG; places and edges of the cells that differ are a few hundred kB.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xnas_ray.explain.cell_drawing import graph_layout
from xnas_ray.explain.motif_drawing import Node
from xnas_ray.messages import Genotype
from xnas_ray.spaces.graphs import OP_NAME

if TYPE_CHECKING:
    import networkx as nx

Graphs = Callable[[Genotype], Mapping[str, "nx.DiGraph"]]
"""``Space.graphs`` of the space that was searched."""

Cell = list[Any]
"""``[name, [operation, x, 2 y, operation, …], [from, to, from, …]]``: operations and nodes by number."""

Drawing = list[Cell]


@dataclass
class Drawings:
    """Drawings that differ, and the operations that they show.

    Attributes:
        operations: names, in the order in which they were met.
        drawings: each once.
    """

    operations: list[str] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    _operation: dict[str, int] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)

    def of_graphs(self, graphs: Mapping[str, nx.DiGraph]) -> int:
        """Number of the drawing of an architecture."""
        return self._number([self._cell(name, graph) for name, graph in graphs.items()])

    def of_tree(self, nodes: Sequence[Node]) -> int:
        """Number of the drawing of a motif: its root on the left, the operations that follow it to the right."""
        widest = max(node.x for node in nodes)
        places = [value for n in nodes for value in (self._op(n.label), round(-n.y), widest - 2 * n.x)]
        edges = [value for i, n in enumerate(nodes) if n.parent is not None for value in (n.parent, i)]
        return self._number([["", places, edges]])

    def _cell(self, name: str, graph: nx.DiGraph) -> Cell:
        places = graph_layout(graph)
        index: dict[Hashable, int] = {node: i for i, node in enumerate(places)}
        nodes: list[int] = []
        for node, (x, y) in places.items():
            nodes += (self._op(str(graph.nodes[node][OP_NAME])), round(x), round(2 * y))
        return [name, nodes, [index[end] for edge in graph.edges for end in edge]]

    def _op(self, name: str) -> int:
        if name not in self._operation:
            self._operation[name] = len(self.operations)
            self.operations.append(name)
        return self._operation[name]

    def _number(self, drawing: Drawing) -> int:
        text = repr(drawing)
        if text not in self._known:
            self._known[text] = len(self.drawings)
            self.drawings.append(drawing)
        return self._known[text]

    def of_genotypes(self, genotypes: Sequence[Genotype], graphs: Graphs) -> list[int]:
        """Number of the drawing of each of these; every genotype is looked at once."""
        known = {genotype: self.of_graphs(graphs(genotype)) for genotype in dict.fromkeys(genotypes)}
        return [known[genotype] for genotype in genotypes]
