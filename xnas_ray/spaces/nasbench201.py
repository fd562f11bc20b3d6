"""NAS-Bench-201's cells: 15,625 genotypes in 6,466 isomorphism classes (Dong & Yang, ICLR 2020).

A cell has four nodes; every pair of nodes is joined by one of five operations, and a node is the sum of what arrives.
The network is a stem, stages of equal cells with a residual block of stride 2 between them, and a linear head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces import cost as costs
from xnas_ray.spaces import nasbench201_operators as timing
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.operators import Operator, Value
from xnas_ray.spaces.registry import register_space

if TYPE_CHECKING:
    import networkx as nx

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The official order; a genotype holds indices into it."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of every edge, in the order of the official string and of a genotype's values."""

NODES = 4

_NONE, _SKIP, _CONV_1X1, _CONV_3X3, _POOL = range(len(OPERATIONS))
_INPUT, _OUTPUT = 0, len(EDGES) + 1  # nodes of the graph; edge i of the cell is node i + 1
_EXAMPLE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


@dataclass(frozen=True, slots=True)
class _Classes:
    """The isomorphism class of every genotype, and the cheapest member of every genotype's class."""

    key: Mapping[Genotype, str]
    canonical: Mapping[Genotype, Genotype]


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """What a network costs: ``rest``, and on top one of the others for every such edge of the cell."""

    rest: Cost
    conv_1x1: Cost
    conv_3x3: Cost


@register_space("nasbench201")
class NASBench201(Space):
    """Cells of NAS-Bench-201, stacked as officially or smaller.

    ``key`` is the official isomorphism string (``to_unique_str`` with ``consider_zero``): the expression that the
    output node computes, with zeros cut and skips seen through. Members of a class compute the same expression; where
    one of them computes a term twice and another shares it, their graphs differ by that sharing (678 genotypes).

    Args:
        cells_per_stage: equal cells in a stage (the paper's N).
        channels: channels of the first stage (the paper's C); every further stage doubles them.
        stages: number of stages; between two of them a residual block halves height and width, rounding up.

    Raises:
        SpecError: a parameter is not a whole number of at least 1.
    """

    name = "nasbench201"
    builder = "xnas_ray.networks.nasbench201:build"

    def __init__(self, *, cells_per_stage: int = 5, channels: int = 16, stages: int = 3) -> None:
        """Check and keep the parameters; the defaults are the official network."""
        given = {"cells_per_stage": cells_per_stage, "channels": channels, "stages": stages}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"must be a whole number of at least 1, got {value!r}.", field=f"space.params.{name}")
        self.params = given
        self.cells_per_stage = cells_per_stage
        self.channels = channels
        self.stages = stages
        self.choices = tuple(Choice(f"{target}<-{source}", OPERATIONS) for source, target in EDGES)

    def key(self, genotype: Genotype) -> str:
        """The official isomorphism string; 6,466 different ones."""
        try:
            return _classes().key[genotype]
        except (KeyError, TypeError):
            return _classes().key[self.check(genotype)]

    def canonical(self, genotype: Genotype) -> Genotype:
        """The member of the class with the fewest FLOPs, whatever N and C; the lexicographically first of several."""
        try:
            return _classes().canonical[genotype]
        except (KeyError, TypeError):
            return _classes().canonical[self.check(genotype)]

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"cell": graph}``: operations are nodes, ``none`` is removed, skips are contracted, dead ends pruned.

        Nodes are 0 (``input``), 1 to 6 (the edges of the cell in the order of the genotype) and 7 (``output``); the
        two ends stay when nothing joins them.
        """
        import networkx as nx

        from xnas_ray.spaces import graphs

        labels = {i + 1: OPERATIONS[op] for i, op in enumerate(self.check(genotype))}
        graph = nx.DiGraph()
        for node, label in {_INPUT: graphs.INPUT, **labels, _OUTPUT: graphs.OUTPUT}.items():
            graph.add_node(node, **{graphs.OP_NAME: label})
        graph.add_edges_from(_LINE_GRAPH)
        graphs.remove(graph, "none")
        graphs.contract(graph, "skip_connect")
        return {"cell": graphs.prune(graph, _INPUT, _OUTPUT)}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """FLOPs (multiply-accumulates of convolutions and the head) and parameters of the network as it is built.

        Equal to the benchmark's own figures for every cell at its N, C and shape. Operations whose result is not used
        are built, computed and counted, as officially; a canonical genotype has few of them.

        Raises:
            SpecError: the task's input is not one image.
        """
        if not isinstance(genotype, tuple) or genotype not in _classes().key:
            genotype = self.check(genotype)
        skeleton = _skeleton(self.cells_per_stage, self.channels, self.stages, shape)
        ones, threes = genotype.count(_CONV_1X1), genotype.count(_CONV_3X3)
        return Cost(
            flops=skeleton.rest.flops + ones * skeleton.conv_1x1.flops + threes * skeleton.conv_3x3.flops,
            params=skeleton.rest.params + ones * skeleton.conv_1x1.params + threes * skeleton.conv_3x3.params,
        )

    def operators(self, genotype: Genotype, shape: DataShape) -> tuple[Operator, ...]:
        """Stem, what the cells compute, reductions and tail; operations whose result is not used are computed too.

        Raises:
            SpecError: the task's input is not one image.
        """
        nodes = timing.by_node(self.check(genotype), EDGES, OPERATIONS)
        return tuple(timing.operators(self._skeleton(shape), nodes))

    def add_up(self, genotypes: Sequence[Genotype], shape: DataShape, value: Value) -> np.ndarray:
        """As of each, in arrays all at once.

        Raises:
            SpecError: the task's input is not one image.
            GenotypeError: a genotype does not belong to the space.
        """
        table = np.array([self.check(genotype) for genotype in genotypes], dtype=np.int64).reshape(-1, len(EDGES))
        nodes = [[table[:, i] for i, (_, end) in enumerate(EDGES) if end == node] for node in range(1, NODES)]
        return timing.add_up(self._skeleton(shape), nodes, OPERATIONS, value)

    def covering(self) -> Iterator[Genotype]:
        """A cell of each operation alone: the others are sums and zeros, which these have too."""
        return ((i,) * len(EDGES) for i in range(len(OPERATIONS)))

    def _skeleton(self, shape: DataShape) -> timing.Skeleton:
        image = costs.image_input(shape, self.name)
        return timing.Skeleton(image, shape.outputs, self.cells_per_stage, self.channels, self.stages)

    def format(self, genotype: Genotype) -> str:
        """The official string ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
        ops = [OPERATIONS[i] for i in self.check(genotype)]
        terms = [f"{op}~{source}|" for op, (source, _) in zip(ops, EDGES, strict=True)]
        return f"|{terms[0]}+|{terms[1]}{terms[2]}+|{terms[3]}{terms[4]}{terms[5]}"

    def parse(self, text: str) -> Genotype:
        """The genotype of an official string.

        Raises:
            GenotypeError: naming the node and edge that is malformed.
        """
        nodes = text.strip().split("+") if isinstance(text, str) else []
        if len(nodes) != NODES - 1:
            raise _malformed(f"{text!r} describes {len(nodes)} nodes, a cell has {NODES - 1} joined by '+'.")
        genotype: list[int] = []
        for target, node in enumerate(nodes, start=1):
            genotype.extend(_parse_node(target, node))
        return tuple(genotype)


_LINE_GRAPH = (
    *((_INPUT, i + 1) for i, (source, _) in enumerate(EDGES) if source == 0),
    *((i + 1, j + 1) for i, (_, target) in enumerate(EDGES) for j, (source, _) in enumerate(EDGES) if target == source),
    *((i + 1, _OUTPUT) for i, (_, target) in enumerate(EDGES) if target == NODES - 1),
)


def _parse_node(target: int, text: str) -> list[int]:
    if len(text) < 2 or not (text.startswith("|") and text.endswith("|")):
        raise _malformed(f"node {target} is {text!r}, it must begin and end with '|'.")
    terms = text[1:-1].split("|")
    if len(terms) != target:
        raise _malformed(f"node {target} has {len(terms)} edges in {text!r}, it needs {target}.")
    found = []
    for source, term in enumerate(terms):
        op, separator, index = term.partition("~")
        if not separator or index != str(source):
            raise _malformed(f"edge {source + 1} of node {target} is {term!r}, it must end with '~{source}'.")
        if op not in OPERATIONS:
            raise GenotypeError(
                f"edge {target}<-{source} has the unknown operation {op!r}.",
                field="architecture",
                got=op,
                valid=OPERATIONS,
            )
        found.append(OPERATIONS.index(op))
    return found


def _malformed(message: str) -> GenotypeError:
    return GenotypeError(message, field="architecture", fix=f"A valid one: {_EXAMPLE}")


def _unique_string(genotype: Genotype) -> str:
    """AutoDL-Projects' ``CellStructure.to_unique_str(consider_zero=True)`` of the cell.

    ``0`` is the input and ``#`` zero; an expression of zeros alone, such as ``#+#``, is not simplified there, so it is
    not here.
    """
    nodes = ["0"]
    for target in range(1, NODES):
        terms = []
        for op, (source, end) in zip(genotype, EDGES, strict=True):
            if end != target:
                continue
            if op == _NONE or nodes[source] == "#":
                terms.append("#")
            elif op == _SKIP:
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{OPERATIONS[op]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


@cache
def _classes() -> _Classes:
    """The whole space's classes, made at the first look (0.1 s, 5 MB)."""
    key = {genotype: _unique_string(genotype) for genotype in product(range(len(OPERATIONS)), repeat=len(EDGES))}
    best: dict[str, Genotype] = {}
    for genotype, name in key.items():  # lexicographic, so the first of the cheapest stays
        if name not in best or _convolutions(genotype) < _convolutions(best[name]):
            best[name] = genotype
    return _Classes(key=key, canonical={genotype: best[name] for genotype, name in key.items()})


def _convolutions(genotype: Genotype) -> int:
    """FLOPs of a cell in units of a 1x1 convolution: the order of members by FLOPs for every N, C and input."""
    return genotype.count(_CONV_1X1) + 9 * genotype.count(_CONV_3X3)


@lru_cache(maxsize=256)
def _skeleton(cells_per_stage: int, channels: int, stages: int, shape: DataShape) -> _Skeleton:
    """Costs that depend on the network's size and the data, not on the cell."""
    inputs, *image = costs.image_input(shape, NASBench201.name)
    size = (image[0], image[1])
    rest = [costs.conv2d(inputs, channels, 3, size), costs.batch_norm(channels)]
    ones, threes = [], []
    for stage in range(stages):
        if stage:
            size = costs.strided(size, 2)
            half, channels = channels, 2 * channels
            rest += [costs.conv2d(half, channels, 3, size), costs.conv2d(channels, channels, 3, size)]
            rest += [costs.conv2d(half, channels, 1, size), costs.batch_norm(channels), costs.batch_norm(channels)]
        ones += [costs.conv2d(channels, channels, 1, size), costs.batch_norm(channels)] * cells_per_stage
        threes += [costs.conv2d(channels, channels, 3, size), costs.batch_norm(channels)] * cells_per_stage
    rest += [costs.batch_norm(channels), costs.linear(channels, shape.outputs)]
    return _Skeleton(rest=costs.total(rest), conv_1x1=costs.total(ones), conv_3x3=costs.total(threes))
