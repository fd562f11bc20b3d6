"""The network of a perceptron's genotype."""

import math

import torch
from torch import Tensor, nn

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class Layer(nn.Module):
    """A linear layer, perhaps normalised, an activation, perhaps added to its input."""

    def __init__(self, inputs: int, outputs: int, activation: type[nn.Module], normalise: bool, skip: bool) -> None:
        super().__init__()
        norm = [nn.BatchNorm1d(outputs)] if normalise else []
        self.body = nn.Sequential(nn.Linear(inputs, outputs), *norm, activation())
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x inputs`` to ``n x outputs``."""
        return x + self.body(x) if self.skip else self.body(x)


class Perceptron(nn.Module):
    """Hidden layers and a linear head over all inputs, flattened and joined."""

    def __init__(self, layers: list[Layer], head: nn.Linear) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.head = head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Outputs ``n x k``."""
        return self.head(self.layers(torch.cat([x.flatten(1) for x in inputs], dim=1)))


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype."""
    values = space.describe(space.canonical(genotype))
    width, activation = values["width"], ACTIVATIONS[values["activation"]]
    size = sum(math.prod(s) for s in shape.inputs)
    layers = []
    for layer in range(values["depth"]):
        skip = values["skip"] == "yes" and layer > 0
        layers.append(Layer(size, width, activation, values["normalise"] == "yes", skip))
        size = width
    return Perceptron(layers, nn.Linear(size, shape.outputs))
