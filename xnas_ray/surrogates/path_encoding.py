"""Path encoding: an architecture as the set of operation sequences from its input to its output.

White, Neiswanger & Savani, "BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture Search",
AAAI 2021, section 4. Theirs has a fixed column for every sequence that a space could form. Here a path has an id made
of its content, so that any space with graphs has the encoding, and the same path has the same id in every process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.randomness import canonical_json
from xnas_ray.spaces.graphs import OP_NAME

if TYPE_CHECKING:
    import networkx as nx

MAX_PATHS = 10_000
RECIPE = "recipe: "
"""Stands for the cell's name where an id is of a setting and its value."""

PathId = int
"""63 bits of blake2b over the cell's name and the operations."""


@dataclass(frozen=True, slots=True)
class OperationPath:
    """What a path id stands for.

    Attributes:
        cell: name of the graph (``"cell"``, ``"normal"`` …).
        operations: labels of the nodes on the way, the input's and the output's included.
    """

    cell: str
    operations: tuple[str, ...]

    @property
    def id(self) -> PathId:
        """The same for equal paths in every process and release."""
        text = json.dumps([self.cell, *self.operations])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def graph_paths(
    graph: nx.DiGraph, *, max_operations: int | None = None, max_paths: int = MAX_PATHS
) -> set[tuple[str, ...]]:
    """Label sequences of all ways from a node without predecessors to a node without successors.

    Sequences grow one node at a time, so what is left out is always the longest: a graph can have exponentially many
    paths, and random cells mostly have short ones (the paper's reason for truncating).

    Args:
        graph: acyclic, every node with ``op_name``.
        max_operations: nodes between the two ends at most, None for any number.
        max_paths: sequences under way at most; those of the length that passes it, and longer ones, are left out.
    """
    found: set[tuple[str, ...]] = set()
    growing: dict[object, set[tuple[str, ...]]] = {
        node: {(label,)} for node, label in graph.nodes(data=OP_NAME) if not graph.in_degree(node)
    }
    steps = graph.number_of_nodes() if max_operations is None else max_operations + 1
    for _ in range(steps):
        growing = _grown(graph, growing)
        if sum(map(len, growing.values())) > max_paths:
            break
        for node in [node for node in growing if not graph.out_degree(node)]:
            found |= growing.pop(node)
    return found


def _grown(graph: nx.DiGraph, growing: dict[object, set[tuple[str, ...]]]) -> dict[object, set[tuple[str, ...]]]:
    longer: dict[object, set[tuple[str, ...]]] = {}
    for node, paths in growing.items():
        for successor in graph.successors(node):
            label = graph.nodes[successor][OP_NAME]
            longer.setdefault(successor, set()).update((*path, label) for path in paths)
    return longer


class PathEncoding:
    """Paths of many architectures, each encoded once.

    The vocabulary grows with what is added, but ids depend on content alone: the order in which architectures come
    leaves no trace.

    Args:
        max_operations: longest paths kept, in operations between input and output; None keeps all.
        max_paths: see ``graph_paths``.

    Attributes:
        paths: what each id stands for.
    """

    def __init__(self, *, max_operations: int | None = None, max_paths: int = MAX_PATHS) -> None:
        """No architecture yet."""
        self.max_operations = max_operations
        self.max_paths = max_paths
        self.paths: dict[PathId, OperationPath] = {}
        self._id_of: dict[OperationPath, PathId] = {}
        self._rows: dict[str, frozenset[PathId]] = {}

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        """Whether the architecture of this key was added."""
        return key in self._rows

    def __getitem__(self, key: str) -> frozenset[PathId]:
        """Ids of an architecture's paths; KeyError when it was not added."""
        return self._rows[key]

    def add(
        self, key: str, graphs: Mapping[str, nx.DiGraph], recipe: Mapping[str, Any] | None = None
    ) -> frozenset[PathId]:
        """Encode an architecture, unless its key is known; ids of its paths.

        Args:
            key: names the architecture, and its recipe where it has one.
            graphs: its cells.
            recipe: settings that the space decides, JSON values; each is one more id.
        """
        if key not in self._rows:
            paths = [
                OperationPath(RECIPE, (name, canonical_json({"": value}))) for name, value in (recipe or {}).items()
            ]
            for cell, graph in graphs.items():
                found = graph_paths(graph, max_operations=self.max_operations, max_paths=self.max_paths)
                paths += [OperationPath(cell, path) for path in found]
            self._rows[key] = frozenset(map(self._identify, paths))
        return self._rows[key]

    def _identify(self, path: OperationPath) -> PathId:
        found = self._id_of.get(path)
        if found is None:
            found = self._id_of[path] = path.id
            self.paths[found] = path
        return found


def columns_of(rows: Sequence[frozenset[PathId]]) -> tuple[PathId, ...]:
    """Every id of the rows, sorted."""
    return tuple(sorted(set().union(*rows)))


def presence(rows: Sequence[frozenset[PathId]], columns: Sequence[PathId]) -> np.ndarray:
    """float64 matrix, rows x columns: 1 where an architecture has a path; ids outside ``columns`` are left out."""
    place = {column: i for i, column in enumerate(columns)}
    matrix = np.zeros((len(rows), len(columns)))
    for row, ids in zip(matrix, rows, strict=True):
        row[[place[i] for i in ids if i in place]] = 1.0
    return matrix
