"""Perceptrons: width, depth, activation, batch normalisation and skip connections."""

import math
from itertools import pairwise

import networkx as nx

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space

WIDTHS = (4, 8, 16, 32, 64)


class Perceptrons(Space):
    """Hidden layers of one width; skip connections join layers of equal size, so they mean nothing at depth 1.

    Args:
        max_depth: most hidden layers.
    """

    name = "perceptrons"
    builder = f"{__package__}.network:build"

    def __init__(self, *, max_depth: int = 3) -> None:
        if max_depth < 1:
            raise SpecError(f"must be at least 1, got {max_depth}.", field="space.params.max_depth")
        self.choices = (
            Choice("width", WIDTHS, ordered=True),
            Choice("depth", tuple(range(1, max_depth + 1)), ordered=True),
            Choice("activation", ("relu", "tanh", "gelu")),
            Choice("normalise", ("no", "yes")),
            Choice("skip", ("no", "yes")),
        )

    def canonical(self, genotype: Genotype) -> Genotype:
        """Without skip connections where there is nothing to skip."""
        return (*genotype[:4], 0) if self.describe(genotype)["depth"] == 1 else genotype

    def key(self, genotype: Genotype) -> str:
        """The text of the canonical form."""
        return self.format(self.canonical(genotype))

    def graphs(self, genotype: Genotype) -> dict[str, nx.DiGraph]:
        """The layers as a chain, with an addition where a connection skips one."""
        values = self.describe(self.canonical(genotype))
        graph = nx.DiGraph()
        graph.add_node(0, op_name="input")
        end = 0
        for layer in range(int(values["depth"])):
            start = end
            names = ["linear", *(["norm"] if values["normalise"] == "yes" else []), str(values["activation"])]
            names += ["add"] if layer and values["skip"] == "yes" else []
            for name in names:
                graph.add_node(end + 1, op_name=name)
                graph.add_edge(end, end + 1)
                end += 1
            if names[-1] == "add":
                graph.add_edge(start, end)
        graph.add_node(end + 1, op_name="output")
        graph.add_edge(end, end + 1)
        return {"network": graph}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """Weights and biases of the linear layers, and two parameters a normalised value."""
        values = self.describe(genotype)
        width, depth = int(values["width"]), int(values["depth"])
        sizes = [sum(math.prod(s) for s in shape.inputs), *[width] * depth, shape.outputs]
        weights = sum(a * b for a, b in pairwise(sizes))
        norm = 2 * width * depth if values["normalise"] == "yes" else 0
        return Cost(flops=weights, params=weights + sum(sizes[1:]) + norm)

    def format(self, genotype: Genotype) -> str:
        """Such as ``16x2 relu norm:yes skip:no``."""
        values = self.describe(genotype)
        layers = f"{values['width']}x{values['depth']} {values['activation']}"
        return f"{layers} norm:{values['normalise']} skip:{values['skip']}"

    def parse(self, text: str) -> Genotype:
        """See ``format``."""
        for genotype in self.genotypes():
            if self.format(genotype) == text:
                return genotype
        raise GenotypeError(
            f"{text!r} is no perceptron.", field="architecture", fix="Write it like 16x2 relu norm:yes skip:no."
        )


def create_search_space(*, max_depth: int = 3) -> Space:
    """The space; ``max_depth`` is a ``space.params`` of a search."""
    return Perceptrons(max_depth=max_depth)
