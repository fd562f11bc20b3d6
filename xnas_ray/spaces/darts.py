"""The cells of DARTS (Liu, Simonyan & Yang, ICLR 2019): a normal and a reduction cell, about 10^18 genotypes.

A cell reads the results of the two cells before it and has four nodes; each is the sum of two operations on different
earlier results, and the cell's result joins the four. The network stacks cells; two of them, at a third and at two
thirds of its depth, are reduction cells, which halve height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces import cost as costs
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.darts_text import format_cells, parse_cells
from xnas_ray.spaces.registry import register_space

if TYPE_CHECKING:
    import networkx as nx

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The official order without ``none``, which no derived cell has; a genotype holds indices into it."""

NODES = 4
INPUTS = 2
STEM_MULTIPLIER = 3
CELLS = ("normal", "reduction")

Node = tuple[tuple[int, int], tuple[int, int]]
"""Two (source, operation), the lower source first; sources 0 and 1 are the cell's inputs, 2 to 5 its nodes."""

_PAIRS = tuple(tuple(combinations(range(INPUTS + i), 2)) for i in range(NODES))
"""For every node the pairs of sources that it may read; the first one has no choice."""


@register_space("darts")
class DARTS(Space):
    """Cells of DARTS in the network that the field evaluates them in.

    ``key`` is equal exactly for architectures whose two graphs are isomorphic: which of a node's inputs is written
    first and how the nodes are numbered does not count. The text is the field's
    ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6))``.

    Args:
        layers: cells of the network.
        channels: of the first cell's nodes (``init_channels``, 36 on CIFAR-10); every reduction doubles them.
        drop_path: probability of dropping a path at the end of training, growing evenly from 0 (officially 0.2).
        auxiliary_weight: how much the loss of an auxiliary head counts in training (officially 0.4); 0 has none.

    Raises:
        SpecError: a size is not a whole number of at least 1, a probability or weight is out of range.
    """

    name = "darts"
    builder = "xnas_ray.networks.darts:build"

    def __init__(
        self, *, layers: int = 20, channels: int = 36, drop_path: float = 0.0, auxiliary_weight: float = 0.0
    ) -> None:
        """Check and keep the parameters; the defaults are the official CIFAR-10 network without regularisation."""
        sizes = {"layers": layers, "channels": channels}
        for name, value in sizes.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"must be a whole number of at least 1, got {value!r}.", field=f"space.params.{name}")
        shares = {"drop_path": drop_path, "auxiliary_weight": auxiliary_weight}
        for name, share in shares.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
                raise SpecError(f"must be a number from 0 to below 1, got {share!r}.", field=f"space.params.{name}")
        self.params = {**sizes, **{name: float(share) for name, share in shares.items()}}
        self.layers = layers
        self.channels = channels
        self.drop_path = float(drop_path)
        self.auxiliary_weight = float(auxiliary_weight)
        self.choices = tuple(choice for cell in CELLS for choice in _cell_choices(cell))

    def key(self, genotype: Genotype) -> str:
        """The digits of the two cells' first members, such as ``33133033025/…``."""
        return "/".join("".join(map(str, half)) for half in self._canonical_halves(genotype))

    def canonical(self, genotype: Genotype) -> Genotype:
        """The first member of the class; all of them cost the same."""
        normal, reduction = self._canonical_halves(genotype)
        return normal + reduction

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"normal": graph, "reduction": graph}``: operations are nodes, skips are contracted.

        Labels are ``input1`` (the cell before the last one), ``input2`` (the last one), the operations, ``add`` for
        what sums a node's two results, and ``output``. In a reduction cell a skip from an input halves height and
        width by convolutions; it is contracted all the same, as in the field's graphs, and no other edge joins an
        input and an ``add`` there.
        """
        return {name: _graph(nodes) for name, nodes in zip(CELLS, self.cells(genotype), strict=True)}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """FLOPs (multiply-accumulates) and parameters of the network in which the field evaluates cells on CIFAR-10.

        Without the auxiliary head, which serves training alone.

        Raises:
            SpecError: the task's input is not one image.
        """
        colours, *image = costs.image_input(shape, self.name)
        normal, reduction = self.cells(genotype)
        size, channels = (image[0], image[1]), self.channels
        before = last = STEM_MULTIPLIER * channels
        parts = [costs.conv2d(colours, last, 3, size), costs.batch_norm(last)]
        halved = False  # whether the last cell was a reduction: then the one before it is twice as large
        for layer in range(self.layers):
            reduces = layer in reduction_layers(self.layers)
            channels *= 2 if reduces else 1
            parts += _factorized_reduce(before, channels, size) if halved else _convolution(before, channels, size)
            parts += _convolution(last, channels, size)
            small = costs.strided(size, 2) if reduces else size
            for node in reduction if reduces else normal:
                for source, operation in node:
                    shrinks = reduces and source < INPUTS
                    parts.append(_operation_cost(OPERATIONS[operation], channels, small, shrinks))
            size, before, last, halved = small, last, NODES * channels, reduces
        return costs.total([*parts, costs.linear(last, shape.outputs)])

    def format(self, genotype: Genotype) -> str:
        """The field's text, the lower input of every node first."""
        normal, reduction = self.cells(genotype)
        return format_cells(*([(OPERATIONS[o], s) for node in cell for s, o in node] for cell in (normal, reduction)))

    def parse(self, text: str) -> Genotype:
        """The genotype of such a text; nothing in it is run.

        Raises:
            GenotypeError: naming what is malformed or outside of the space: other nodes than four, an input that is
                not there yet, a node that reads one input twice, an unknown operation, nodes left out of the result.
        """
        found: list[int] = []
        for name, terms in zip(CELLS, parse_cells(text, NODES, OPERATIONS), strict=True):
            numbered = [(source, OPERATIONS.index(operation)) for operation, source in terms]
            nodes = [sorted(pair) for pair in zip(numbered[::2], numbered[1::2], strict=True)]
            for i, ((first, _), (second, _)) in enumerate(nodes):
                if (first, second) not in _PAIRS[i]:
                    raise GenotypeError(
                        f"node {i + INPUTS} of the {name} cell reads {first} and {second}.",
                        field="architecture",
                        fix="A node reads two different earlier results.",
                        valid=[f"{a} and {b}" for a, b in _PAIRS[i]],
                    )
            found += _encoded(nodes)
        return tuple(found)

    def cells(self, genotype: Genotype) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """The nodes of the normal and of the reduction cell.

        Raises:
            GenotypeError: the genotype does not belong to the space.
        """
        genotype = self.check(genotype)
        half = len(genotype) // 2
        return _decoded(genotype[:half]), _decoded(genotype[half:])

    def _canonical_halves(self, genotype: Genotype) -> tuple[Genotype, Genotype]:
        if not (isinstance(genotype, tuple) and self.is_valid(genotype)):
            genotype = self.check(genotype)
        half = len(genotype) // 2
        return _first_member(genotype[:half]), _first_member(genotype[half:])


def reduction_layers(layers: int) -> tuple[int, int]:
    """The cells of a network that reduce, of so many."""
    return layers // 3, 2 * layers // 3


# ---- cells as numbers ------------------------------------------------------------------------------------------------


def _cell_choices(cell: str) -> Iterator[Choice]:
    """Inputs, where there is a choice, and the two operations of every node."""
    for i, pairs in enumerate(_PAIRS):
        node = f"{cell}.{i + INPUTS}"
        if len(pairs) > 1:
            yield Choice(f"{node}.inputs", pairs)
        yield Choice(f"{node}.first", OPERATIONS)
        yield Choice(f"{node}.second", OPERATIONS)


def _decoded(half: Genotype) -> tuple[Node, ...]:
    """Nodes of one cell from its part of a genotype."""
    values, nodes = iter(half), []
    for pairs in _PAIRS:
        first, second = pairs[next(values) if len(pairs) > 1 else 0]
        nodes.append(((first, next(values)), (second, next(values))))
    return tuple(nodes)


def _encoded(nodes: Sequence[Sequence[tuple[int, int]]]) -> Genotype:
    """The inverse of ``_decoded``."""
    found: list[int] = []
    for pairs, ((first, one), (second, other)) in zip(_PAIRS, nodes, strict=True):
        found += [pairs.index((first, second)), one, other] if len(pairs) > 1 else [one, other]
    return tuple(found)


@lru_cache(maxsize=2**15)
def _first_member(half: Genotype) -> Genotype:
    """The first of all genotypes of one cell that differ in the numbers of its nodes alone."""
    nodes = _decoded(half)
    members = []
    for order in permutations(range(NODES)):
        place = [0, 1, *(INPUTS + order.index(node) for node in range(NODES))]
        renamed = [sorted((place[source], operation) for source, operation in nodes[node]) for node in order]
        if all(node[1][0] < INPUTS + i for i, node in enumerate(renamed)):
            members.append(_encoded(renamed))
    return min(members)


def _graph(nodes: Sequence[Node]) -> nx.DiGraph:
    """One cell: inputs 0 and 1, node i as operations 3i + 2 and 3i + 3 and their sum 3i + 4, last the output."""
    import networkx as nx

    from xnas_ray.spaces.graphs import OP_NAME, OUTPUT, contract

    results = [0, 1]
    graph = nx.DiGraph()
    graph.add_node(0, **{OP_NAME: "input1"})
    graph.add_node(1, **{OP_NAME: "input2"})
    for i, node in enumerate(nodes):
        add = 3 * i + 4
        graph.add_node(add, **{OP_NAME: "add"})
        for offset, (source, operation) in enumerate(node):
            graph.add_node(3 * i + 2 + offset, **{OP_NAME: OPERATIONS[operation]})
            nx.add_path(graph, (results[source], 3 * i + 2 + offset, add))
        results.append(add)
    output = 3 * len(nodes) + INPUTS
    graph.add_node(output, **{OP_NAME: OUTPUT})
    graph.add_edges_from((add, output) for add in results[INPUTS:])
    contract(graph, "skip_connect")
    return graph


# ---- costs -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _operation_cost(name: str, channels: int, size: tuple[int, int], shrinks: bool) -> Cost:
    """One operation whose result has this size; one that shrinks has stride 2."""
    if name == "skip_connect":
        return costs.total(_factorized_reduce(channels, channels, size)) if shrinks else costs.FREE
    kind, _, side = name.rpartition("_")
    if kind.endswith("pool"):
        return costs.FREE
    kernel = int(side[0])
    depthwise = costs.conv2d(channels, channels, kernel, size, groups=channels)
    separable = [depthwise, costs.conv2d(channels, channels, 1, size), costs.batch_norm(channels)]
    return costs.total(separable * (2 if kind == "sep_conv" else 1))


def _convolution(inputs: int, outputs: int, size: tuple[int, int]) -> list[Cost]:
    """ReLU, 1 x 1 convolution, batch normalisation."""
    return [costs.conv2d(inputs, outputs, 1, size), costs.batch_norm(outputs)]


def _factorized_reduce(inputs: int, outputs: int, size: tuple[int, int]) -> list[Cost]:
    """Two 1 x 1 convolutions of stride 2, each giving half of the channels, then batch normalisation."""
    return _convolution(inputs, outputs, size)
