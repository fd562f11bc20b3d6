"""Large random graphs with a planted target: 32 labelled nodes, more architectures than anybody could list.

The NAS-BOWL paper shows its kernel on randomly wired networks of about this size, trained on Flowers102. No table of
those trainings is public, so the target here is made: a smooth, saturating function of how often each Weisfeiler–Lehman
subtree of depth 0 and 1 occurs, plus noise. Every operation and every pair of neighbours has a weight drawn from its
content, so the target is the same in every process, and what the surrogates should find is known.
"""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import numpy as np

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.graphs import INPUT, OP_NAME, OUTPUT
from xnas_ray.surrogates.wl_features import wl_counts

OPERATIONS = ("conv3x3", "conv1x1", "sep_conv3x3", "sep_conv5x5", "pool")
MACS = (9, 1, 2, 4, 0)
INNER = 30
REACH = 8
NONE = "none"
TARGET_SEED = 2021
NOISE_SHARE = 0.1
MIDDLE, HALF_RANGE = 85.0, 10.0


class RandomGraphs(Space):
    """Thirty operations in a row; each takes one or two of the ``REACH`` nodes before it as inputs.

    What nothing reads goes to the output. Genotypes with the same graph are not recognised: they are too rare to matter
    (a random pair shares its graph with probability below 1e-40).
    """

    name = "random_graphs"
    builder = "none:none"  # nothing is trained

    def __init__(self) -> None:
        choices: list[Choice] = []
        for node in range(INNER):
            near = tuple(range(max(0, node + 1 - REACH), node + 1))  # 0 is the input, i the i-th operation
            choices += [
                Choice(f"operation {node + 1}", OPERATIONS),
                Choice(f"first input of {node + 1}", near),
                Choice(f"second input of {node + 1}", (NONE, *near)),
            ]
        self.choices = tuple(choices)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """One graph, ``"cell"``."""
        values = [choice.options[g] for choice, g in zip(self.choices, self.check(genotype), strict=True)]
        graph = nx.DiGraph()
        graph.add_node(0, **{OP_NAME: INPUT})
        for node in range(1, INNER + 1):
            operation, *inputs = values[3 * node - 3 : 3 * node]
            graph.add_node(node, **{OP_NAME: str(operation)})
            graph.add_edges_from((source, node) for source in inputs if source != NONE)
        loose = [node for node in graph if not graph.out_degree(node)]
        graph.add_node(INNER + 1, **{OP_NAME: OUTPUT})
        graph.add_edges_from((node, INNER + 1) for node in loose)
        return {"cell": graph}

    def key(self, genotype: Genotype) -> str:
        """The text itself."""
        return self.format(genotype)

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """Relative figures: a unit is a 1 x 1 convolution."""
        units = sum(MACS[g] for g in genotype[::3])
        return Cost(flops=units, params=units)

    def format(self, genotype: Genotype) -> str:
        """The indices, joined by dots."""
        return ".".join(map(str, self.check(genotype)))

    def parse(self, text: str) -> Genotype:
        """See ``format``."""
        try:
            return self.check([int(part) for part in text.split(".")])
        except ValueError as error:
            raise GenotypeError(f"{text!r} is no random graph.", field="architecture") from error


def planted(space: RandomGraphs, genotypes: list[Genotype], noise_seed: int = 0) -> np.ndarray:
    """Made-up validation accuracies in percent, between 75 and 95, with noise of a tenth of their spread."""
    counts = [wl_counts(space.graphs(genotype)["cell"], 1) for genotype in genotypes]
    weight_of: dict[int, float] = {}
    for layers in counts:
        for feature in {feature for layer in layers for feature in layer} - set(weight_of):
            weight_of[feature] = float(rng(TARGET_SEED, Domain.SPLIT, feature).standard_normal())
    scores = [sum(weight_of[f] * n / np.sqrt(INNER) for layer in layers for f, n in layer.items()) for layers in counts]
    smooth = np.tanh(np.array(scores) / 2)
    noise = rng(noise_seed, Domain.TRIAL, TARGET_SEED).standard_normal(len(genotypes))
    return np.asarray(MIDDLE + HALF_RANGE * smooth + NOISE_SHARE * HALF_RANGE * noise)
