"""NAS-Bench-1Shot1: three parts of NAS-Bench-101 that a supernet can contain (Zela, Siems & Hutter, ICLR 2020).

A cell has choice blocks, each an operation on the sum of what its parents give, and an output that joins its own
parents. How many parents each of them has is fixed; which ones they are is searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench101_cell import CIFAR10, OPERATIONS, Network, PrunedCell
from xnas_ray.spaces.registry import register_space

if TYPE_CHECKING:
    import networkx as nx

PARENTS: Mapping[int, tuple[int, ...]] = {1: (1, 2, 2, 2, 2), 2: (1, 1, 2, 2, 3), 3: (1, 1, 1, 2, 2, 2)}
"""Number of parents of every block and, last, of the output, by variant (Table 1 of the paper)."""

Parents = tuple[int, ...]
"""Vertices that another one reads, in ascending order: 0 is the cell's input, block ``b`` is ``b``."""

_WHOLE = NASBench101()


@register_space("nasbench1shot1")
class NASBench1Shot1(Space):
    """Cells of NAS-Bench-101 whose blocks and output have as many parents as the variant says.

    A genotype holds the operation of every block, then, for every block that has a choice and for the output, which
    parents it has. Every genotype is valid: a block reads earlier vertices, so that each of them hangs on the input.
    A block that no path joins to the output is a *loose end*; it counts for nothing, as in NAS-Bench-101.

    Keys, graphs, costs and networks are those of NAS-Bench-101, so that a table of that benchmark has them under the
    same keys. The text is the benchmark's too, with all blocks, those of loose ends included; ``parse`` understands any
    text of an isomorphic cell.

    =======  =================  ======  =========  =======  =======
    variant  parents of blocks  output  genotypes    cells  classes
    =======  =================  ======  =========  =======  =======
    1        1, 2, 2, 2         2          14,580    3,288    2,685
    2        1, 1, 2, 2         3          29,160   11,826    7,773
    3        1, 1, 1, 2, 2      2       1,312,200  118,524   55,854
    =======  =================  ======  =========  =======  =======

    *Cells* are genotypes without their loose ends, *classes* those cells that are not isomorphic: the different keys.
    The paper prints 6,240, 29,160 and 363,648 architectures. The first and the last count every choice of parents with
    the operations of the blocks that anything reads (16,632 in the second space), 29,160 are all genotypes of the
    second. None of them counts classes.

    Args:
        variant: 1, 2 or 3.
        stacks: number of stacks; each one after the first halves height and width and doubles the channels.
        modules_per_stack: equal cells in a stack.
        channels: channels of the stem and of the first stack.

    Attributes:
        blocks: number of choice blocks.
        candidates: of every block and, last, of the output, the sets of parents that it can have.

    Raises:
        SpecError: there is no such variant, or a size is not a whole number or out of range.
    """

    name = "nasbench1shot1"
    builder = "xnas_ray.networks.nasbench1shot1:build"
    table_columns = ("adjacency", "ops")

    def __init__(self, *, variant: int = 1, stacks: int = 3, modules_per_stack: int = 3, channels: int = 128) -> None:
        """Check and keep the parameters; the defaults are the first space and the official network."""
        if isinstance(variant, bool) or not isinstance(variant, int) or variant not in PARENTS:
            raise SpecError("there is no such variant.", field="space.params.variant", got=variant, valid=list(PARENTS))
        counts = PARENTS[variant]
        self.blocks = len(counts) - 1
        self._cells = NASBench101(
            vertices=self.blocks + 2, stacks=stacks, modules_per_stack=modules_per_stack, channels=channels
        )
        sizes = {name: self._cells.params[name] for name in ("stacks", "modules_per_stack", "channels")}
        self.params = {"variant": variant, **sizes}
        self.variant = variant
        self.candidates: tuple[tuple[Parents, ...], ...] = tuple(
            tuple(combinations(range(vertex), count)) for vertex, count in enumerate(counts, start=1)
        )
        names = [*(f"block {block}" for block in range(1, self.blocks + 1)), "output"]
        self.choices = (
            *(Choice(name, OPERATIONS) for name in names[:-1]),
            *(
                Choice(f"parents of {name}", tuple("+".join(map(str, parents)) for parents in sets))
                for name, sets in zip(names, self.candidates, strict=True)
                if len(sets) > 1
            ),
        )

    @property
    def network(self) -> Network:
        """The network around a cell."""
        return self._cells.network

    def operations(self, genotype: Genotype) -> tuple[int, ...]:
        """The operation of every block, an index into ``nasbench101_cell.OPERATIONS``."""
        return self.check(genotype)[: self.blocks]

    def parents(self, genotype: Genotype) -> tuple[Parents, ...]:
        """The parents of every block and, last, of the output."""
        chosen = iter(self.check(genotype)[self.blocks :])
        return tuple(sets[next(chosen)] if len(sets) > 1 else sets[0] for sets in self.candidates)

    def genotype(self, operations: tuple[int, ...], parents: tuple[Parents, ...]) -> Genotype:
        """The genotype with these ``operations`` and ``parents``.

        Args:
            operations: of every block.
            parents: of every block and of the output, each in ascending order.

        Raises:
            GenotypeError: a block or the output cannot have these parents, or the genotype is of another length.
        """
        if len(parents) != len(self.candidates):
            raise GenotypeError(f"{len(self.candidates)} sets of parents are needed, got {parents}.", field="genotype")
        for sets, own in zip(self.candidates, parents, strict=True):
            if own not in sets:
                raise GenotypeError("no such parents.", field="genotype", got=own, valid=list(sets))
        pairs = zip(self.candidates, parents, strict=True)
        return self.check((*operations, *(sets.index(own) for sets, own in pairs if len(sets) > 1)))

    def cell(self, genotype: Genotype) -> PrunedCell:
        """The cell without loose ends, its vertices in the order of the blocks.

        Raises:
            GenotypeError: the genotype does not belong to the space.
        """
        return self._cells.cell(self._inner(genotype))

    def as_nasbench101(self, genotype: Genotype) -> Genotype:
        """The genotype of ``NASBench101()`` that is the same cell, loose ends included: for look-ups in its tables."""
        return _WHOLE.parse(self.format(genotype))

    def key(self, genotype: Genotype) -> str:
        """NAS-Bench-101's: equal exactly for cells that are isomorphic without their loose ends."""
        return self._cells.key(self._inner(genotype))

    def canonical(self, genotype: Genotype) -> Genotype:
        """The cheapest genotype of the class in this space, then the first.

        The order of the blocks decides what a cell costs where channels do not divide evenly, see ``NASBench101``.
        """
        found = self.member(self.cell(genotype))
        assert found is not None
        return found

    def member(self, cell: PrunedCell) -> Genotype | None:
        """The canonical genotype whose cell is isomorphic to this one, None where the space has none."""
        return _cheapest(cell, self.variant, self.network)

    def members(self, cell: PrunedCell) -> Iterator[tuple[PrunedCell, Genotype]]:
        """Every order of a cell's vertices and every place for them that fit, loose ends being the first possible."""
        counts = PARENTS[self.variant]
        for ordered in {cell.reordered(order) for order in cell.orders()}:
            into: list[list[int]] = [[] for _ in range(ordered.output + 1)]
            for u, v in ordered.edges:
                into[v].append(u)
            for used in combinations(range(1, self.blocks + 1), len(ordered.operations)):
                places = (0, *used, self.blocks + 1)
                if all(len(into[v]) == counts[place - 1] for v, place in enumerate(places) if v):
                    yield ordered, self._placed(ordered, into, places)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"cell": graph}`` without loose ends; node 0 is ``input``, the last one ``output``."""
        return self._cells.graphs(self._inner(genotype))

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """FLOPs and parameters of the network of NAS-Bench-101.

        Raises:
            SpecError: the task's input is not one image.
        """
        return self._cells.cost(self._inner(genotype), shape)

    def format(self, genotype: Genotype) -> str:
        """The text of NAS-Bench-101 with all blocks, loose ends included."""
        return self._cells.format(self._inner(genotype))

    def parse(self, text: str) -> Genotype:
        """The genotype of such a text; of another text of NAS-Bench-101 the canonical genotype of an isomorphic cell.

        Raises:
            GenotypeError: the text is malformed, or no cell of the space is isomorphic to its cell.
        """
        cell = _WHOLE.cell(_WHOLE.parse(text))
        if len(text.strip().split(",")) == self.blocks + 2:
            whole = self._cells.parse(text)
            bits = whole[: len(self._cells.edges)]
            present = [edge for edge, bit in zip(self._cells.edges, bits, strict=True) if bit]
            parents = tuple(tuple(u for u, v in present if v == vertex) for vertex in range(1, self.blocks + 2))
            if all(own in sets for own, sets in zip(parents, self.candidates, strict=True)):
                return self.genotype(whole[len(bits) :], parents)
        found = self.member(cell)
        if found is None:
            raise GenotypeError(
                f"space {self.name!r}, variant {self.variant}, has no cell isomorphic to {text!r}.",
                field="architecture",
                fix=f"Parents of blocks and output must be {PARENTS[self.variant]} in number.",
            )
        return found

    def cells(self) -> Iterator[PrunedCell]:
        """Every cell without its loose ends, each once; isomorphic ones are not told apart."""
        for successors in self.patterns():
            for operations in product(range(len(OPERATIONS)), repeat=len(successors) - 2):
                yield PrunedCell(operations, successors)

    def patterns(self) -> list[tuple[int, ...]]:
        """The ``PrunedCell.successors`` of all cells, each once."""
        found: dict[tuple[int, ...], None] = {}
        for parents in product(*self.candidates):
            live = {self.blocks + 1, *parents[-1]}
            for block in range(self.blocks, 0, -1):
                if block in live:
                    live.update(parents[block - 1])
            place = {vertex: i for i, vertex in enumerate(sorted(live | {0}))}
            rows = [0] * len(place)
            for vertex in live - {0}:
                for parent in parents[vertex - 1]:
                    rows[place[parent]] |= 1 << place[vertex]
            found[tuple(rows)] = None
        return list(found)

    def _inner(self, genotype: Genotype) -> Genotype:
        """The genotype of ``NASBench101(vertices=blocks + 2)`` that is the same cell, loose ends included."""
        sets = self.parents(genotype)
        return (*(int(u in sets[v - 1]) for u, v in self._cells.edges), *self.operations(genotype))

    def _placed(self, cell: PrunedCell, into: list[list[int]], places: tuple[int, ...]) -> Genotype:
        """The genotype that has the cell's vertices at these places; other blocks have their first options."""
        operations, parents = [0] * self.blocks, [sets[0] for sets in self.candidates]
        for v, place in enumerate(places):
            if v:
                parents[place - 1] = tuple(places[u] for u in into[v])
            if 0 < v < cell.output:
                operations[place - 1] = cell.operations[v - 1]
        return self.genotype(tuple(operations), tuple(parents))


@lru_cache(maxsize=2**15)
def _cheapest(cell: PrunedCell, variant: int, network: Network) -> Genotype | None:
    """The cheapest member by FLOPs on images of 32 x 32 pixels, then the first; None where there is none."""
    sizes = {"stacks": network.stacks, "modules_per_stack": network.modules_per_stack, "channels": network.channels}
    members = NASBench1Shot1(variant=variant, **sizes).members(cell)
    found = min(((network.cost(ordered, CIFAR10).flops, genotype) for ordered, genotype in members), default=None)
    return None if found is None else found[1]
