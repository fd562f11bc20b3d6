"""The conformance suite of spaces finds what is wrong with a space."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import numpy as np
import pytest

from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.testing.space_case import SpaceTestCase


class FullKey(NASBench201):
    """Canonicalises, but gives members of a class different keys."""

    def key(self, genotype: Genotype) -> str:
        return self.format(genotype)


class CoarseKey(NASBench201):
    """Takes different architectures for the same."""

    def key(self, genotype: Genotype) -> str:
        return str(sorted(genotype))

    def canonical(self, genotype: Genotype) -> Genotype:
        return tuple(sorted(genotype))


class DearCanonical(NASBench201):
    """Is not idempotent."""

    def canonical(self, genotype: Genotype) -> Genotype:
        members = [g for g in self.genotypes() if self.key(g) == self.key(genotype)]
        return members[(members.index(genotype) + 1) % len(members)]


class Lossy(NASBench201):
    """Forgets the last value."""

    def parse(self, text: str) -> Genotype:
        return (*super().parse(text)[:5], 0)


class Lenient(NASBench201):
    """Reads anything."""

    def parse(self, text: str) -> Genotype:
        try:
            return super().parse(text)
        except Exception:
            return (0,) * 6


class Restless(NASBench201):
    """Mutates by its own dice."""

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        return super().mutate(genotype, np.random.default_rng(), changes)


class Unlabelled(NASBench201):
    """Leaves out the labels."""

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        return {"cell": nx.DiGraph([(0, 1)])}


class Miscounted(NASBench201):
    """Counts a parameter too many."""

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        right = super().cost(genotype, shape)
        return Cost(right.flops, right.params + 1)


class Unpicklable(NASBench201):
    """Holds a function."""

    def __init__(self, **params: int) -> None:
        super().__init__(**params)
        self.function = lambda: None


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (FullKey, "test_canonical_member"),
        (CoarseKey, "test_equal_keys_mean_equal_graphs"),
        (DearCanonical, "test_canonical_member"),
        (Lossy, "test_text_round_trip"),
        (Lenient, "test_malformed_text_is_refused"),
        (Restless, "test_mutants_are_valid_and_differ"),
        (Unlabelled, "test_graphs_are_labelled_and_acyclic"),
        (Miscounted, "test_networks_have_the_right_outputs_and_parameters"),
        (Unpicklable, "test_pickles"),
    ],
)
def test_broken_spaces_fail(kind: type[NASBench201], test: str):
    class Case(SpaceTestCase):
        samples = 10

        def make_space(self) -> Space:
            return kind(cells_per_stage=1, channels=2, stages=1)

    with pytest.raises((AssertionError, pytest.fail.Exception, AttributeError, TypeError)):
        getattr(Case(), test)()
