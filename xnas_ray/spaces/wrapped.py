"""A part of another space: fewer genotypes, the same names, keys, graphs, costs and networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import MAX_TRIES, DataShape, Space
from xnas_ray.spaces.operators import Operator, Value

if TYPE_CHECKING:
    import networkx as nx
    import torch

CHILDREN = 100


class WrappedSpace(Space):
    """Some genotypes of ``space``; a subclass says by ``is_valid`` which.

    What a genotype means is the wrapped space's to say. Samples, mutants and children are the wrapped space's too, as
    far as they belong to this one, so that a space with a way of its own to make them keeps it.

    Args:
        space: what to take a part of; the canonical form of a member must be a member.
    """

    def __init__(self, space: Space) -> None:
        """Take over what describes the wrapped space."""
        self.space = space
        self.choices = space.choices
        self.builder = space.builder
        self.params = space.params
        self.table_columns = space.table_columns

    @abstractmethod
    def is_valid(self, genotype: Genotype) -> bool:
        """Whether the genotype belongs to this part of the wrapped space."""

    @property
    def unwrapped(self) -> Space:
        """The space at the bottom of any number of wrappings."""
        return self.space.unwrapped

    @property
    def fingerprint(self) -> str:
        """The wrapped space's: a genotype means the same in every part of it."""
        return self.space.fingerprint

    @property
    def size(self) -> int:
        """The wrapped space's: a bound."""
        return self.space.size

    @property
    def mutation_rates(self) -> tuple[float, ...]:
        """As the wrapped space's."""
        return self.space.mutation_rates

    # ---- what a genotype means --------------------------------------------------------------------------------------

    def build(self, genotype: Genotype, shape: DataShape) -> torch.nn.Module:
        """As the wrapped space's."""
        return self.space.build(genotype, shape)

    def key(self, genotype: Genotype) -> str:
        """As the wrapped space's."""
        return self.space.key(genotype)

    def canonical(self, genotype: Genotype) -> Genotype:
        """As the wrapped space's."""
        return self.space.canonical(genotype)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """As the wrapped space's."""
        return self.space.graphs(genotype)

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """As the wrapped space's."""
        return self.space.cost(genotype, shape)

    def costs(self, genotypes: Sequence[Genotype], shape: DataShape) -> tuple[np.ndarray, np.ndarray]:
        """As the wrapped space's."""
        return self.space.costs(genotypes, shape)

    def operators(self, genotype: Genotype, shape: DataShape) -> tuple[Operator, ...]:
        """As the wrapped space's."""
        return self.space.operators(genotype, shape)

    def add_up(self, genotypes: Sequence[Genotype], shape: DataShape, value: Value) -> np.ndarray:
        """As the wrapped space's."""
        return self.space.add_up(genotypes, shape, value)

    def covering(self) -> Iterator[Genotype] | None:
        """The wrapped space's: they may have operators that no member has."""
        return self.space.covering()

    def latencies(self, genotypes: Sequence[Genotype], shape: DataShape) -> np.ndarray:
        """As the wrapped space's."""
        return self.space.latencies(genotypes, shape)

    def recipe(self, genotype: Genotype) -> dict[str, Any]:
        """As the wrapped space's."""
        return self.space.recipe(genotype)

    def numeric(self, genotype: Genotype) -> tuple[float, ...]:
        """As the wrapped space's."""
        return self.space.numeric(genotype)

    def format(self, genotype: Genotype) -> str:
        """As the wrapped space's."""
        return self.space.format(genotype)

    def parse(self, text: str) -> Genotype:
        """As the wrapped space's; what it gives may lie outside of this part."""
        return self.space.parse(text)

    # ---- how genotypes are made -------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Genotype:
        """A sample of the wrapped space that belongs here.

        Raises:
            GenotypeError: none did in ``MAX_TRIES`` draws.
        """
        for _ in range(MAX_TRIES):
            genotype = self.space.sample(rng)
            if self.is_valid(genotype):
                return genotype
        raise GenotypeError(
            f"none of {MAX_TRIES} samples of space {self.space.name!r} belongs to its part {self.name!r}.",
            fix="Loosen what narrows it.",
        )

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        """A mutant of the wrapped space that belongs here.

        Raises:
            GenotypeError: no such mutant was found.
        """
        for _ in range(MAX_TRIES):
            mutant = self.space.mutate(genotype, rng, changes)
            if self.is_valid(mutant):
                return mutant
        raise GenotypeError(f"no valid mutant of {genotype} in {MAX_TRIES} tries.", field="genotype")

    def perturb(
        self, genotype: Genotype, rng: np.random.Generator, rates: float | Sequence[float] | None = None
    ) -> Genotype:
        """A perturbed genotype of the wrapped space that belongs here.

        Raises:
            GenotypeError: none was found.
        """
        for _ in range(MAX_TRIES):
            mutant = self.space.perturb(genotype, rng, rates)
            if self.is_valid(mutant):
                return mutant
        raise GenotypeError(f"no valid mutant of {genotype} in {MAX_TRIES} tries.", field="genotype")

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """A child of the wrapped space that belongs here; a parent when there is none in 100 tries."""
        for _ in range(CHILDREN):
            child = self.space.crossover(first, second, rng)
            if self.is_valid(child):
                return child
        return first

    def neighbours(self, genotype: Genotype) -> Iterator[Genotype]:
        """The wrapped space's neighbours that belong here."""
        return (other for other in self.space.neighbours(genotype) if self.is_valid(other))

    def genotypes(self) -> Iterator[Genotype]:
        """The wrapped space's genotypes that belong here, in its order."""
        return (genotype for genotype in self.space.genotypes() if self.is_valid(genotype))


class RestrictedSpace(WrappedSpace):
    """A space narrowed to listed genotypes, canonicalised: a table, a subset, a study of some architectures.

    Where few of a space's architectures are listed, single changes of a genotype rarely lead to another listed one. So
    ``mutate`` looks for the nearest members, and ``crossover`` draws among all members between the parents.

    Args:
        space: the space to narrow.
        genotypes: what is kept, in this order, repetitions dropped.

    Raises:
        GenotypeError: a genotype does not belong to ``space``, or none is given.
    """

    name = "restricted"

    def __init__(self, space: Space, genotypes: Sequence[Sequence[int]]) -> None:
        """Keep the canonical form of each genotype."""
        super().__init__(space)
        members = dict.fromkeys(space.canonical(space.check(g)) for g in genotypes)
        if not members:
            raise GenotypeError("a restricted space needs at least one genotype", field="genotypes")
        self.members: tuple[Genotype, ...] = tuple(members)
        self._set = frozenset(self.members)
        self._array = np.array(self.members)

    @property
    def size(self) -> int:
        """Number of listed genotypes."""
        return len(self.members)

    def is_valid(self, genotype: Genotype) -> bool:
        """Whether the genotype is listed."""
        return genotype in self._set

    def sample(self, rng: np.random.Generator) -> Genotype:
        """A listed genotype, uniformly."""
        return self.members[int(rng.integers(len(self.members)))]

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        """A listed genotype at the smallest Hamming distance of at least ``changes``, at random among ties.

        Raises:
            GenotypeError: the genotype is the only member.
        """
        distance = (self._array != np.array(genotype)).sum(axis=1)
        others = np.flatnonzero(distance)
        if not others.size:
            raise GenotypeError(f"no valid mutant of {genotype}: it is the only member.", field="genotype")
        distance = distance[others]
        distance = np.where(distance < changes, distance.max() + changes - distance, distance)
        best = others[distance == distance.min()]
        return self.members[int(rng.choice(best))]

    def perturb(
        self, genotype: Genotype, rng: np.random.Generator, rates: float | Sequence[float] | None = None
    ) -> Genotype:
        """A mutant with as many changes as the rates give, at least one.

        Raises:
            GenotypeError: the genotype is the only member.
        """
        return self.mutate(genotype, rng, max(1, len(self._drawn(rng, rates))))

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """A member that takes every value from either parent, uniformly; a parent only when no other does."""
        between = np.all((self._array == np.array(first)) | (self._array == np.array(second)), axis=1)
        children = [self.members[i] for i in np.flatnonzero(between)]
        children = [child for child in children if child not in (first, second)]
        return children[int(rng.integers(len(children)))] if children else first

    def genotypes(self) -> Iterator[Genotype]:
        """The listed genotypes, in their order."""
        return iter(self.members)

    def covering(self) -> Iterator[Genotype]:
        """The listed genotypes."""
        return iter(self.members)
