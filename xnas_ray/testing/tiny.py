"""A small space and small data that conformance suites and tests train on in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Candidate, Cost, Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.tasks.splits import split_tensors
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.trained import TrainedCandidate

if TYPE_CHECKING:
    import networkx as nx


class TinySpace(Space):
    """Perceptrons over all inputs, flattened: width, depth and activation; 12 architectures."""

    name = "tiny"
    builder = "xnas_ray.testing.tiny:build"
    choices = (
        Choice("width", (4, 8, 16), ordered=True),
        Choice("depth", (1, 2), ordered=True),
        Choice("activation", ("relu", "tanh")),
    )

    def key(self, genotype: Genotype) -> str:
        """The text itself: no two are isomorphic."""
        return self.format(genotype)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """The chain of layers."""
        import networkx as nx

        layers = ["linear", str(self.describe(genotype)["activation"])] * self._depth(genotype)
        graph = nx.DiGraph()
        for i, operation in enumerate(["input", *layers, "output"]):
            graph.add_node(i, op_name=operation)
        nx.add_path(graph, range(len(layers) + 2))
        return {"network": graph}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """Weights of the linear layers, and their biases."""
        sizes = self.sizes(genotype, shape)
        weights = sum(a * b for a, b in pairwise(sizes))
        return Cost(flops=weights, params=weights + sum(sizes[1:]))

    def sizes(self, genotype: Genotype, shape: DataShape) -> list[int]:
        """Values between the layers."""
        width = int(str(self.describe(genotype)["width"]))
        return [sum(math.prod(s) for s in shape.inputs), *[width] * self._depth(genotype), shape.outputs]

    def format(self, genotype: Genotype) -> str:
        """Such as ``8x2-relu``."""
        values = self.describe(genotype)
        return f"{values['width']}x{values['depth']}-{values['activation']}"

    def parse(self, text: str) -> Genotype:
        """See ``format``."""
        for genotype in self.genotypes():
            if self.format(genotype) == text:
                return genotype
        raise GenotypeError(f"{text!r} is no architecture of space 'tiny'.", field="architecture", fix="Try 8x2-relu.")

    def _depth(self, genotype: Genotype) -> int:
        return int(str(self.describe(genotype)["depth"]))


class TinyNetwork(nn.Module):
    """The perceptron of a genotype, with batch normalisation and dropout: buffers and random numbers to restore."""

    def __init__(self, sizes: list[int], activation: type[nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes[:-1]):
            layers += [nn.Linear(inputs, outputs), activation()]
        self.body = nn.Sequential(nn.BatchNorm1d(sizes[0], affine=False), *layers, nn.Dropout(0.05))
        self.head = nn.Linear(sizes[-2], sizes[-1])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Outputs ``n x outputs`` of any number of inputs."""
        result: Tensor = self.head(self.body(torch.cat([x.flatten(1) for x in inputs], dim=1)))
        return result


def build(space: TinySpace, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype."""
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[str(space.describe(genotype)["activation"])]
    return TinyNetwork(space.sizes(genotype, shape), activation)


def tiny_data(kind: str = "classification", *, samples: int = 200, inputs: int = 1, seed: int = 0) -> Data:
    """Data that a perceptron learns: the sum of the features plus noise, or its sign as one of two classes."""
    generator = rng(seed, Domain.TRIAL, samples)
    x = generator.standard_normal((samples, 6 * inputs)).astype(np.float32)
    y = x.sum(axis=1) / np.sqrt(6 * inputs) + 0.1 * generator.standard_normal(samples)
    tensors = [torch.from_numpy(part.copy()) for part in np.split(x, inputs, axis=1)]
    if kind == "classification":
        labels = torch.from_numpy((y > 0).astype(np.int64))
        train, validation, test = split_tensors(tensors, labels, seed=seed)
        return Data(train, validation, test, classes=("negative", "positive"))
    values = torch.from_numpy(y.astype(np.float32))
    train, validation, test = split_tensors(tensors, values, seed=seed, stratify=False)
    return Data(train, validation, test)


def tiny_problem(kind: str = "classification") -> Problem:
    """The problem of ``tiny_data``."""
    recipe = {"batch_size": 32, "lr": 0.1}
    if kind == "classification":
        return Problem(space=TinySpace(), recipe=recipe)
    return Problem(space=TinySpace(), recipe=recipe, loss="mse", metrics=("mse", "r2"), objectives=("val_mse",))


def tiny_trained(kind: str = "classification", genotype: Genotype = (1, 0, 0), epochs: int = 2) -> TrainedCandidate:
    """A trained candidate of ``TinySpace``."""
    problem = tiny_problem(kind)
    return train_candidate(
        space=TinySpace(),
        problem=problem,
        data=tiny_data(kind),
        candidate=Candidate(0, genotype, fidelity=epochs, schedule_epochs=epochs),
        recipe=Recipe.from_mapping(problem.recipe),
        seed=0,
        context=LocalContext(),
    )
