"""The network of a NAS-Bench-201 genotype (Dong & Yang, ICLR 2020; ``TinyNetwork`` of the official code)."""

from __future__ import annotations

from torch import Tensor, nn, zeros_like

from xnas_ray.messages import Genotype
from xnas_ray.networks.cells import ReluConvNorm, ResidualReduction
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.spaces.nasbench201 import EDGES, NODES, OPERATIONS, NASBench201
from xnas_ray.spaces.nasbench201_operators import ADD, ZERO, Nb201Operator


class Cell(nn.Module):
    """Four nodes; node 0 is the input, every other one the sum of its edges, the last one the output.

    Every operation is built and computed, also one whose result nothing uses, as officially. A node that only ``none``
    reaches is zero, and parameters behind it get no gradient (the official code multiplies by 0: gradients of 0).

    Args:
        genotype: an index into ``OPERATIONS`` for every edge of ``EDGES``.
        channels: channels of the input, of every node and of the output.
    """

    def __init__(self, genotype: Genotype, channels: int) -> None:
        """Make the operations."""
        super().__init__()
        self.edges = nn.ModuleList()
        self.wiring: list[list[tuple[int, int]]] = [[] for _ in range(NODES)]  # node -> (source, operation)
        for option, (source, target) in zip(genotype, EDGES, strict=True):
            operation = make_operation(OPERATIONS[option], channels)
            if operation is not None:
                self.wiring[target].append((source, len(self.edges)))
                self.edges.append(operation)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x channels x h x w`` to the same shape."""
        nodes = [x]
        for incoming in self.wiring[1:]:
            terms = [self.edges[i](nodes[source]) for source, i in incoming]
            node = terms[0] if terms else zeros_like(x)
            for term in terms[1:]:
                node = node + term
            nodes.append(node)
        return nodes[-1]


class Tail(nn.Module):
    """What follows the last cell: normalisation, the average over pixels, a linear layer.

    Args:
        channels: of the last map.
        outputs: classes or regressed values.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        """Make the layers."""
        super().__init__()
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x channels x h x w`` to ``n x outputs``."""
        result: Tensor = self.head(self.norm(x).mean(dim=(2, 3)))
        return result


class Doubled(nn.Module):
    """A map and another one added: what a further term of a node takes."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the map."""
        return x + x


class Zero(nn.Module):
    """A node without terms."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of the same shape."""
        return zeros_like(x)


class NASBench201Network(nn.Module):
    """Stem, stages of equal cells with residual reductions between them, normalisation, average over pixels, linear.

    Weights start as torch's layers start them, as in the official training code.

    Args:
        genotype: the cell.
        shape: one image (channels, height, width) and the number of outputs.
        cells_per_stage: cells in a stage.
        channels: channels of the first stage, doubled by every reduction.
        stages: number of stages.
    """

    def __init__(self, genotype: Genotype, shape: DataShape, cells_per_stage: int, channels: int, stages: int) -> None:
        """Make the layers."""
        super().__init__()
        inputs, _, _ = image_input(shape, NASBench201.name)
        self.stem = make_stem(inputs, channels)
        body: list[nn.Module] = []
        for stage in range(stages):
            if stage:
                body.append(ResidualReduction(channels, 2 * channels))
                channels *= 2
            body.extend(Cell(genotype, channels) for _ in range(cells_per_stage))
        self.body = nn.Sequential(*body)
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(channels, shape.outputs)

    def regularise(self, *, dropout: float | None = None) -> None:
        """Set the share of the vectors' values that are left out before the head while training; at first none."""
        if dropout is not None:
            self.dropout.p = dropout

    def features(self, x: Tensor) -> Tensor:
        """The vectors that the head reads: ``n x channels of the last stage``."""
        result: Tensor = self.norm(self.body(self.stem(x))).mean(dim=(2, 3))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Logits or regressed values, ``n x outputs``, of images ``n x channels x h x w``."""
        result: Tensor = self.head(self.dropout(self.features(x)))
        return result


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype.

    Args:
        space: a ``NASBench201``, or a part of one.
        genotype: a valid genotype of it.
        shape: one image input, and the number of outputs.

    Raises:
        SpecError: the space is another one, or the task's input is not one image.
        GenotypeError: the genotype does not belong to the space.
    """
    whole = whole_space(space, NASBench201)
    return NASBench201Network(space.check(genotype), shape, whole.cells_per_stage, whole.channels, whole.stages)


def build_operator(operator: Nb201Operator) -> nn.Module:
    """The module of a part that is timed alone: the same as within the network."""
    if operator.kind == "stem":
        return make_stem(operator.inputs, operator.outputs)
    if operator.kind == "reduction":
        return ResidualReduction(operator.inputs, operator.outputs)
    if operator.kind == "tail":
        return Tail(operator.inputs, operator.outputs)
    if operator.kind in (ADD, ZERO):
        return Doubled() if operator.kind == ADD else Zero()
    return make_operation(operator.kind, operator.inputs) or Zero()


def make_stem(inputs: int, channels: int) -> nn.Module:
    """The first convolution, normalised."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def make_operation(name: str, channels: int) -> nn.Module | None:
    """The module of an edge, by a name of ``OPERATIONS``; None for ``none``."""
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReluConvNorm(channels, channels, 1 if name == "nor_conv_1x1" else 3)
