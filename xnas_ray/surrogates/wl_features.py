"""Weisfeiler–Lehman features: how often each subtree occurs in an architecture's graphs, under ids that never change.

A node's label at layer 0 is its operation; at layer t it is its own label at layer t - 1 together with the sorted
labels of its successors at layer t - 1 (Shervashidze et al., "Weisfeiler-Lehman graph kernels", JMLR 2011, on directed
graphs as in NAS-BOWL, Ru et al., ICLR 2021). The usual implementations number labels in the order of the data set; here
an id is a hash of what the label stands for, so that every worker, process and release names a subtree alike.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.graphs import OP_NAME

if TYPE_CHECKING:
    import networkx as nx

FeatureId = int
"""Names a subtree, in [0, 2**63)."""

Kind = Literal["subtree", "oa"]
Backend = Literal["native", "grakel"]

_BLOCK_ENTRIES = 4_000_000  # of the dense side of a sparse product: 32 MB
_FEW_COLUMNS = 64  # of a matrix in which most entries are not 0, as those of layer 0
_PERSON = b"xnas wl"


@dataclass(frozen=True, slots=True)
class Subtree:
    """What a feature id stands for: a node and what it leads to within ``layer`` steps.

    Attributes:
        layer: number of refinements, 0 for a bare operation.
        label: operation of the root.
        root: the same node one layer below, None at layer 0.
        children: its successors one layer below, sorted, with repetition; empty at layer 0.
    """

    layer: int
    label: str
    root: FeatureId | None = None
    children: tuple[FeatureId, ...] = ()


def feature_id(tree: Subtree) -> FeatureId:
    """The id of a subtree: 63 bits of BLAKE2b over (layer, own id, sorted child ids), at layer 0 over the label."""
    return _label_id(tree.label) if tree.root is None else _refined_id(tree.layer, tree.root, tree.children)


@lru_cache(maxsize=4096)
def _label_id(label: str) -> FeatureId:
    return _digest(struct.pack("<q", 0) + label.encode())


@lru_cache(maxsize=2**17)
def _refined_id(layer: int, root: FeatureId, children: tuple[FeatureId, ...]) -> FeatureId:
    return _digest(struct.pack(f"<{2 + len(children)}q", layer, root, *children))


def _digest(content: bytes) -> FeatureId:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, person=_PERSON).digest(), "big") >> 1


def wl_ids(
    graph: nx.DiGraph, depth: int, trees: dict[FeatureId, Subtree] | None = None
) -> list[dict[Hashable, FeatureId]]:
    """The id of every node at every layer.

    Args:
        graph: directed; every node has its operation in ``op_name``. Neighbours are successors.
        depth: number of refinements h, at least 0.
        trees: what the ids stand for is added here.

    Returns:
        Node to id, for layers 0 to ``depth``.

    Raises:
        GenotypeError: a node has no operation.
    """
    labels = node_labels(graph)
    layers: list[dict[Hashable, FeatureId]] = [{node: _label_id(label) for node, label in labels.items()}]
    successors = {node: tuple(graph.successors(node)) for node in labels}
    for layer in range(1, depth + 1):
        below = layers[-1]
        above = {}
        for node, following in successors.items():
            children = tuple(sorted([below[n] for n in following]))
            above[node] = _refined_id(layer, below[node], children)
            if trees is not None and above[node] not in trees:
                trees[above[node]] = Subtree(layer, labels[node], below[node], children)
        layers.append(above)
    if trees is not None:
        trees.update((id_, Subtree(0, labels[node])) for node, id_ in layers[0].items() if id_ not in trees)
    return layers


def wl_counts(
    graph: nx.DiGraph, depth: int, trees: dict[FeatureId, Subtree] | None = None
) -> list[dict[FeatureId, int]]:
    """How often every subtree occurs, for layers 0 to ``depth``; arguments and errors are those of ``wl_ids``."""
    return [dict(Counter(layer.values())) for layer in wl_ids(graph, depth, trees)]


def node_labels(graph: nx.DiGraph) -> dict[Hashable, str]:
    """The operation of every node.

    Raises:
        GenotypeError: a node has none, or the graph is undirected.
    """
    labels = dict(graph.nodes(data=OP_NAME))
    bad = next((node for node, label in labels.items() if not isinstance(label, str)), None)
    if bad is not None or not graph.is_directed():
        problem = "a graph is undirected" if bad is None else f"node {bad!r} has no text in {OP_NAME!r}"
        raise GenotypeError(
            f"{problem}.",
            field="space.graphs",
            fix=f"Let Space.graphs return DiGraphs whose nodes name their operation in {OP_NAME!r}.",
        )
    return labels


class WLFeatures:
    """Count vectors of many architectures, one row each, appended one at a time.

    Two kernels are linear in them: ``subtree``, the dot product of counts, and ``oa``, the optimal assignment kernel
    ``sum_j min(phi_j, phi'_j)`` (Kriege et al., "On valid optimal assignment kernels", NeurIPS 2016), whose columns are
    the unary expansion ``[phi_j >= t]``, t = 1, 2, …

    Args:
        depth: number of refinements h; the layers are 0 to h.
        kind: which kernel the columns are of.
        backend: ``"native"``, or ``"grakel"``, which refines through GraKeL: the same columns, three times slower.

    Attributes:
        depth: as given.
        kind: as given.
        cells: names of an architecture's graphs, fixed by the first row.

    Raises:
        SpecError: a depth below 0, or an unknown kind or backend.
    """

    def __init__(self, depth: int = 3, *, kind: Kind = "subtree", backend: Backend = "native") -> None:
        """Start without rows."""
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
            raise SpecError(f"must be a whole number of at least 0, got {depth!r}.", field="depth")
        for field, value, valid in (("kind", kind, ("subtree", "oa")), ("backend", backend, ("native", "grakel"))):
            if value not in valid:
                raise SpecError(f"there is no {field} {value!r}.", field=field, got=value, valid=valid)
        self.depth = depth
        self.kind = kind
        self.cells: tuple[str, ...] = ()
        self._count = _counting(backend)
        self._row: dict[str, int] = {}
        self._trees: dict[FeatureId, Subtree] = {}
        self._counts: dict[tuple[int, str], _Counts] = {}

    @property
    def trees(self) -> Mapping[FeatureId, Subtree]:
        """What the ids of all rows stand for, those of lower layers included."""
        return MappingProxyType(self._trees)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._row)

    def __contains__(self, key: str) -> bool:
        """Whether an architecture of this key has a row."""
        return key in self._row

    def add(self, key: str, graphs: Mapping[str, nx.DiGraph]) -> int:
        """The row of an architecture, appended when its key is new.

        Args:
            key: names the architecture; ``Space.key`` for instance.
            graphs: one a cell type, as ``Space.graphs`` gives them; not looked at when the key is known.

        Raises:
            GenotypeError: other cells than those of the first row, or a node without operation.
        """
        if key in self._row:
            return self._row[key]
        if self._row and graphs.keys() != set(self.cells):
            raise GenotypeError(
                f"architecture {key!r} has the graphs {sorted(graphs)}, others have {sorted(self.cells)}.",
                field="space.graphs",
                fix="Let Space.graphs return the same names for every genotype.",
            )
        counts = {cell: self._count(graph, self.depth, self._trees) for cell, graph in graphs.items()}
        if not self._row:
            self.cells = tuple(graphs)
            unary = self.kind == "oa"
            self._counts = {(t, cell): _Counts(unary) for cell in self.cells for t in range(self.depth + 1)}
        for (layer, cell), rows in self._counts.items():
            rows.append(counts[cell][layer])
        self._row[key] = len(self._row)
        return self._row[key]

    def row(self, key: str) -> int:
        """The row of a key; KeyError when it has none."""
        return self._row[key]

    def matrix(self, layer: int, cell: str) -> scipy.sparse.csr_matrix:
        """Counts of one layer and cell, rows x columns, float64; read only, and good until the next ``add``."""
        return self._counts[layer, cell].matrix()

    def columns(self, layer: int, cell: str) -> list[tuple[FeatureId, int]]:
        """What every column counts: (id, t), t = 1 for ``subtree``, the t-th occurrence for ``oa``."""
        return list(self._counts[layer, cell].columns)

    def gram(
        self, rows_a: Sequence[int] | np.ndarray, rows_b: Sequence[int] | np.ndarray, layer: int, cell: str
    ) -> np.ndarray:
        """Dot products of rows, len(rows_a) x len(rows_b), float64 and exact (they are whole numbers)."""
        return self._counts[layer, cell].dot(np.asarray(rows_a, dtype=np.intp), np.asarray(rows_b, dtype=np.intp))

    def squared_norms(self, rows: Sequence[int] | np.ndarray, layer: int, cell: str) -> np.ndarray:
        """The diagonal of ``gram(rows, rows)``, in time linear in the rows."""
        return self._counts[layer, cell].squared_norms()[np.asarray(rows, dtype=np.intp)]


class _Counts:
    """One layer of one cell: a sparse matrix that grows by rows, in the arrays of the CSR format."""

    def __init__(self, unary: bool) -> None:
        self.columns: dict[tuple[FeatureId, int], int] = {}
        self._unary = unary
        self._data, self._indices, self._row_ends = array("d"), array("i"), array("i", [0])
        self._norms = array("d")
        self._matrix: scipy.sparse.csr_matrix | None = None

    def append(self, counts: Mapping[FeatureId, int]) -> None:
        """A row; new columns are numbered by sorted ids, so that the order of a graph's nodes leaves no trace."""
        if self._unary:
            entries = {(id_, t): 1 for id_, count in counts.items() for t in range(1, count + 1)}
        else:
            entries = {(id_, 1): count for id_, count in counts.items()}
        for column in sorted(entries):
            self.columns.setdefault(column, len(self.columns))
        row = sorted((self.columns[column], value) for column, value in entries.items())
        self._indices.extend(index for index, _ in row)
        self._data.extend(value for _, value in row)
        self._row_ends.append(len(self._data))
        self._norms.append(sum(value * value for _, value in row))
        self._matrix = None

    def matrix(self) -> scipy.sparse.csr_matrix:
        if self._matrix is None:
            arrays = (np.array(self._data), np.array(self._indices), np.array(self._row_ends))
            self._matrix = scipy.sparse.csr_matrix(arrays, shape=(len(self._norms), len(self.columns)))
        return self._matrix

    def squared_norms(self) -> np.ndarray:
        return np.array(self._norms)

    def dot(self, rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
        """Dot products, dense, in C order; the smaller side is made dense, in blocks, or both if there are few columns.

        A product of two sparse matrices takes up to five times as long: its result has hardly a 0.
        """
        if len(self.columns) <= _FEW_COLUMNS:
            return np.asarray(self._dense(rows_a) @ self._dense(rows_b).T)
        if len(rows_a) < len(rows_b):
            return np.ascontiguousarray(self.dot(rows_b, rows_a).T)
        larger = self._sparse(rows_a)
        step = max(1, _BLOCK_ENTRIES // len(self.columns))
        products = [larger @ self._dense(rows_b[start : start + step]).T for start in range(0, len(rows_b), step)]
        return np.concatenate(products, axis=1) if products else np.zeros((len(rows_a), 0))

    def _sparse(self, rows: np.ndarray) -> scipy.sparse.csr_matrix:
        """Some rows; all of them in their order, as the candidates of a listed space are, without a copy."""
        matrix = self.matrix()
        whole = len(rows) == matrix.shape[0] and np.array_equal(rows, np.arange(len(rows)))
        return matrix if whole else matrix[rows]

    def _dense(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, len(rows) x columns; for few rows ten times as fast as through SciPy."""
        matrix = self.matrix()
        starts = matrix.indptr[rows]
        lengths = matrix.indptr[rows + 1] - starts
        found = np.zeros((len(rows), len(self.columns)))
        entries = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        found[np.repeat(np.arange(len(rows)), lengths), matrix.indices[entries]] = matrix.data[entries]
        return found


Count = Callable[["nx.DiGraph", int, dict[FeatureId, Subtree] | None], list[dict[FeatureId, int]]]


def _counting(backend: Backend) -> Count:
    if backend == "native":
        return wl_counts
    from xnas_ray.surrogates.wl_grakel import wl_counts as through_grakel

    return through_grakel
