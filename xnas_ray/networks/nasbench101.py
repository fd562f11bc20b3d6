"""The network of a NAS-Bench-101 genotype (Ying et al., ICML 2019; ``model_builder`` of the official code)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench101_cell import KERNELS, Network, PrunedCell

TRUNCATED_STD = 0.87962566
"""Standard deviation of a standard normal variable truncated at +-2."""


class ConvNormRelu(nn.Sequential):
    """A convolution without bias, then batch normalisation, then ReLU; keeps height and width.

    Weights start from a truncated normal distribution of variance 1 / fan-in, as officially. The official decay of the
    running statistics, 0.997, needs thousands of steps until validation can rely on them, more than short trainings
    have: torch's 0.9 is kept.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        """Args are channels and the side of the (odd) kernel."""
        convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        std = math.sqrt(1 / (inputs * kernel**2)) / TRUNCATED_STD
        nn.init.trunc_normal_(convolution.weight, std=std, a=-2 * std, b=2 * std)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Cell(nn.Module):
    """Vertices in their order: each one's operation on the sum of what reaches it; the output joins its inputs.

    What the cell's input gives is projected to the reader's channels; a reader with one channel less than a vertex
    that it reads drops that vertex's last. Where the input feeds the output too, its projection is added.

    Args:
        cell: live vertices and edges.
        inputs: channels that it reads.
        outputs: channels that it gives.
    """

    def __init__(self, cell: PrunedCell, inputs: int, outputs: int) -> None:
        """Make the operations."""
        super().__init__()
        self.channels = cell.channels(inputs, outputs)
        self.feeders = cell.feeders
        self.sources = [[u for u, v in cell.edges if v == vertex and u] for vertex in range(cell.output + 1)]
        projected = [v for u, v in cell.edges if not u]
        self.projections = nn.ModuleDict({str(v): ConvNormRelu(inputs, self.channels[v], 1) for v in projected})
        self.operations = nn.ModuleList(
            ConvNormRelu(channels, channels, KERNELS[operation])
            if KERNELS[operation]
            else nn.MaxPool2d(3, stride=1, padding=1)
            for operation, channels in zip(cell.operations, self.channels[1:-1], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x inputs x h x w`` to ``n x outputs x h x w``."""
        results = [x]
        for vertex, operation in enumerate(self.operations, start=1):
            terms = [results[u][:, : self.channels[vertex]] for u in self.sources[vertex]]
            results.append(operation(self._sum(x, vertex, terms)))
        joined = [torch.cat([results[v] for v in self.feeders], dim=1)] if self.feeders else []
        return self._sum(x, len(results), joined)

    def _sum(self, x: Tensor, vertex: int, terms: list[Tensor]) -> Tensor:
        """What reaches a vertex, the projected input included where there is an edge."""
        if str(vertex) in self.projections:
            terms = [*terms, self.projections[str(vertex)](x)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


class NASBench101Network(nn.Module):
    """Stem, stacks of equal cells with a max-pooling of stride 2 between them, average over pixels, linear head.

    Odd heights and widths are rounded up by the pooling, as officially.

    Args:
        cell: live vertices and edges.
        shape: one image (channels, height, width) and the number of outputs.
        network: stacks, cells in a stack, and channels of the stem.
    """

    def __init__(self, cell: PrunedCell, shape: DataShape, network: Network) -> None:
        """Make the layers."""
        super().__init__()
        colours, _, _ = image_input(shape, NASBench101.name)
        inputs = outputs = network.channels
        self.stem = ConvNormRelu(colours, inputs, 3)
        body: list[nn.Module] = []
        for stack in range(network.stacks):
            if stack:
                body.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
                outputs *= 2
            for _ in range(network.modules_per_stack):
                body.append(Cell(cell, inputs, outputs))
                inputs = outputs
        self.body = nn.Sequential(*body)
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(outputs, shape.outputs)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def regularise(self, *, dropout: float | None = None) -> None:
        """Set the share of the vectors' values that are left out before the head while training; at first none."""
        if dropout is not None:
            self.dropout.p = dropout

    def features(self, x: Tensor) -> Tensor:
        """The vectors that the head reads: ``n x channels of the last stack``."""
        result: Tensor = self.body(self.stem(x)).mean(dim=(2, 3))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Logits or regressed values, ``n x outputs``, of images ``n x channels x h x w``."""
        result: Tensor = self.head(self.dropout(self.features(x)))
        return result


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype.

    Args:
        space: a ``NASBench101``, or a part of one.
        genotype: a valid genotype of it.
        shape: one image input, and the number of outputs.

    Raises:
        SpecError: the space is another one, or the task's input is not one image.
        GenotypeError: the genotype does not belong to the space.
    """
    whole = whole_space(space, NASBench101)
    return NASBench101Network(whole.cell(space.check(genotype)), shape, whole.network)
