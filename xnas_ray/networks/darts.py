"""The network in which cells of the DARTS space are evaluated (Liu et al., ICLR 2019; ``NetworkCIFAR`` officially)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xnas_ray.messages import Genotype
from xnas_ray.networks.darts_operations import AuxiliaryHead, DropPath, make_operation, preprocessing
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input, strided
from xnas_ray.spaces.darts import DARTS, INPUTS, NODES, OPERATIONS, STEM_MULTIPLIER, Node, reduction_layers
from xnas_ray.spaces.kinds import whole_space


class Cell(nn.Module):
    """Two inputs, four nodes that are each the sum of two operations, and their results joined.

    Args:
        nodes: two (source, operation) for every node.
        before: channels of the cell before the last one.
        last: channels of the last one.
        channels: of every node.
        reduces: whether what reads an input has stride 2.
        halved: whether the last cell reduced.
    """

    def __init__(
        self, nodes: Sequence[Node], before: int, last: int, channels: int, *, reduces: bool, halved: bool
    ) -> None:
        """Make the operations."""
        super().__init__()
        self.before, self.last = preprocessing(before, last, channels, halved)
        self.sources = [source for node in nodes for source, _ in node]
        self.operations = nn.ModuleList()
        for node in nodes:
            for source, operation in node:
                made = make_operation(OPERATIONS[operation], channels, 2 if reduces and source < INPUTS else 1)
                assert made is not None
                self.operations.append(made)
        self.drop_path = DropPath()

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        """The result of the cell, of ``4 x channels``, from those of the two before it.

        Paths are dropped after every operation but an identity, as officially.
        """
        states = [self.before(before), self.last(last)]
        terms: list[Tensor] = []
        for operation, source in zip(self.operations, self.sources, strict=True):
            term = operation(states[source])
            terms.append(term if isinstance(operation, nn.Identity) else self.drop_path(term))
            if len(terms) == 2:
                states.append(terms[0] + terms[1])
                terms = []
        return torch.cat(states[INPUTS:], dim=1)


class DARTSNetwork(nn.Module):
    """Stem, cells of which two reduce, average over pixels, linear head; in training with an auxiliary head.

    Args:
        cells: nodes of the normal and of the reduction cell.
        shape: one image (channels, height, width) and the number of outputs.
        layers: cells.
        channels: of the first cell's nodes; every reduction doubles them.
        drop_path: probability of dropping a path at the end of training; it grows evenly from 0.
        auxiliary_weight: how much the loss of the auxiliary head counts; 0 has none.
    """

    def __init__(
        self,
        cells: tuple[Sequence[Node], Sequence[Node]],
        shape: DataShape,
        *,
        layers: int,
        channels: int,
        drop_path: float = 0.0,
        auxiliary_weight: float = 0.0,
    ) -> None:
        """Make the layers; weights start as torch's layers start them, as in the official code."""
        super().__init__()
        self.drop_path = drop_path
        self.auxiliary_weight = auxiliary_weight
        colours, *image = image_input(shape, DARTS.name)
        size = (image[0], image[1])
        before = last = STEM_MULTIPLIER * channels
        self.stem = nn.Sequential(nn.Conv2d(colours, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        self.auxiliary: nn.Module | None = None
        halved = False
        self.auxiliary_layer = reduction_layers(layers)[-1]
        for layer in range(layers):
            reduces = layer in reduction_layers(layers)
            channels *= 2 if reduces else 1
            size = strided(size, 2) if reduces else size
            self.cells.append(Cell(cells[reduces], before, last, channels, reduces=reduces, halved=halved))
            before, last, halved = last, NODES * channels, reduces
            if layer == self.auxiliary_layer and auxiliary_weight:
                self.auxiliary = AuxiliaryHead(last, shape.outputs, size)
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(last, shape.outputs)

    def regularise(self, *, dropout: float | None = None, drop_path: float | None = None) -> None:
        """Set the rates anew; those that are not given stay.

        Args:
            dropout: share of the vectors' values that are left out before the head while training; at first none.
            drop_path: see the class.
        """
        if dropout is not None:
            self.dropout.p = dropout
        if drop_path is not None:
            self.drop_path = drop_path

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Set the probability of dropping a path for an epoch, from 0, of a schedule of so many."""
        for module in self.modules():
            if isinstance(module, DropPath):
                module.probability = self.drop_path * epoch / epochs

    def features(self, x: Tensor) -> Tensor:
        """The vectors that the head reads: ``n x channels of the last cell's result``."""
        return self._results(x)[0].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits or regressed values, ``n x outputs``, of images; in training those of an auxiliary head beside them.

        What trains the network adds ``auxiliary_weight`` times the loss of the second to that of the first.
        """
        last, middle = self._results(x)
        outputs: Tensor = self.head(self.dropout(last.mean(dim=(2, 3))))
        if self.auxiliary is None or not self.training:
            return outputs
        return outputs, self.auxiliary(middle)

    def _results(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the last cell gives, and what the auxiliary head reads."""
        before = last = middle = self.stem(x)
        for layer, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if layer == self.auxiliary_layer:
                middle = last
        return last, middle


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype.

    Args:
        space: a ``DARTS``, or a part of one.
        genotype: a valid genotype of it.
        shape: one image input, and the number of outputs.

    Raises:
        SpecError: the space is another one, or the task's input is not one image.
        GenotypeError: the genotype does not belong to the space.
    """
    whole = whole_space(space, DARTS)
    return DARTSNetwork(
        whole.cells(space.check(genotype)),
        shape,
        layers=whole.layers,
        channels=whole.channels,
        drop_path=whole.drop_path,
        auxiliary_weight=whole.auxiliary_weight,
    )
