"""The supernet of NAS-Bench-201's cells (Dong & Yang, ICLR 2020; ``TinyNetworkDarts`` of the official code)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.networks.cells import ResidualReduction
from xnas_ray.networks.nasbench201 import make_operation
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.spaces.nasbench201 import EDGES, NODES, OPERATIONS, NASBench201
from xnas_ray.supernets.cells import CellSupernet, sized
from xnas_ray.supernets.mixed import mixed_operation, with_batch_statistics


class MixedCell(nn.Module):
    """Four nodes, every pair of them joined by a mixed operation; the last one is the result.

    Args:
        channels: of the input, of every node and of the output.
        partial: 1, or the k of partial channels.
    """

    def __init__(self, channels: int, partial: int = 1) -> None:
        """Make the operations of the six edges."""
        super().__init__()
        self.edges = nn.ModuleList(
            mixed_operation(lambda c: [make_operation(name, c) for name in OPERATIONS], channels, partial=partial)
            for _ in EDGES
        )

    def forward(self, x: Tensor, mixing: Tensor) -> Tensor:
        """Map ``n x channels x h x w`` to the same shape, with mixing weights ``6 x 5``."""
        nodes: list[Tensor | None] = [x, *[None] * (NODES - 1)]
        for edge, weights, (source, target) in zip(self.edges, mixing, EDGES, strict=True):
            term = edge(nodes[source], weights)
            before = nodes[target]
            nodes[target] = term if before is None else before + term
        result = nodes[-1]
        assert result is not None
        return result


class NASBench201Supernet(CellSupernet):
    """The network of ``networks.nasbench201`` with mixed cells, all of which share ``alpha`` (6 x 5).

    With the mixing weights of one architecture (``selection``) it is that architecture's network. Normalisation inside
    of cells has no learned scale and shift, as in the official search.

    Args:
        space: a ``NASBench201``.
        shape: one image (channels, height, width) and the number of outputs.
        cells_per_stage: as in the space when it is None.
        channels: of the first stage; as in the space when it is None.
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
        cells_per_stage: int | None = None,
        channels: int | None = None,
        partial: int = 1,
        edge_normalisation: bool = False,
    ) -> None:
        """Make the layers."""
        space = whole_space(space, NASBench201)
        nodes = {
            str(node): [f"{target}<-{source}" for source, target in EDGES if target == node] for node in range(1, NODES)
        }
        super().__init__(space, shape, nodes=nodes, operations=OPERATIONS, edge_normalisation=edge_normalisation)
        size = sized(space, cells_per_stage=cells_per_stage, channels=channels)
        colours, _, _ = image_input(shape, space.name)
        width = size.channels
        self.stem = nn.Sequential(nn.Conv2d(colours, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        body: list[nn.Module] = []
        for stage in range(size.stages):
            if stage:
                body.append(ResidualReduction(width, 2 * width))
                width *= 2
            body.extend(MixedCell(width, partial) for _ in range(size.cells_per_stage))
        self.body = nn.ModuleList(body)
        self.norm = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.head = nn.Linear(width, shape.outputs)
        for cell in (layer for layer in body if isinstance(layer, MixedCell)):
            with_batch_statistics(cell, affine=False)
        for layer in (self.stem, self.norm, *(b for b in body if not isinstance(b, MixedCell))):
            with_batch_statistics(layer, affine=True)

    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        """See ``RelaxedSupernet.forward``."""
        (x,) = inputs
        weights = self.mixing() if mixing is None else mixing
        x = self.stem(x)
        for layer in self.body:
            x = layer(x, weights) if isinstance(layer, MixedCell) else layer(x)
        result: Tensor = self.head(self.norm(x).mean(dim=(2, 3)))
        return result

    def genotype(self, strengths: Tensor, *, keep_none: bool = False) -> Genotype:
        """The strongest operation of every edge.

        Raises:
            GenotypeError: an edge has no strength, or the shape does not fit.
        """
        best, _ = self.strongest(strengths, keep_none=keep_none)
        if -1 in best:
            raise GenotypeError(f"edge {self.edges[best.index(-1)]} has no operation to take.", field="strengths")
        return self.space.check(best)

    def selection(self, genotype: Genotype) -> Tensor:
        """See ``CellSupernet.selection``."""
        chosen = torch.tensor(self.space.check(genotype), device=self.alpha.device)
        return nn.functional.one_hot(chosen, len(OPERATIONS)).to(self.alpha.dtype)
