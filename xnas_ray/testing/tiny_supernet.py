"""A relaxed supernet of some sixty weights, whose Hessian can be made: what influences are checked against.

A cell of three nodes works on vectors: node 0 is the input, node 1 reads it, node 2 reads both, and a linear head reads
node 2. On every edge there are ``none``, ``skip_connect``, a linear map and a linear map followed by tanh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError, InfluenceError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.supernets.base import RelaxedSupernet
from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.tasks.base import Split

if TYPE_CHECKING:
    import networkx as nx

OPERATIONS = ("none", "skip_connect", "linear", "tanh")
EDGES = ((0, 1), (0, 2), (1, 2))
"""(source, target)."""

SHAPE = DataShape(inputs=((3,),), outputs=3)
"""Of ``tiny_split``."""

_LEARNED = ("linear", "tanh")


class TinyCells(Space):
    """The 64 cells of the supernet."""

    name = "tiny_cells"
    builder = "xnas_ray.testing.tiny_supernet:build"
    choices = tuple(Choice(f"{target}<-{source}", OPERATIONS) for source, target in EDGES)

    def key(self, genotype: Genotype) -> str:
        """The text itself."""
        return self.format(genotype)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """Operations as nodes between ``input`` and ``output``; ``none`` is left out."""
        import networkx as nx

        graph = nx.DiGraph()
        names = {i + 1: OPERATIONS[o] for i, o in enumerate(self.check(genotype)) if OPERATIONS[o] != "none"}
        for node, name in {0: "input", **names, 4: "output"}.items():
            graph.add_node(node, op_name=name)
        paths = ((0, 1), (0, 2), (1, 3), (2, 4), (3, 4))
        graph.add_edges_from((a, b) for a, b in paths if a in graph and b in graph)
        return {"cell": graph}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """Of the linear maps and the head."""
        width = shape.inputs[0][0]
        maps = sum(OPERATIONS[o] in _LEARNED for o in self.check(genotype)) * width**2 + width * shape.outputs
        return Cost(flops=maps, params=maps + shape.outputs)

    def format(self, genotype: Genotype) -> str:
        """Such as ``tanh,none,linear``."""
        return ",".join(OPERATIONS[o] for o in self.check(genotype))

    def parse(self, text: str) -> Genotype:
        """See ``format``."""
        names = text.split(",")
        if len(names) != len(EDGES) or not set(names) <= set(OPERATIONS):
            raise GenotypeError(f"{text!r} is no cell.", field="architecture", fix="Try tanh,none,linear.")
        return tuple(OPERATIONS.index(name) for name in names)


class TinySupernet(RelaxedSupernet):
    """All cells of ``TinyCells`` at once.

    Args:
        shape: one vector, and the number of outputs.
        seed: of weights and architecture variables.
        normalise: whether node 1 is normalised over the batch, which ties samples together.
    """

    def __init__(self, shape: DataShape = SHAPE, *, seed: int = 0, normalise: bool = False) -> None:
        """Draw the variables, in double precision."""
        super().__init__(TinyCells(), shape)
        self.edges = tuple(choice.name for choice in self.space.choices)
        self.operations = OPERATIONS
        self.nodes = {"1": self.edges[:1], "2": self.edges[1:]}
        (width,) = shape.inputs[0]
        generator = torch.Generator().manual_seed(seed)

        def drawn(*size: int, std: float) -> nn.Parameter:
            return nn.Parameter(std * torch.randn(*size, generator=generator, dtype=torch.float64))

        self.alpha = drawn(len(EDGES), len(OPERATIONS), std=0.3)
        self.maps = drawn(len(EDGES), len(_LEARNED), width, width, std=width**-0.5)
        self.head = drawn(width, shape.outputs, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(shape.outputs, dtype=torch.float64))
        self.norm = nn.BatchNorm1d(width, affine=False, track_running_stats=False) if normalise else nn.Identity()

    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        """See ``RelaxedSupernet.forward``."""
        (x,) = inputs
        p = self.mixing() if mixing is None else mixing
        nodes = [x, torch.zeros_like(x), torch.zeros_like(x)]
        for edge, (source, target) in enumerate(EDGES):
            read = self.norm(nodes[source]) if source else nodes[source]
            linear, curved = (read @ matrix for matrix in self.maps[edge])
            nodes[target] = nodes[target] + p[edge, 1] * read + p[edge, 2] * linear + p[edge, 3] * torch.tanh(curved)
        return nodes[-1] @ self.head + self.bias

    def genotype(self, strengths: Tensor, *, keep_none: bool = False) -> Genotype:
        """The strongest operation of every edge."""
        values = strengths.detach().double().nan_to_num(-torch.inf)
        if not keep_none:
            values[:, OPERATIONS.index("none")] = -torch.inf
        return self.space.check(values.argmax(dim=1).tolist())


class TinyCell(nn.Module):
    """One cell with its head: a supernet with the mixing weights of an architecture.

    Args:
        genotype: of ``TinyCells``.
        shape: one vector, and the number of outputs.
    """

    def __init__(self, genotype: Genotype, shape: DataShape) -> None:
        """Make the maps that the cell has."""
        super().__init__()
        (width,) = shape.inputs[0]
        self.names = [OPERATIONS[operation] for operation in genotype]
        learned = [str(edge) for edge, name in enumerate(self.names) if name in _LEARNED]
        self.maps = nn.ModuleDict({edge: nn.Linear(width, width, bias=False) for edge in learned})
        self.head = nn.Linear(width, shape.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``n x outputs``."""
        nodes = [x, torch.zeros_like(x), torch.zeros_like(x)]
        for edge, (source, target) in enumerate(EDGES):
            if self.names[edge] != "none":
                term = self.maps[str(edge)](nodes[source]) if str(edge) in self.maps else nodes[source]
                nodes[target] = nodes[target] + (torch.tanh(term) if self.names[edge] == "tanh" else term)
        result: Tensor = self.head(nodes[-1])
        return result


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype."""
    return TinyCell(space.check(genotype), shape)


def tiny_split(samples: int = 120, *, seed: int = 0) -> Split:
    """Vectors in double precision whose class depends on them in a bent way, and on some noise."""
    ((width,),), classes = SHAPE.inputs, SHAPE.outputs
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    x = normal(samples, width)
    bent = torch.tanh(x @ normal(width, width)) + x.flip(1)
    targets = (bent @ normal(width, classes) + 0.5 * normal(samples, classes)).argmax(1)
    return Split((x,), targets)


def settle(derivatives: Derivatives, *, tolerance: float = 1e-11, steps: int = 200) -> None:
    """Train the supernet's weights until the gradient vanishes, by saddle-free Newton steps (Dauphin et al. 2014).

    Args:
        derivatives: of the loss, with a ridge, so that it has a minimum; small enough for a dense Hessian.
        tolerance: of the gradient's length.
        steps: at most.

    Raises:
        InfluenceError: that does not suffice.
    """
    gradient = derivatives.gradient()
    for _ in range(steps):
        size = float(gradient.norm())
        if size <= tolerance:
            return
        curvatures, axes = torch.linalg.eigh(derivatives.hessian())
        step = axes @ ((axes.T @ gradient) / curvatures.abs().clamp_min(1e-6))
        before, weights, length = derivatives.value(), derivatives.flat_weights(), 1.0
        derivatives.set_weights(weights - step)
        # Near the minimum the loss no longer tells steps apart, but the gradient does.
        while size > 1e-5 and not derivatives.value() < before and length > 1e-9:
            length /= 2
            derivatives.set_weights(weights - length * step)
        gradient = derivatives.gradient()
    if float(gradient.norm()) > tolerance:
        raise InfluenceError(f"the weights did not settle: the gradient has length {float(gradient.norm()):.3g}.")
