"""The supernet of the DARTS space (Liu, Simonyan & Yang, ICLR 2019; ``model_search`` of the official code)."""

from __future__ import annotations

import functools
from itertools import accumulate

import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.networks.darts_operations import make_operation, preprocessing
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.darts import CELLS, DARTS, INPUTS, NODES, OPERATIONS, STEM_MULTIPLIER, reduction_layers
from xnas_ray.spaces.darts_text import Term, format_cells
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.supernets.cells import CellSupernet, sized
from xnas_ray.supernets.mixed import Operations, mixed_operation, with_batch_statistics

SEARCHED = ("none", *OPERATIONS)
"""Operations of every edge, in the official order; no derived cell has ``none``."""

EDGES = tuple((source, INPUTS + node) for node in range(NODES) for source in range(INPUTS + node))
"""(source, target) of the 14 edges of a cell, target by target; 0 and 1 are the cell's inputs."""

KEPT = 2
"""Edges that a node of a derived cell keeps."""


def _operations(channels: int, stride: int) -> Operations:
    """Those of an edge; pooling is normalised, as the other operations are."""
    found: list[nn.Module | None] = []
    for name in SEARCHED:
        operation = make_operation(name, channels, stride)
        if name.endswith("pool_3x3") and operation is not None:
            operation = nn.Sequential(operation, nn.BatchNorm2d(channels))
        found.append(operation)
    return found


class MixedCell(nn.Module):
    """Two inputs, four nodes that each sum a mixed operation on everything before, and their results joined.

    Args:
        before: channels of the cell before the last one.
        last: channels of the last one.
        channels: of every node.
        reduces: whether what reads an input has stride 2.
        halved: whether the last cell reduced.
        partial: 1, or the k of partial channels.
    """

    def __init__(self, before: int, last: int, channels: int, *, reduces: bool, halved: bool, partial: int = 1) -> None:
        """Make the operations of the 14 edges."""
        super().__init__()
        self.reduces = reduces
        self.before, self.last = preprocessing(before, last, channels, halved)
        self.edges = nn.ModuleList()
        for source, _ in EDGES:
            stride = 2 if reduces and source < INPUTS else 1
            make = functools.partial(_operations, stride=stride)
            self.edges.append(mixed_operation(make, channels, partial=partial, stride=stride))

    def forward(self, before: Tensor, last: Tensor, mixing: Tensor) -> Tensor:
        """The result of the cell, of ``4 x channels``, from those of the two before it, with weights ``14 x 8``."""
        states = [self.before(before), self.last(last)]
        total: Tensor | None = None
        for edge, weights, (source, target) in zip(self.edges, mixing, EDGES, strict=True):
            term = edge(states[source], weights)
            total = term if total is None else total + term
            if source == target - 1:  # the last edge of its node
                states.append(total)
                total = None
        return torch.cat(states[INPUTS:], dim=1)


class DartsSupernet(CellSupernet):
    """Stem, mixed cells of which two reduce, average over pixels, linear head.

    ``alpha`` is 28 x 8: the edges of the normal cell, then those of the reduction cell. Normalisation inside of cells
    has no learned scale and shift.

    Args:
        space: a ``DARTS``; its own sizes are those of the networks that are trained afterwards.
        shape: one image (channels, height, width) and the number of outputs.
        layers: cells of the supernet.
        channels: of the first cell's nodes.
        partial: 1, or the k of partial channels.
        edge_normalisation: whether edges have weights of their own.

    Raises:
        SpecError: the space is another one, the task's input is not one image, a size is out of range.
    """

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        *,
        layers: int = 8,
        channels: int = 16,
        partial: int = 1,
        edge_normalisation: bool = False,
    ) -> None:
        """Make the layers; the defaults are the official supernet on CIFAR-10."""
        space = whole_space(space, DARTS)
        sized(space, layers=layers, channels=channels)
        nodes = {
            f"{cell}/{node}": [f"{cell}/{node}<-{source}" for source, target in EDGES if target == node]
            for cell in CELLS
            for node in range(INPUTS, INPUTS + NODES)
        }
        super().__init__(space, shape, nodes=nodes, operations=SEARCHED, edge_normalisation=edge_normalisation)
        colours, _, _ = image_input(shape, space.name)
        before = last = STEM_MULTIPLIER * channels
        self.stem = nn.Sequential(nn.Conv2d(colours, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        with_batch_statistics(self.stem, affine=True)
        self.cells = nn.ModuleList()
        halved = False
        for layer in range(layers):
            reduces = layer in reduction_layers(layers)
            channels *= 2 if reduces else 1
            cell = MixedCell(before, last, channels, reduces=reduces, halved=halved, partial=partial)
            self.cells.append(with_batch_statistics(cell, affine=False))
            before, last, halved = last, NODES * channels, reduces
        self.head = nn.Linear(last, shape.outputs)

    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        """See ``RelaxedSupernet.forward``."""
        (x,) = inputs
        normal, reduction = (self.mixing() if mixing is None else mixing).split(len(EDGES))
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last, reduction if cell.reduces else normal)
        result: Tensor = self.head(last.mean(dim=(2, 3)))
        return result

    def genotype(self, strengths: Tensor, *, keep_none: bool = False) -> Genotype:
        """The two edges of every node whose strongest operation is strongest, the first of equals, with these.

        ``none`` is never taken, for the space has it not; ``keep_none`` changes nothing.

        Raises:
            GenotypeError: a node has no two edges with a strength, or the shape does not fit.
        """
        best, values = self.strongest(strengths, keep_none=False)
        terms: list[Term] = []
        ends = accumulate(len(edges) for edges in self.nodes.values())
        for (node, edges), end in zip(self.nodes.items(), ends, strict=True):
            own = range(end - len(edges), end)
            kept = sorted((edge for edge in own if best[edge] >= 0), key=lambda edge: -values[edge])[:KEPT]
            if len(kept) < KEPT:
                raise GenotypeError(f"node {node} has fewer than {KEPT} edges to take.", field="strengths")
            terms += [(SEARCHED[best[edge]], edge - own.start) for edge in sorted(kept)]
        half = len(terms) // 2
        return self.space.parse(format_cells(terms[:half], terms[half:]))

    def selection(self, genotype: Genotype) -> Tensor:
        """See ``CellSupernet.selection``."""
        assert isinstance(self.space, DARTS)
        chosen = torch.zeros_like(self.alpha)
        for first, nodes in zip((0, len(EDGES)), self.space.cells(genotype), strict=True):
            for target, node in enumerate(nodes, start=INPUTS):
                for source, operation in node:
                    chosen[first + EDGES.index((source, target)), SEARCHED.index(OPERATIONS[operation])] = 1
        return chosen.detach()
