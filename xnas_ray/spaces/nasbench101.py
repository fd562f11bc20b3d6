"""NAS-Bench-101's cells: 423,624 classes among directed acyclic graphs of at most 7 vertices (Ying et al., ICML 2019).

A vertex is an operation on the sum of what reaches it; the output joins its inputs along the channels. The network is
a stem, stacks of equal cells with a max-pooling between them, and a linear head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import MAX_TRIES, Choice, DataShape, Space
from xnas_ray.spaces.nasbench101_cell import OPERATIONS, Network, PrunedCell, prune, representatives
from xnas_ray.spaces.registry import register_space

if TYPE_CHECKING:
    import networkx as nx

MAX_VERTICES = 7
_EXAMPLE = "011001000 input,conv3x3-bn-relu,output"


@register_space("nasbench101")
class NASBench101(Space):
    """Cells of NAS-Bench-101, stacked as officially or smaller.

    A genotype holds the upper triangle of the adjacency matrix row by row, then the operations of the inner vertices.
    It is valid when a path leads from input to output and at most ``max_edges`` edges lie on such paths: vertices and
    edges on none are dead, and count for nothing.

    ``key`` is equal exactly for cells whose live parts are isomorphic as labelled graphs: 423,624 different ones. The
    text is that of the benchmark's files, so a table needs its columns ``adjacency`` and ``ops``: the adjacency matrix
    row by row, a space, the operations joined by commas.

    Args:
        vertices: most vertices of a cell, input and output included: 3 to 7.
        max_edges: most edges of a cell.
        stacks: number of stacks; each one after the first halves height and width and doubles the channels.
        modules_per_stack: equal cells in a stack.
        channels: channels of the stem and of the first stack.

    Raises:
        SpecError: a parameter is not a whole number or out of range.
    """

    name = "nasbench101"
    builder = "xnas_ray.networks.nasbench101:build"
    table_columns = ("adjacency", "ops")

    def __init__(
        self,
        *,
        vertices: int = MAX_VERTICES,
        max_edges: int = 9,
        stacks: int = 3,
        modules_per_stack: int = 3,
        channels: int = 128,
    ) -> None:
        """Check and keep the parameters; the defaults are the official space and network."""
        self.params = {
            "vertices": _whole("vertices", vertices, 3, MAX_VERTICES),
            "max_edges": _whole("max_edges", max_edges, 1),
            "stacks": _whole("stacks", stacks, 1),
            "modules_per_stack": _whole("modules_per_stack", modules_per_stack, 1),
            "channels": _whole("channels", channels, vertices - 2),  # each vertex that feeds the output needs one
        }
        self.vertices = vertices
        self.max_edges = max_edges
        self.network = Network(stacks, modules_per_stack, channels)
        self.edges = tuple((u, v) for u in range(vertices) for v in range(u + 1, vertices))
        edges = [Choice(f"{target}<-{source}", (0, 1)) for source, target in self.edges]
        self.choices = (*edges, *(Choice(f"vertex {v}", OPERATIONS) for v in range(1, vertices - 1)))

    def is_valid(self, genotype: Genotype) -> bool:
        """Whether a path leads from input to output, and at most ``max_edges`` edges lie on such paths."""
        return super().is_valid(genotype) and _pruned(tuple(genotype), self.edges, self.max_edges) is not None

    def cell(self, genotype: Genotype) -> PrunedCell:
        """The live part of a cell, its vertices in the genotype's order.

        Raises:
            GenotypeError: the genotype does not belong to the space.
        """
        try:
            cell = _pruned(genotype, self.edges, self.max_edges)
        except TypeError:  # a list, an array, or values that are no ints
            cell = None
        return cell or _pruned(self.check(genotype), self.edges, self.max_edges)  # type: ignore[return-value]

    def key(self, genotype: Genotype) -> str:
        """The text of the first live cell, in the order of genotypes, among all that are isomorphic."""
        first, _ = representatives(self.cell(genotype), self.network)
        return _text(first)

    def canonical(self, genotype: Genotype) -> Genotype:
        """The cheapest genotype of the class, then the first: no dead edges, unused vertices before the used ones.

        Where the channels do not divide evenly among the vertices that feed the output, the order of the vertices
        decides which of them are wider, and so what the network costs; see ``representatives``.
        """
        _, cheapest = representatives(self.cell(genotype), self.network)
        return self._placed(cheapest)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"cell": graph}`` of the live part; node 0 is ``input``, the last one ``output``."""
        import networkx as nx

        from xnas_ray.spaces.graphs import INPUT, OP_NAME, OUTPUT

        cell = self.cell(genotype)
        graph = nx.DiGraph()
        for node, label in enumerate([INPUT, *(OPERATIONS[o] for o in cell.operations), OUTPUT]):
            graph.add_node(node, **{OP_NAME: label})
        graph.add_edges_from(cell.edges)
        return {"cell": graph}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """FLOPs (multiply-accumulates of convolutions and the head) and parameters of the network as it is built.

        Parameters equal the benchmark's own figures for every cell, the order of its vertices included.

        Raises:
            SpecError: the task's input is not one image.
        """
        return self.network.cost(self.cell(genotype), shape)

    def format(self, genotype: Genotype) -> str:
        """The whole matrix and all operations, dead ones included: ``0110… input,conv3x3-bn-relu,…,output``."""
        genotype = self.check(genotype)
        return _text(PrunedCell(genotype[len(self.edges) :], _rows(genotype, self.edges)))

    def parse(self, text: str) -> Genotype:
        """The genotype of such a text, also of one with fewer vertices, as the benchmark's files have them.

        Missing vertices are dead ones behind the input.

        Raises:
            GenotypeError: naming what is malformed, or the cell is not valid.
        """
        matrix, _, names = text.strip().partition(" ") if isinstance(text, str) else ("", "", "")
        operations = names.split(",")
        vertices = len(operations)
        if not 2 <= vertices <= self.vertices:
            raise _malformed(f"{vertices} vertices in {text!r}, there must be 2 to {self.vertices}.")
        if operations[0] != "input" or operations[-1] != "output":
            raise _malformed(f"operations must begin with 'input' and end with 'output', got {names!r}.")
        for name in operations[1:-1]:
            if name not in OPERATIONS:
                raise GenotypeError("unknown operation.", field="architecture", got=name, valid=OPERATIONS)
        if len(matrix) != vertices**2 or set(matrix) - {"0", "1"}:
            raise _malformed(f"{vertices} vertices need a matrix of {vertices**2} zeros and ones, got {matrix!r}.")
        rows = [matrix[u * vertices : (u + 1) * vertices] for u in range(vertices)]
        if any("1" in row[: u + 1] for u, row in enumerate(rows)):
            raise _malformed(f"edges must lead from lower to higher vertices, got the rows {rows}.")
        successors = tuple(int(row[::-1], 2) for row in rows)
        return self.check(self._placed(PrunedCell(tuple(map(OPERATIONS.index, operations[1:-1])), successors)))

    # ---- mutation ---------------------------------------------------------------------------------------------------

    @property
    def mutation_rates(self) -> tuple[float, ...]:
        """1 / V for every edge and 1 / (V - 2) for every operation (White et al. 2021, NAS-BOWL)."""
        inner = self.vertices - 2
        return (1 / self.vertices,) * len(self.edges) + (1 / inner,) * inner

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        """A valid genotype of another class: ``changes`` choices of a random member of this class are changed.

        A member is random in what the key ignores: dead vertices, their edges and operations. So a single change can
        also bring a vertex to life, which no single change of a canonical genotype could.

        Raises:
            GenotypeError: no valid mutant was found.
        """
        places = self._free
        return self._mutant(genotype, rng, lambda: rng.choice(places, size=min(changes, len(places)), replace=False))

    def perturb(
        self, genotype: Genotype, rng: np.random.Generator, rates: float | Sequence[float] | None = None
    ) -> Genotype:
        """A valid genotype of another class: every choice of a random member changes with a probability of its own.

        Raises:
            GenotypeError: no valid mutant was found.
        """
        return self._mutant(genotype, rng, lambda: self._drawn(rng, rates))

    def _mutant(self, genotype: Genotype, rng: np.random.Generator, places: Callable[[], np.ndarray]) -> Genotype:
        key = self.key(genotype)
        for _ in range(MAX_TRIES):
            mutant = self._changed(self.member(genotype, rng), places(), rng)
            if _pruned(mutant, self.edges, self.max_edges) is not None and self.key(mutant) != key:
                return mutant
        raise GenotypeError(f"no valid mutant of {genotype} in {MAX_TRIES} tries.", field="genotype")

    def member(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """A random member of the genotype's class: any legal order of the vertices, anything dead between them.

        A dead vertex is one of two kinds: nothing that the input reaches leads to it, or nothing that it leads to
        reaches the output. Edges between it and others that keep it so are there by the toss of a coin.
        """
        cell = self.cell(genotype)
        orders = list(cell.orders())
        cell = cell.reordered(orders[int(rng.integers(len(orders)))])
        inner = self.vertices - 2
        used = np.sort(rng.permutation(inner)[: len(cell.operations)]) + 1
        member = list(self._placed(cell, (0, *map(int, used), self.vertices - 1)))
        dead = set(range(1, inner + 1)) - set(map(int, used))
        unreached = {v for v in sorted(dead) if rng.random() < 0.5}
        coins = rng.random(len(self.edges)) < 0.5
        for i, (u, v) in enumerate(self.edges):
            if u in unreached or (v in dead and v not in unreached):
                member[i] = int(coins[i])
        for v in sorted(dead):
            member[len(self.edges) + v - 1] = int(rng.integers(len(OPERATIONS)))
        return tuple(member)

    def _placed(self, cell: PrunedCell, places: Sequence[int] | None = None) -> Genotype:
        """The genotype that has the cell's vertices at these places, by default the last ones, and nothing else.

        At the last places it is the first of all that differ in places alone: the first row begins with most zeros.
        """
        if places is None:
            places = (0, *range(self.vertices - 1 - len(cell.operations), self.vertices))
        present = {(places[u], places[v]) for u, v in cell.edges}
        operations = [0] * (self.vertices - 2)
        for place, operation in zip(places[1:-1], cell.operations, strict=True):
            operations[place - 1] = operation
        return (*(int(edge in present) for edge in self.edges), *operations)


@lru_cache(maxsize=2**15)
def _pruned(genotype: Genotype, edges: tuple[tuple[int, int], ...], max_edges: int) -> PrunedCell | None:
    """The live part of a genotype, None where it is not valid."""
    operations = genotype[len(edges) :]
    if len(operations) != edges[-1][1] - 1 or not all(0 <= o < len(OPERATIONS) for o in operations):
        return None
    if any(bit not in (0, 1) for bit in genotype[: len(edges)]):
        return None
    cell = prune(operations, _rows(genotype, edges))
    return cell if cell is not None and sum(row.bit_count() for row in cell.successors) <= max_edges else None


def _rows(genotype: Genotype, edges: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Successors of every vertex, as ``PrunedCell`` has them."""
    rows = [0] * (edges[-1][1] + 1)
    for present, (u, v) in zip(genotype, edges, strict=False):
        rows[u] |= present << v
    return tuple(rows)


def _text(cell: PrunedCell) -> str:
    vertices = range(cell.output + 1)
    matrix = "".join(str(row >> v & 1) for row in cell.successors for v in vertices)
    return f"{matrix} {','.join(['input', *(OPERATIONS[o] for o in cell.operations), 'output'])}"


def _whole(name: str, value: object, low: int, high: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        wanted = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise SpecError(f"must be a whole number {wanted}, got {value!r}.", field=f"space.params.{name}")
    return value


def _malformed(message: str) -> GenotypeError:
    return GenotypeError(message, field="architecture", fix=f"A valid one: {_EXAMPLE}")
