"""Classifiers of torchvision by their names: networks that are given, so that recipes for them can be searched."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xnas_ray.errors import SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.named import NamedNetworks
from xnas_ray.spaces.registry import register_space

if TYPE_CHECKING:
    import networkx as nx

NETWORKS = "xnas_ray.networks.torchvision_classifiers"


@register_space("torchvision")
class TorchvisionClassifiers(NamedNetworks):
    """Some of torchvision's image classifiers, untrained; with one name it is the space of a single network.

    The first convolution reads as many channels as the task's images have, the last layer gives as many outputs as it
    asks for. A name that torchvision does not have, and images that are too small for a network, are refused where the
    network is made or counted: torchvision is not loaded before.

    Args:
        names: such as ``["resnet18", "mobilenet_v3_small"]``.

    Raises:
        SpecError: no name, one is no text, or is there twice.
    """

    name = "torchvision"
    builder = f"{NETWORKS}:build"

    def __init__(self, *, names: Sequence[str]) -> None:
        """Keep the names."""
        listed = [] if isinstance(names, str) or not isinstance(names, Sequence) else list(names)
        texts = all(isinstance(name, str) and name.isidentifier() for name in listed)
        if not listed or not texts or len(set(listed)) != len(listed):
            raise SpecError(
                f"must be a list of names of torchvision's classifiers, each once, got {names!r}.",
                field="space.params.names",
                fix='For example names = ["resnet18"].',
            )
        self.keep_names(listed)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"network": graph}``: one node of the network's name between input and output; nothing looks inside."""
        from xnas_ray.spaces.graphs import INPUT, OUTPUT, chain

        return {"network": chain([INPUT, self.format(genotype), OUTPUT])}

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """Multiply-accumulates of convolutions and linear layers, and parameters, counted on a network without weights.

        The first count of a network loads torch and torchvision; it is remembered for each shape.

        Raises:
            SpecError: torchvision has no such classifier, or it does not take the task's images.
        """
        image = image_input(shape, self.name)
        found: Cost = importlib.import_module(NETWORKS).cost(self.format(genotype), image, shape.outputs)
        return found
