"""The supernet of NAS-Bench-1Shot1's cells (Zela et al., ICLR 2020; ``model_search`` of the official code).

A block weighs what it reads before it sums it, and its operations after it: an edge has no operation of its own. In
the interface of supernets, ``E x O`` mixing weights ``p``, an edge is a candidate parent of a block, and its row says
how much there is of this parent together with each operation of the block. What enters the network are

- the weight of a parent, ``w_e = sum_o p_eo``, and
- the weights of the block's operations, ``a_o = sum_e p_eo / sum_e w_e`` over its edges,

so that the block gives ``sum_o a_o o(sum_e w_e x_e)``. By softmaxes of their own, ``p_eo = w_e a_o``, both are the
paper's. An edge to the output has no operation: only its ``w_e`` counts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.networks.nasbench101 import ConvNormRelu
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.spaces.nasbench1shot1 import PARENTS, NASBench1Shot1
from xnas_ray.spaces.nasbench101_cell import KERNELS, OPERATIONS
from xnas_ray.supernets.cells import CellSupernet, sized
from xnas_ray.supernets.mixed import Operations, mixed_operation, with_batch_statistics


def _operations(channels: int) -> Operations:
    return [
        ConvNormRelu(channels, channels, kernel) if kernel else nn.MaxPool2d(3, stride=1, padding=1)
        for kernel in KERNELS
    ]


class MixedCell(nn.Module):
    """Choice blocks that read the projected input and all blocks before them; the output joins all blocks.

    Every block has all ``channels``, where a network of NAS-Bench-101 splits the output's among those that it joins:
    the supernet could not tell before the search how many these are. The input is projected for the output too, and
    added.

    Args:
        inputs: channels that the cell reads.
        channels: of every block; the cell gives as many for each of them.
        blocks: number of choice blocks.
        partial: 1, or the k of partial channels.
    """

    def __init__(self, inputs: int, channels: int, blocks: int, partial: int = 1) -> None:
        """Make a projection of the input for each block and for the output, and the operations of every block."""
        super().__init__()
        widths = [channels] * blocks + [channels * blocks]
        self.projections = nn.ModuleList(ConvNormRelu(inputs, width, 1) for width in widths)
        self.blocks = nn.ModuleList(mixed_operation(_operations, channels, partial=partial) for _ in range(blocks))

    def forward(self, x: Tensor, edges: list[Tensor], operations: Tensor) -> Tensor:
        """Map ``n x inputs x h x w`` to ``n x (blocks channels) x h x w``.

        Args:
            x: the cell's input.
            edges: of every block and, last, of the output the weights of its candidate parents, the input first.
            operations: ``blocks x O``, the weights of every block's operations.
        """
        states: list[Tensor] = []
        for block, mixed in enumerate(self.blocks):
            total = edges[block][0] * self.projections[block](x)
            for weight, state in zip(edges[block][1:], states, strict=True):
                total = total + weight * state
            states.append(mixed(total, operations[block]))
        joined = torch.cat([weight * state for weight, state in zip(edges[-1][1:], states, strict=True)], dim=1)
        result: Tensor = edges[-1][0] * self.projections[-1](x) + joined
        return result


class NASBench1Shot1Supernet(CellSupernet):
    """Stem, stacks of mixed cells with a max-pooling of stride 2 between them, a projection, average, linear head.

    ``beta`` has a logit for every candidate parent. Parents of a node are weighed by a softmax, and by 1 where the node
    has no choice, as officially. ``alpha`` is ``E x O``; the logits of a block's operations are the means of its rows,
    which are equal at first and stay so, for their derivatives are equal. Rows of the output stay at zero.

    With the mixing weights of one architecture (``selection``) a cell is that architecture's, each block having all
    channels; see ``MixedCell``. Normalisation inside of cells has no learned scale and shift.

    Args:
        space: a ``NASBench1Shot1``.
        shape: one image (channels, height, width) and the number of outputs.
        stacks: as in the space when it is None.
        modules_per_stack: as in the space when it is None.
        channels: of a block in the first stack, at least as many as there are blocks.
        partial: 1, or the k of partial channels.
        edge_normalisation: parents have weights of their own whatever it says, as the paper has them.

    Raises:
        SpecError: the space is another one, the task's input is not one image, a size is out of range.
    """

    beta: nn.Parameter

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        *,
        stacks: int | None = None,
        modules_per_stack: int | None = None,
        channels: int = 16,
        partial: int = 1,
        edge_normalisation: bool = True,
    ) -> None:
        """Make the layers; with the sizes of an official space the defaults are the official supernet on CIFAR-10."""
        space = whole_space(space, NASBench1Shot1)
        self.counts = PARENTS[space.variant]
        nodes = {f"block {v}": [f"{v}<-{source}" for source in range(v)] for v in range(1, space.blocks + 1)}
        nodes["output"] = [f"output<-{source}" for source in range(space.blocks + 1)]
        super().__init__(space, shape, nodes=nodes, operations=OPERATIONS, edge_normalisation=True)
        with torch.no_grad():
            for rows in self._parts(self.alpha):
                rows.copy_(rows[:1].expand_as(rows))
            self._parts(self.alpha)[-1].zero_()
        size = sized(space, stacks=stacks, modules_per_stack=modules_per_stack, channels=channels).network
        colours, _, _ = image_input(shape, space.name)
        inputs = width = channels
        self.stem = with_batch_statistics(ConvNormRelu(colours, inputs, 3), affine=True)
        self.body = nn.ModuleList()
        for stack in range(size.stacks):
            if stack:
                self.body.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
                width *= 2
            for _ in range(size.modules_per_stack):
                cell = MixedCell(inputs, width, space.blocks, partial)
                self.body.append(with_batch_statistics(cell, affine=False))
                inputs = width * space.blocks
        self.projection = with_batch_statistics(ConvNormRelu(inputs, width, 1), affine=True)
        self.head = nn.Linear(width, shape.outputs)

    def edge_weights(self) -> Tensor:
        """How much each parent counts, ``E``: a softmax at nodes that have a choice, 1 at the others."""
        parts = zip(self._parts(self.beta), self.counts, strict=True)
        return torch.cat([torch.softmax(p, dim=0) if len(p) > count else torch.ones_like(p) for p, count in parts])

    def mixing(self) -> Tensor:
        """``p_eo = w_e a_o``, ``E x O``; see the module."""
        parts = [torch.softmax(rows.mean(dim=0), dim=0).expand_as(rows) for rows in self._parts(self.alpha)]
        return self.edge_weights()[:, None] * torch.cat(parts)

    def probabilities(self) -> dict[str, Tensor]:
        """Of the operations of every block, and of the parents of every node that has a choice."""
        with torch.no_grad():
            edges, operations = self._marginals(self.mixing())
            found = dict(zip(list(self.nodes)[:-1], operations, strict=True))
            return found | {f"parents of {name}": edges[node] for node, name in self._choosing()}

    def options(self) -> dict[str, tuple[str, ...]]:
        """See ``Supernet.options``."""
        found = dict.fromkeys(list(self.nodes)[:-1], self.operations)
        return found | {f"parents of {name}": self.nodes[name] for _, name in self._choosing()}

    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        """See ``RelaxedSupernet.forward``; the module says what free mixing weights mean."""
        (x,) = inputs
        edges, operations = self._marginals(self.mixing() if mixing is None else mixing)
        x = self.stem(x)
        for layer in self.body:
            x = layer(x, edges, operations) if isinstance(layer, MixedCell) else layer(x)
        result: Tensor = self.head(self.projection(x).mean(dim=(2, 3)))
        return result

    def genotype(self, strengths: Tensor, *, keep_none: bool = False) -> Genotype:
        """Of every node the parents whose strongest entry is strongest, the first of equals, and the block's operation.

        The operation of a block is the one with the largest mean over the rows of these parents. Of mixing weights
        both are the largest weights. There is no ``none``; ``keep_none`` changes nothing.

        Raises:
            GenotypeError: a node has too few parents with a strength, or the shape does not fit.
        """
        assert isinstance(self.space, NASBench1Shot1)
        parents, operations = self._chosen(strengths)
        return self.space.genotype(tuple(operations), tuple(parents))

    def taken(self, strengths: Tensor, *, keep_none: bool = False) -> dict[int, int]:
        """See ``RelaxedSupernet.taken``: every parent with its block's operation, the output's with their strongest."""
        parents, operations = self._chosen(strengths)
        best, _ = self.strongest(strengths, keep_none=keep_none)
        found, first = {}, 0
        for node, (own, edges) in enumerate(zip(parents, self.nodes.values(), strict=True)):
            for source in own:
                edge = first + source
                found[edge] = operations[node] if node < len(operations) else best[edge]
            first += len(edges)
        return found

    def selection(self, genotype: Genotype) -> Tensor:
        """1 at each parent with its block's operation, and at the first operation of each parent of the output."""
        assert isinstance(self.space, NASBench1Shot1)
        chosen = torch.zeros_like(self.alpha).detach()
        operations = (*self.space.operations(genotype), 0)
        for rows, own, operation in zip(self._parts(chosen), self.space.parents(genotype), operations, strict=True):
            rows[list(own), operation] = 1
        return chosen

    def _chosen(self, strengths: Tensor) -> tuple[list[tuple[int, ...]], list[int]]:
        """Parents of every block and of the output, and the operation of every block."""
        best, values = self.strongest(strengths, keep_none=False)
        parents, operations, first = [], [], 0
        for (name, edges), count in zip(self.nodes.items(), self.counts, strict=True):
            known = [source for source in range(len(edges)) if best[first + source] >= 0]
            kept = tuple(sorted(sorted(known, key=lambda source: -values[first + source])[:count]))
            if len(kept) < count:
                raise GenotypeError(f"{name} has fewer than {count} parents to take.", field="strengths")
            parents.append(kept)
            rows = strengths.detach().double().cpu()[[first + source for source in kept]]
            operations.append(int(rows.nanmean(dim=0).nan_to_num(-torch.inf).argmax()))
            first += len(edges)
        return parents, operations[:-1]

    def _marginals(self, mixing: Tensor) -> tuple[list[Tensor], Tensor]:
        """The weights of every node's parents, and ``blocks x O`` those of operations; zero where no parent is left."""
        parts = self._parts(mixing)
        edges = [rows.sum(dim=1) for rows in parts]
        sums = torch.stack([rows.sum(dim=0) for rows in parts[:-1]])
        totals = sums.sum(dim=1, keepdim=True)
        return edges, sums / torch.where(totals == 0, torch.ones_like(totals), totals)

    def _choosing(self) -> list[tuple[int, str]]:
        """Index and name of every node that has more candidates than parents."""
        return [(i, name) for i, name in enumerate(self.nodes) if len(self.nodes[name]) > self.counts[i]]

    def _parts(self, tensor: Tensor) -> list[Tensor]:
        """What belongs to the edges of each node."""
        return list(tensor.split([len(edges) for edges in self.nodes.values()]))
