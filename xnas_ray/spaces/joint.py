"""Architectures and recipes searched together: how a network is trained is part of what is found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.randomness import canonical_json
from xnas_ray.spaces.base import MAX_TRIES, DataShape, Space
from xnas_ray.spaces.operators import Operator, Value
from xnas_ray.spaces.recipe import RecipeSpace
from xnas_ray.spaces.registry import SPACES, register_space

if TYPE_CHECKING:
    import networkx as nx
    from torch import nn


ARCHITECTURE = "space.params.architecture"


@register_space("joint")
class JointSpace(Space):
    """Every pair of an architecture and a recipe.

    A genotype is the architecture's, followed by one level a gene. Two candidates are the same when both parts are:
    the key holds the recipe. What a recipe does not say is the search's own recipe.

    Args:
        architecture: a space, or the name and parameters of a registered one; in a specification also ``"task"``, the
            task's own, which is the default there.
        recipe: a ``RecipeSpace``, or what ``RecipeSpace.from_mapping`` reads: a table, or the name of a preset such as
            ``"nars"``.

    Attributes:
        architectures: the space of architectures.
        recipes: the space of recipes.

    Raises:
        SpecError: ``architecture`` names no space, or a gene is malformed; it is named.
    """

    name = "joint"
    builder = "xnas_ray.spaces.joint:build"

    def __init__(
        self, *, architecture: Space | str | Mapping[str, Any], recipe: RecipeSpace | Mapping[str, Any] | str
    ) -> None:
        """Make both spaces."""
        self.architectures = architecture if isinstance(architecture, Space) else registered_space(architecture)
        self.recipes = recipe if isinstance(recipe, RecipeSpace) else RecipeSpace.from_mapping(recipe)
        self.choices = (*self.architectures.choices, *self.recipes.choices)
        self.params = {
            "architecture": {"name": self.architectures.name, "params": dict(self.architectures.params)},
            "recipe": self.recipes.params,
        }

    @property
    def fingerprint(self) -> str:
        """The architectures' fingerprint and every level of every gene."""
        parts = {"architecture": self.architectures.fingerprint, "recipe": self.recipes.params}
        return f"{self.name}{canonical_json(parts)}"

    @property
    def size(self) -> int:
        """Number of pairs, valid or not."""
        return self.architectures.size * self.recipes.size

    @property
    def mutation_rates(self) -> tuple[float, ...]:
        """The architectures' rates, and for every gene one over their number, at most a half.

        One gene alone would else change always, and no mutant would differ in its architecture only.
        """
        genes = len(self.recipes.genes)
        return (*self.architectures.mutation_rates, *([min(0.5, 1 / genes)] * genes))

    def split(self, genotype: Genotype) -> tuple[Genotype, Genotype]:
        """The architecture's genotype and the levels of the genes."""
        genes = len(self.recipes.genes)
        return genotype[:-genes], genotype[-genes:]

    def is_valid(self, genotype: Genotype) -> bool:
        """Whether the architecture is valid and every level exists."""
        return super().is_valid(genotype) and self.architectures.is_valid(self.split(genotype)[0])

    def canonical(self, genotype: Genotype) -> Genotype:
        """The architecture's canonical form, with the same recipe."""
        architecture, levels = self.split(self._tuple(genotype))
        return (*self.architectures.canonical(architecture), *levels)

    def key(self, genotype: Genotype) -> str:
        """The architecture's key and the recipe as JSON."""
        architecture, levels = self.split(self._tuple(genotype))
        return f"{self.architectures.key(architecture)} {self.recipes.format(levels)}"

    def recipe(self, genotype: Genotype) -> dict[str, Any]:
        """The settings that the genotype decides, on top of those that the architecture's space decides."""
        architecture, levels = self.split(self._tuple(genotype))
        return {**self.architectures.recipe(architecture), **self.recipes.recipe(levels)}

    def numeric(self, genotype: Genotype) -> tuple[float, ...]:
        """The architecture's coordinates, then the recipe's in the order of ``recipes.columns``."""
        architecture, levels = self.split(self._tuple(genotype))
        return (*self.architectures.numeric(architecture), *self.recipes.numeric(levels))

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """The architecture's."""
        return self.architectures.graphs(self.split(self._tuple(genotype))[0])

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """The architecture's."""
        return self.architectures.cost(self.split(self._tuple(genotype))[0], shape)

    def costs(self, genotypes: Sequence[Genotype], shape: DataShape) -> tuple[np.ndarray, np.ndarray]:
        """The architectures'."""
        return self.architectures.costs(self._architectures(genotypes), shape)

    def operators(self, genotype: Genotype, shape: DataShape) -> tuple[Operator, ...]:
        """The architecture's."""
        return self.architectures.operators(self.split(self._tuple(genotype))[0], shape)

    def add_up(self, genotypes: Sequence[Genotype], shape: DataShape, value: Value) -> np.ndarray:
        """The architectures'."""
        return self.architectures.add_up(self._architectures(genotypes), shape, value)

    def covering(self) -> Iterator[Genotype] | None:
        """The architectures', each with one recipe."""
        found, levels = self.architectures.covering(), (0,) * len(self.recipes.genes)
        return None if found is None else ((*architecture, *levels) for architecture in found)

    def _architectures(self, genotypes: Sequence[Genotype]) -> list[Genotype]:
        """The architectures of many pairs.

        Raises:
            GenotypeError: one does not belong to the space, by its recipe; architectures are not looked at.
        """
        split = [self.split(tuple(genotype)) for genotype in genotypes]
        options = [len(choice.options) for choice in self.recipes.choices]
        for genotype, (_, levels) in zip(genotypes, split, strict=True):
            if len(genotype) != len(self.choices) or not all(0 <= i < n for i, n in zip(levels, options, strict=True)):
                self.check(genotype)
        return [architecture for architecture, _ in split]

    def format(self, genotype: Genotype) -> str:
        """The architecture's text, a space, and the recipe as JSON."""
        architecture, levels = self.split(self._tuple(genotype))
        return f"{self.architectures.format(architecture)} {self.recipes.format(levels)}"

    def parse(self, text: str) -> Genotype:
        """The genotype of such a text.

        Raises:
            GenotypeError: the architecture or the recipe is malformed, or a setting is missing.
        """
        architecture, brace, rest = text.strip().rpartition(" {") if isinstance(text, str) else ("", "", "")
        try:
            recipe = json.loads(f"{{{rest}") if brace else None
        except (ValueError, RecursionError):
            recipe = None
        if not isinstance(recipe, dict):
            first = self.recipes.format((0,) * len(self.recipes.genes))
            raise GenotypeError(
                f"{text!r} does not end with a recipe.", field="architecture", fix=f"Append one, such as {first}"
            )
        return (*self.architectures.parse(architecture), *self.recipes.levels(recipe))

    # ---- how genotypes are made -------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Genotype:
        """A sample of the architectures and uniform levels."""
        return (*self.architectures.sample(rng), *self.recipes.sample(rng))

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        """``changes`` random choices change: those of the architecture in the way of its own space.

        Where the architecture has no mutant, settings change instead.

        Raises:
            GenotypeError: nothing can change.
        """
        architecture, levels = self.split(genotype)
        order = [int(i) for i in rng.permutation(self._free)]
        inner = sum(i < len(architecture) for i in order[:changes])
        genes = [i for i in order if i >= len(architecture)]
        changed = genes[: changes - inner]
        if inner:
            try:
                architecture = self.architectures.mutate(architecture, rng, inner)
            except GenotypeError:  # such as the only member of a restricted space
                changed = genes[:changes]
        mutant = self._changed((*architecture, *levels), changed, rng)
        if mutant == genotype:
            raise GenotypeError(f"no valid mutant of {genotype}.", field="genotype")
        return mutant

    def perturb(
        self, genotype: Genotype, rng: np.random.Generator, rates: float | Sequence[float] | None = None
    ) -> Genotype:
        """Every choice changes with a probability of its own: those of the architecture in the way of its own space.

        Raises:
            GenotypeError: no valid mutant was found.
        """
        given = self.mutation_rates if rates is None else rates
        architecture, levels = self.split(genotype)
        inner = given if isinstance(given, (int, float)) else given[: len(architecture)]
        for _ in range(MAX_TRIES):
            # What has a single option, as a fixed architecture has, cannot change.
            places = [int(i) for i in self._drawn(rng, given) if len(self.choices[int(i)].options) > 1]
            genes = [i for i in places if i >= len(architecture)]
            found = architecture
            if len(genes) < len(places):
                found = self.architectures.perturb(architecture, rng, inner)
            mutant = self._changed((*found, *levels), genes, rng)
            if mutant != genotype:
                return mutant
        raise GenotypeError(f"no valid mutant of {genotype} in {MAX_TRIES} tries.", field="genotype")

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """The architectures' crossover, and every level from either parent."""
        (one, levels), (other, more) = self.split(first), self.split(second)
        mask = rng.random(len(levels)) < 0.5
        mixed = (a if m else b for a, b, m in zip(levels, more, mask, strict=True))
        return (*self.architectures.crossover(one, other, rng), *mixed)

    def genotypes(self) -> Iterator[Genotype]:
        """Every valid pair, architecture by architecture; refuses above a million."""
        self._check_listable()
        for architecture in self.architectures.genotypes():
            for levels in product(*(range(len(choice.options)) for choice in self.recipes.choices)):
                yield (*architecture, *levels)

    def _tuple(self, genotype: Genotype) -> Genotype:
        """The genotype itself when it is one; anything else is checked, and refused if it is none.

        Raises:
            GenotypeError: it does not belong to the space.
        """
        return genotype if isinstance(genotype, tuple) and self.is_valid(genotype) else self.check(genotype)


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype's architecture.

    Raises:
        SpecError: the space is not a joint one.
    """
    whole = space.unwrapped
    if not isinstance(whole, JointSpace):
        raise SpecError(f"builds architectures of 'joint' spaces, not of {whole.name!r}.", field="space.name")
    return whole.architectures.build(whole.split(space.check(genotype))[0], shape)


def named_space(given: object) -> tuple[str, dict[str, Any]]:
    """Name and parameters of a space that a specification names, by its name alone or by a table of both.

    Raises:
        SpecError: it is neither.
    """
    table: Any = {"name": given} if isinstance(given, str) else given
    known = isinstance(table, Mapping) and isinstance(table.get("name"), str) and not set(table) - {"name", "params"}
    if not known or not isinstance(table.get("params", {}), Mapping):
        raise SpecError(
            f"must be a name, or a table with name and params, got {given!r}.",
            field=ARCHITECTURE,
            fix='Write architecture = "nasbench201", or {name = "nasbench201", params = {channels = 8}}.',
        )
    return table["name"], dict(table.get("params", {}))


def registered_space(architecture: object) -> Space:
    """The space that a specification names, made with the parameters that it gives.

    Raises:
        SpecError: see ``named_space``.
        UnknownNameError: no such space is registered, or it does not take these parameters.
    """
    name, params = named_space(architecture)
    return SPACES.create(name, params, field=ARCHITECTURE)
