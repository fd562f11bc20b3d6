"""Pruned cells of NAS-Bench-101: what remains of a genotype when dead vertices are gone, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from xnas_ray.messages import Cost
from xnas_ray.spaces import cost as costs
from xnas_ray.spaces.base import DataShape

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The benchmark's order; genotypes and cells hold indices into it."""

KERNELS = (3, 1, 0)
"""Side of each operation's convolution, 0 for none."""

CIFAR10 = DataShape(inputs=((3, 32, 32),), outputs=10)


@dataclass(frozen=True, slots=True)
class PrunedCell:
    """A cell in which every vertex lies on a path from the input to the output.

    Vertex 0 is the input, the last one the output; edges lead from lower to higher numbers.

    Attributes:
        operations: of the vertices between the two, indices into ``OPERATIONS``.
        successors: bit ``j`` of entry ``i`` is the edge from vertex ``i`` to vertex ``j``; one entry a vertex.
    """

    operations: tuple[int, ...]
    successors: tuple[int, ...]

    @property
    def output(self) -> int:
        """Number of the output vertex."""
        return len(self.operations) + 1

    @property
    def edges(self) -> list[tuple[int, int]]:
        """(source, target), in the order of the adjacency matrix's rows."""
        last = self.output + 1
        return [(u, v) for u, row in enumerate(self.successors) for v in range(u + 1, last) if row >> v & 1]

    @property
    def feeders(self) -> list[int]:
        """Vertices whose results the output joins: those with an edge to it, the input excepted."""
        return [v for v in range(1, self.output) if self.successors[v] >> self.output & 1]

    @property
    def code(self) -> tuple[int, tuple[int, ...]]:
        """Orders cells of equal size as their genotypes are ordered: by the matrix row by row, then by operations."""
        bits, last = 0, self.output + 1
        for u, row in enumerate(self.successors):
            for v in range(u + 1, last):
                bits = bits << 1 | row >> v & 1
        return bits, self.operations

    def orders(self) -> Iterator[tuple[int, ...]]:
        """Every order of the vertices in which all edges lead forwards."""
        needs = [0] * (self.output + 1)
        for u, v in self.edges:
            needs[v] |= 1 << u
        chosen = [0]

        def place(placed: int) -> Iterator[tuple[int, ...]]:
            if len(chosen) == self.output:
                yield (*chosen, self.output)
                return
            for v in range(1, self.output):
                if not placed >> v & 1 and needs[v] & placed == needs[v]:
                    chosen.append(v)
                    yield from place(placed | 1 << v)
                    chosen.pop()

        return place(1)

    def reordered(self, order: Sequence[int]) -> PrunedCell:
        """The same cell with its vertices in one of ``orders``."""
        place = {vertex: i for i, vertex in enumerate(order)}
        rows = [0] * len(order)
        for u, v in self.edges:
            rows[place[u]] |= 1 << place[v]
        return PrunedCell(tuple(self.operations[v - 1] for v in order[1:-1]), tuple(rows))

    def channels(self, inputs: int, outputs: int) -> tuple[int, ...]:
        """Channels of every vertex (``compute_vertex_channels`` of the official code).

        The output's are split among the vertices that it joins, the first ones taking what is left over; any other
        vertex has as many as the widest that it feeds.

        Args:
            inputs: channels that the cell reads.
            outputs: channels that it gives.
        """
        found = [inputs, *[0] * len(self.operations), outputs]
        feeders = self.feeders
        for i, v in enumerate(feeders):
            found[v] = outputs // len(feeders) + (i < outputs % len(feeders))
        for v in range(self.output - 1, 0, -1):
            if v not in feeders:
                found[v] = max(found[w] for w in range(v + 1, self.output) if self.successors[v] >> w & 1)
        return tuple(found)


def prune(operations: Sequence[int], successors: Sequence[int]) -> PrunedCell | None:
    """The cell without vertices that no path from input to output meets; None when there is no such path.

    Args:
        operations: of all vertices but the first and the last.
        successors: of all vertices, as in ``PrunedCell``.
    """
    last = len(successors) - 1
    reached, reaching = 1, 1 << last
    for v in range(last):
        if reached >> v & 1:
            reached |= successors[v]
    if not reached >> last & 1:
        return None
    for v in range(last - 1, -1, -1):
        if successors[v] & reaching:
            reaching |= 1 << v
    live = [v for v in range(last + 1) if reached & reaching & 1 << v]
    rows = tuple(sum((successors[u] >> v & 1) << j for j, v in enumerate(live)) for u in live)
    return PrunedCell(tuple(operations[v - 1] for v in live[1:-1]), rows)


@dataclass(frozen=True, slots=True)
class Network:
    """The network around a cell: a stem, stacks of equal cells, a pooling of stride 2 between stacks, a linear head.

    Attributes:
        stacks: number of stacks; each one after the first halves height and width and doubles the channels.
        modules_per_stack: cells in a stack.
        channels: of the stem and of the first stack.
    """

    stacks: int
    modules_per_stack: int
    channels: int

    def cost(self, cell: PrunedCell, shape: DataShape) -> Cost:
        """FLOPs and parameters of the whole network; the latter equal the benchmark's ``trainable_parameters``.

        Raises:
            SpecError: the task's input is not one image.
        """
        return _network_cost(self, cell, shape)

    def uneven(self, cell: PrunedCell) -> bool:
        """Whether the order of the vertices decides which of them are wider, so that members of a class may differ."""
        feeders = max(1, len(cell.feeders))
        return any((self.channels << stack) % feeders for stack in range(self.stacks))


@lru_cache(maxsize=2**15)
def representatives(cell: PrunedCell, network: Network) -> tuple[PrunedCell, PrunedCell]:
    """Two members that every isomorphic cell has in common: the first by ``code``, and the cheapest, then first.

    Cheapest is by FLOPs on images of 32 x 32 pixels, and so on all whose sides every stack halves exactly. Widths
    depend on the order of the vertices that feed the output alone, so costs are computed once for each such order.
    """
    members = sorted({cell.reordered(order) for order in cell.orders()}, key=lambda member: member.code)
    if not network.uneven(cell) or len(members) == 1:
        return members[0], members[0]
    flops: dict[tuple[int, ...], int] = {}
    best: tuple[int, PrunedCell] | None = None
    for order in cell.orders():
        feeding = tuple(v for v in order if v in cell.feeders)
        member = cell.reordered(order)
        if feeding not in flops:
            flops[feeding] = network.cost(member, CIFAR10).flops
        if best is None or (flops[feeding], member.code) < (best[0], best[1].code):
            best = flops[feeding], member
    assert best is not None
    return members[0], best[1]


@lru_cache(maxsize=2**15)
def _network_cost(network: Network, cell: PrunedCell, shape: DataShape) -> Cost:
    colours, *image = costs.image_input(shape, "nasbench101")
    size, inputs, outputs = (image[0], image[1]), network.channels, network.channels
    parts = _convolution(colours, inputs, 3, size)
    for stack in range(network.stacks):
        if stack:
            size, outputs = costs.strided(size, 2), 2 * outputs
        parts += _module(cell, inputs, outputs, size)
        parts += _module(cell, outputs, outputs, size) * (network.modules_per_stack - 1)
        inputs = outputs
    return costs.total([*parts, costs.linear(outputs, shape.outputs)])


def _convolution(inputs: int, outputs: int, kernel: int, size: tuple[int, int]) -> list[Cost]:
    """Convolution, batch normalisation, ReLU."""
    return [costs.conv2d(inputs, outputs, kernel, size), costs.batch_norm(outputs)]


def _module(cell: PrunedCell, inputs: int, outputs: int, size: tuple[int, int]) -> list[Cost]:
    """One cell: what the input gives is projected by a 1 x 1 convolution wherever it goes."""
    channels = cell.channels(inputs, outputs)
    parts: list[Cost] = []
    for v, operation in enumerate(cell.operations, start=1):
        if cell.successors[0] >> v & 1:
            parts += _convolution(inputs, channels[v], 1, size)
        if KERNELS[operation]:
            parts += _convolution(channels[v], channels[v], KERNELS[operation], size)
    if cell.successors[0] >> cell.output & 1:
        parts += _convolution(inputs, outputs, 1, size)
    return parts
