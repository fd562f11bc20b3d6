"""Random labelled graphs, and the posterior of a small Gaussian process on them, written out with dense matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from xnas_ray.explain.motifs import motif_table
from xnas_ray.explain.tree_table import tree_of_trial
from xnas_ray.explain.wl_part import WLPart
from xnas_ray.store.tree_samples import TreeSamples
from xnas_ray.surrogates.wl_features import WLFeatures

from .stored_trees import made, samples_of, stored

LABELS = ("conv1x1", "conv3x3", "conv5x5", "maxpool", "avgpool", "skip", "sepconv", "dilconv")


def random_cell(rng: np.random.Generator, nodes: int = 7, density: float = 0.4) -> nx.DiGraph:
    """A cell from ``input`` to ``output`` whose inner nodes carry random labels."""
    graph = nx.DiGraph()
    graph.add_node(0, op_name="input")
    for node in range(1, nodes - 1):
        graph.add_node(node, op_name=LABELS[rng.integers(len(LABELS))])
    graph.add_node(nodes - 1, op_name="output")
    graph.add_edges_from(pair for pair in itertools.combinations(range(nodes), 2) if rng.random() < density)
    graph.add_edges_from((0, node) for node in range(1, nodes - 1) if not graph.in_degree(node))
    graph.add_edges_from((node, nodes - 1) for node in range(1, nodes - 1) if not graph.out_degree(node))
    return graph


@dataclass
class Process:
    """A Gaussian process on features: kernel ``weight * mean over cells of the cosine``, noise, and its solution."""

    features: WLFeatures
    depth: int
    weight: float
    noise: float
    y: np.ndarray
    gate: np.ndarray | None = None

    def counts(self, cell: str, depth: int) -> np.ndarray:
        return np.hstack([self.features.matrix(t, cell).toarray() for t in range(depth + 1)])

    def kernel(self) -> np.ndarray:
        gram = np.zeros((len(self.y), len(self.y)))
        for cell in self.features.cells:
            phi = self.counts(cell, self.depth)
            unit = phi / np.linalg.norm(phi, axis=1, keepdims=True)
            gram += self.weight / len(self.features.cells) * unit @ unit.T
        return gram if self.gate is None else gram * self.gate

    @property
    def precision(self) -> np.ndarray:
        return np.linalg.inv(self.kernel() + self.noise * np.eye(len(self.y)))

    @property
    def alpha(self) -> np.ndarray:
        return self.precision @ self.y


@pytest.fixture
def make_process() -> Callable[..., Process]:
    def make(
        count: int = 30, kind: str = "subtree", depth: int = 2, cells: int = 1, gated: bool = False, seed: int = 0
    ) -> Process:
        rng = np.random.default_rng(seed)
        features = WLFeatures(depth, kind=kind)
        names = ("cell",) if cells == 1 else ("normal", "reduction")
        for i in range(count):
            features.add(str(i), {name: random_cell(rng) for name in names})
        gate = None
        if gated:
            x = rng.normal(size=(count, 1))
            gate = np.exp(-0.5 * (x - x.T) ** 2)
        return Process(features, depth, 1.7, 0.05, rng.normal(size=count), gate)

    return make


@dataclass
class Planted:
    """Architectures whose outcomes are a sum of effects of known subtrees, and a posterior that was fitted to them."""

    features: WLFeatures
    graphs: list[nx.DiGraph]
    effects: dict[tuple[int, int], float]
    outcomes: np.ndarray
    alpha: np.ndarray
    depth: int


@pytest.fixture(scope="session")
def make_planted() -> Callable[..., Planted]:
    def make(count: int = 300, kind: str = "subtree", depth: int = 1, seed: int = 0, noise: float = 0.3) -> Planted:
        """Eight subtrees of layer 1 change the outcome by -1 to 1 an occurrence; the noise is a share of the spread."""
        rng = np.random.default_rng(seed)
        features = WLFeatures(depth, kind=kind)
        graphs = [random_cell(rng) for _ in range(count)]
        for i, graph in enumerate(graphs):
            features.add(str(i), {"cell": graph})
        columns, counts = features.columns(1, "cell"), features.matrix(1, "cell").toarray()
        frequent = [j for j in np.flatnonzero((counts > 0).sum(axis=0) >= 15) if columns[j][1] == 1]
        chosen = rng.choice([j for j in frequent if np.ptp(counts[:, j])], 8, replace=False)
        effects = np.array([-1.0, -0.8, -0.6, -0.4, 0.4, 0.6, 0.8, 1.0])
        clean = counts[:, chosen] @ effects
        outcomes = clean + noise * clean.std() * rng.normal(size=count)
        planted = {columns[j]: float(e) for j, e in zip(chosen, effects, strict=True)}
        process = Process(features, depth, 1.0, 0.05, (outcomes - outcomes.mean()) / outcomes.std())
        return Planted(features, graphs, planted, outcomes, process.alpha, depth)

    return make


@pytest.fixture
def drawn(make_planted) -> Planted:
    return make_planted(depth=2)


@pytest.fixture
def drawn_table(drawn) -> pd.DataFrame:
    """Motifs of these architectures."""
    part = WLPart.by_cell(drawn.features, range(len(drawn.graphs)), drawn.alpha, drawn.depth)
    return motif_table(drawn.features, part, metric="val_accuracy", unit="%", min_support=10)


@pytest.fixture
def sampled_tree(random_tree) -> tuple[pd.DataFrame, TreeSamples]:
    """The tree of a trial over seven classes, and samples on their ways."""
    outcome = made(random_tree(7, 4), samples=60)
    return tree_of_trial(stored(outcome), 4), samples_of(outcome)
