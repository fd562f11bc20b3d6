"""One trained network and how its training goes on: each way is an option of a space, and decides the recipe."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import networkx as nx

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces import cost as costs
from xnas_ray.spaces.base import Choice, DataShape, Space

ALONG: Mapping[str, Any] = {"tree_from": 0.0, "tree_until": 0.01}
"""The tree of the published weights, which stays."""

CONSTANT: Mapping[str, Any] = {"tree_weight_start": 1.0, "tree_weight_end": 1.0, "label_weight_end": 1.0}
"""A recipe's weights move from epoch to epoch, so that a single one has no ramp."""

PUBLISHED = "as published"
WAYS: Mapping[str, Mapping[str, Any]] = {
    PUBLISHED: {"lr": 1e-12, "weight_decay": 0.0, "augment": []},
    "labels alone": {},
    "soft": {"tree_loss": "soft", **ALONG, **CONSTANT},
    "soft, without labels": {
        "tree_loss": "soft",
        **ALONG,
        **CONSTANT,
        "label_weight_start": 0.0,
        "label_weight_end": 0.0,
    },
    "hard": {"tree_loss": "hard", **ALONG, **CONSTANT, "tree_weight_start": 10.0, "tree_weight_end": 10.0},
}
"""Recipes by what the README calls them; the first one leaves the network what it is."""


class Ways(Space):
    """Ways to go on with a ResNet-20 that was trained on CIFAR-10."""

    name = "resnet20_ways"
    builder = f"{__name__}:build"
    choices = (Choice("way", tuple(WAYS)),)

    def recipe(self, genotype: Genotype) -> dict[str, Any]:
        """What the way changes of the task's recipe."""
        return dict(WAYS[self.format(genotype)])

    def key(self, genotype: Genotype) -> str:
        """The way's name: the network is always the same."""
        return self.format(genotype)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """The chain of stages."""
        graph = nx.DiGraph()
        names = ["input", "conv", "stage 16", "stage 32", "stage 64", "output"]
        graph.add_nodes_from((i, {"op_name": name}) for i, name in enumerate(names))
        nx.add_path(graph, range(len(names)))
        return {"network": graph}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """FLOPs and parameters of the network."""
        depth, height, width = costs.image_input(shape, self.name)
        parts = [costs.conv2d(depth, 16, 3, (height, width)), costs.batch_norm(16)]
        for inputs, outputs in itertools.pairwise([16] * 4 + [32] * 3 + [64] * 3):
            height, width = height * inputs // outputs, width * inputs // outputs
            for read in (inputs, outputs):
                parts += [costs.conv2d(read, outputs, 3, (height, width)), costs.batch_norm(outputs)]
        return costs.total([*parts, costs.linear(64, shape.outputs)])

    def format(self, genotype: Genotype) -> str:
        """The way's name."""
        return str(self.choices[0].options[genotype[0]])

    def parse(self, text: str) -> Genotype:
        """The genotype of a way's name."""
        if text not in WAYS:
            raise GenotypeError(f"there is no way {text!r}.", field="architecture", got=text, valid=list(WAYS))
        return (list(WAYS).index(text),)


def create_search_space() -> Space:
    """Five ways."""
    return Ways()


def build(space: Ways, genotype: Genotype, shape: DataShape):
    """The network with its published weights; as published, batch norm does not learn either."""
    from torch import nn

    from .resnet20 import trained_network

    network = trained_network()
    if space.format(genotype) == PUBLISHED:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
    return network
