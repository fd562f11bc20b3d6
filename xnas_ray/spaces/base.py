"""What a search space is: choices, genotypes, and the few functions that a new space must give."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.randomness import as_genotype, canonical_json
from xnas_ray.spaces.operators import Operator, Value, added_up

if TYPE_CHECKING:
    import networkx as nx
    import torch

MAX_ENUMERATION = 1_000_000
MAX_TRIES = 10_000
MAX_COVERING = 20_000
"""Genotypes of a space that is listed to know its operators, where it does not say which ones have them all."""

Shape = tuple[int, ...]
"""Shape of one input of one sample: (channels, height, width) for images, (features,) for vectors."""


@dataclass(frozen=True, slots=True)
class DataShape:
    """What goes into a network and what comes out.

    Attributes:
        inputs: shape of each input of one sample; most tasks have one.
        outputs: number of classes or of regressed values.
        kind: ``"classification"`` or ``"regression"``.
    """

    inputs: tuple[Shape, ...]
    outputs: int
    kind: str = "classification"


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision: its name, its options, and whether their order means something (a width, a depth)."""

    name: str
    options: tuple[object, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty choice; options are kept as a tuple."""
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise GenotypeError("a choice needs at least one option", field=self.name)


class Space(ABC):
    """A set of architectures, each a genotype: one option index per choice.

    A subclass sets ``name``, ``choices`` and ``builder`` and gives ``key``, ``graphs``, ``cost``, ``format`` and
    ``parse``; it overrides ``is_valid`` and ``canonical`` where not every genotype is valid or several share a key.
    Parameters of the constructor are kept by the subclass and must be given as keywords.
    """

    name: ClassVar[str]
    choices: tuple[Choice, ...]
    params: Mapping[str, Any] = {}
    """Constructor parameters, JSON values."""
    builder: str
    """``"module:function"``; called as ``function(space, genotype, shape: DataShape) -> torch.nn.Module``."""
    table_columns: tuple[str, ...] = ("arch",)
    """Columns of benchmark tables that hold what ``parse`` reads; several are joined by spaces."""

    @abstractmethod
    def key(self, genotype: Genotype) -> str:
        """Architectures that compute the same share it and are evaluated once.

        Equal keys imply isomorphic graphs, not the reverse. A space whose field compares computed expressions may let
        them differ in sharing alone: a result used twice, or the same operation computed twice.
        """

    @abstractmethod
    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """One directed graph a cell type, with the node attribute ``op_name``: what kernels and drawings read."""

    @abstractmethod
    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """Analytic FLOPs (multiply-accumulates) and parameters, without building the network."""

    @abstractmethod
    def format(self, genotype: Genotype) -> str:
        """The architecture as the field writes it."""

    @abstractmethod
    def parse(self, text: str) -> Genotype:
        """The genotype of such a text; GenotypeError otherwise. ``parse(format(g)) == g`` for every valid g."""

    def is_valid(self, genotype: Genotype) -> bool:
        """Whether the genotype can be built; False for wrong lengths and indices."""
        return len(genotype) == len(self.choices) and all(
            isinstance(i, int) and 0 <= i < len(c.options) for i, c in zip(genotype, self.choices, strict=True)
        )

    def canonical(self, genotype: Genotype) -> Genotype:
        """The cheapest member of the key class (FLOPs, then first); the genotype itself where keys are unique."""
        return genotype

    def recipe(self, genotype: Genotype) -> dict[str, Any]:
        """Training settings that the genotype decides, JSON values; none in a space of architectures alone."""
        return {}

    def numeric(self, genotype: Genotype) -> tuple[float, ...]:
        """Coordinates in [0, 1] for kernels that are smooth in them: by default the ordered choices; often none."""
        several = [(i, choice) for i, choice in enumerate(self.choices) if choice.ordered and len(choice.options) > 1]
        return tuple(genotype[i] / (len(choice.options) - 1) for i, choice in several)

    def costs(self, genotypes: Sequence[Genotype], shape: DataShape) -> tuple[np.ndarray, np.ndarray]:
        """FLOPs and parameters of many genotypes, int64 ``[n]`` each: by default ``cost`` of one after the other."""
        found = [self.cost(genotype, shape) for genotype in genotypes]
        flops, params = [cost.flops for cost in found], [cost.params for cost in found]
        return np.array(flops, dtype=np.int64), np.array(params, dtype=np.int64)

    # ---- what a latency table needs --------------------------------------------------------------------------------

    def operators(self, genotype: Genotype, shape: DataShape) -> tuple[Operator, ...]:
        """The parts of the network that can be timed one by one, in the order of its forward pass.

        A space that overrides it can have its latency looked up in a table.

        Raises:
            SpecError: the space has none.
        """
        raise SpecError(
            f"networks of space {self.unwrapped.name!r} are not taken apart into operators, so no latency can be "
            "looked up for them.",
            field="space.name",
            fix="Use a space of inverted residuals or nasbench201, or measure latency_ms of each trained network.",
        )

    def add_up(self, genotypes: Sequence[Genotype], shape: DataShape, value: Value) -> np.ndarray:
        """The sum of a value over the operators of many genotypes, float64 ``[n]``: by default one after the other."""
        return np.array([added_up(self.operators(genotype, shape), value) for genotype in genotypes], dtype=np.float64)

    def covering(self) -> Iterator[Genotype] | None:
        """Genotypes that between them have every operator of the space; None where these are too many or not known."""
        return self.genotypes() if self.size <= MAX_COVERING else None

    def latencies(self, genotypes: Sequence[Genotype], shape: DataShape) -> np.ndarray:
        """Milliseconds by a latency table, float64 ``[n]``; ``timed.TimedSpace`` has one.

        Raises:
            SpecError: there is no table.
        """
        raise SpecError(
            "a latency can be looked up only in a table.",
            field="objective_params.latency_table_ms.table",
            fix="Measure one with `xnas latency-table` and name its file there.",
        )

    # ---- given once, for every space ---------------------------------------------------------------------------

    @property
    def unwrapped(self) -> Space:
        """The whole space of which this is a part; itself where it is whole. Builders of networks are given it."""
        return self

    def build(self, genotype: Genotype, shape: DataShape) -> torch.nn.Module:
        """The network of a genotype, untrained, made by ``builder`` (the only place where torch is needed)."""
        module, _, function = self.builder.partition(":")
        return getattr(importlib.import_module(module), function)(self, genotype, shape)

    @property
    def fingerprint(self) -> str:
        """Name and constructor parameters: what a genotype's meaning depends on; enters every training seed.

        A space keeps its parameters in ``params``; one without parameters needs none.
        """
        return f"{self.name}{canonical_json(self.params)}"

    @property
    def size(self) -> int:
        """Number of genotypes, valid or not."""
        total = 1
        for choice in self.choices:
            total *= len(choice.options)
        return total

    def check(self, genotype: Sequence[int]) -> Genotype:
        """The genotype as a tuple of ints.

        Raises:
            GenotypeError: it is no sequence of whole numbers, has the wrong length, an index out of range, or is not
                valid in this space.
        """
        try:
            values = as_genotype(genotype)
        except TypeError as error:
            raise GenotypeError(
                f"a genotype is a sequence of whole numbers, got {genotype!r}.", field="genotype"
            ) from error
        if len(values) != len(self.choices):
            raise GenotypeError(
                f"space {self.name!r} has {len(self.choices)} choices, the genotype {len(values)} values.",
                field="genotype",
                fix=f"Choices: {', '.join(c.name for c in self.choices)}.",
            )
        for value, choice in zip(values, self.choices, strict=True):
            if not 0 <= value < len(choice.options):
                raise GenotypeError(
                    f"index {value} is out of range.",
                    field=f"genotype.{choice.name}",
                    valid=[f"{i} ({o})" for i, o in enumerate(choice.options)],
                )
        if not self.is_valid(values):
            raise GenotypeError(f"{values} is not a valid architecture of space {self.name!r}.", field="genotype")
        return values

    def sample(self, rng: np.random.Generator) -> Genotype:
        """A valid genotype, uniform over the valid ones."""
        sizes = np.array([len(c.options) for c in self.choices])
        for _ in range(MAX_TRIES):
            genotype = as_genotype(rng.integers(0, sizes))
            if self.is_valid(genotype):
                return genotype
        raise GenotypeError(
            f"no valid genotype in {MAX_TRIES} random draws from space {self.name!r}.",
            fix="Override sample() in a space whose valid genotypes are rare.",
        )

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        """A valid genotype in which ``changes`` random choices take another option.

        Raises:
            GenotypeError: no valid mutant was found.
        """
        free = self._free
        for _ in range(MAX_TRIES):
            mutant = self._changed(genotype, rng.choice(free, size=min(changes, len(free)), replace=False), rng)
            if self.is_valid(mutant):
                return mutant
        raise GenotypeError(f"no valid mutant of {genotype} in {MAX_TRIES} tries.", field="genotype")

    @property
    def mutation_rates(self) -> tuple[float, ...]:
        """Probability with which ``perturb`` changes each choice, unless it is told another."""
        return (1 / len(self.choices),) * len(self.choices)

    def perturb(
        self, genotype: Genotype, rng: np.random.Generator, rates: float | Sequence[float] | None = None
    ) -> Genotype:
        """A valid genotype in which every choice takes another option with a probability of its own, at least one does.

        Args:
            genotype: where to start.
            rng: what decides.
            rates: a probability for every choice, or one for all; by default ``mutation_rates``.

        Raises:
            GenotypeError: no valid mutant was found.
        """
        for _ in range(MAX_TRIES):
            mutant = self._changed(genotype, self._drawn(rng, rates), rng)
            if mutant != genotype and self.is_valid(mutant):
                return mutant
        raise GenotypeError(f"no valid mutant of {genotype} in {MAX_TRIES} tries.", field="genotype")

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """Uniform crossover: every choice from either parent; a parent when no valid child is found in 100 tries."""
        for _ in range(100):
            mask = rng.random(len(self.choices)) < 0.5
            child = tuple(a if m else b for a, b, m in zip(first, second, mask, strict=True))
            if self.is_valid(child):
                return child
        return first

    def neighbours(self, genotype: Genotype) -> Iterator[Genotype]:
        """Every valid genotype that differs in one choice."""
        for i, choice in enumerate(self.choices):
            for option in range(len(choice.options)):
                if option != genotype[i]:
                    other = (*genotype[:i], option, *genotype[i + 1 :])
                    if self.is_valid(other):
                        yield other

    def from_unit_cube(self, u: Sequence[float]) -> Genotype:
        """The genotype of a point of [0, 1)^d, as quasi-random sequences give; it may be invalid."""
        return tuple(min(int(x * len(c.options)), len(c.options) - 1) for x, c in zip(u, self.choices, strict=True))

    def one_hot(self, genotype: Genotype) -> np.ndarray:
        """float64 vector: one block a choice, 1 at the chosen option."""
        blocks = [np.eye(len(c.options))[g] for g, c in zip(genotype, self.choices, strict=True)]
        return np.concatenate(blocks)

    def genotypes(self) -> Iterator[Genotype]:
        """Every valid genotype, in lexicographic order; refuses above a million."""
        self._check_listable()
        for genotype in product(*(range(len(c.options)) for c in self.choices)):
            if self.is_valid(genotype):
                yield genotype

    def enumerate(self) -> Iterator[Genotype]:
        """One canonical genotype a key, in order of first appearance; refuses above a million genotypes."""
        seen: set[str] = set()
        for genotype in self.genotypes():
            key = self.key(genotype)
            if key not in seen:
                seen.add(key)
                yield self.canonical(genotype)

    def describe(self, genotype: Genotype) -> dict[str, object]:
        """Choice names and chosen options."""
        return {c.name: c.options[g] for g, c in zip(genotype, self.choices, strict=True)}

    def _check_listable(self) -> None:
        if self.size > MAX_ENUMERATION:
            raise GenotypeError(
                f"space {self.name!r} has {self.size:.3g} genotypes, more than {MAX_ENUMERATION:,}: too many.",
                fix="Sample it, or restrict it with RestrictedSpace(space, genotypes).",
            )

    @property
    def _free(self) -> list[int]:
        """Choices that have a choice."""
        return [i for i, choice in enumerate(self.choices) if len(choice.options) > 1]

    def _drawn(self, rng: np.random.Generator, rates: float | Sequence[float] | None) -> np.ndarray:
        """Choices to change, each by its own rate."""
        given = self.mutation_rates if rates is None else rates
        chosen = rng.random(len(self.choices)) < np.broadcast_to(np.asarray(given, dtype=float), (len(self.choices),))
        return np.flatnonzero(chosen)

    def _changed(self, genotype: Genotype, places: Iterable[int], rng: np.random.Generator) -> Genotype:
        """The genotype with another option, uniformly, at each place that has one."""
        mutant = list(genotype)
        for i in places:
            options = len(self.choices[i].options)
            if options > 1:
                mutant[i] = (mutant[i] + int(rng.integers(1, options))) % options
        return tuple(mutant)
