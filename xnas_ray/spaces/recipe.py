"""What can be searched of a recipe: genes, each a training setting with its levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.randomness import as_genotype
from xnas_ray.spaces.base import Choice
from xnas_ray.spaces.genes import FIELD, FIX, Gene, Times, gene_error, level_json, level_name
from xnas_ray.spaces.recipe_presets import RECIPES

PRESET = "preset"


class RecipeSpace:
    """Settings to be searched beside the architecture, each with its levels.

    Args:
        genes: the settings; they are kept in the order of their names, so that equal tables are equal spaces.

    Attributes:
        choices: one a gene.

    Raises:
        SpecError: no gene, two of one name, or ``times`` of a gene or a level that there is not.
    """

    def __init__(self, genes: Sequence[Gene]) -> None:
        """Sort the genes."""
        self.genes = tuple(sorted(genes, key=lambda gene: gene.name))
        names = [gene.name for gene in self.genes]
        if not names or len(set(names)) != len(names):
            raise SpecError(
                f"must name at least one setting, each once, got {names}.",
                field=FIELD,
                fix="Without any, name the architecture's space alone.",
            )
        self.choices = tuple(Choice(f"recipe.{g.name}", g.options, ordered=g.quantity) for g in self.genes)
        for gene in self.genes:
            if gene.times is not None:
                _check_times(gene, gene.times, self.genes)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | str) -> RecipeSpace:
        """The space of a specification: settings and how ``Gene.from_value`` describes their levels.

        Args:
            values: such a table; the name of one of ``recipe_presets.RECIPES``; or a table with that name as
                ``preset``, whose settings are those of the preset and what else the table has.

        Raises:
            SpecError: naming the setting at fault.
        """
        table = {PRESET: values} if isinstance(values, str) else values
        if not isinstance(table, Mapping):
            raise SpecError(f"must be a table of settings or a name, got {values!r}.", field=FIELD, fix=FIX)
        genes = dict(table)
        if PRESET in genes:
            name = genes.pop(PRESET)
            if not isinstance(name, str) or name not in RECIPES:
                raise SpecError(f"there is no recipe space {name!r}.", field=FIELD, got=name, valid=RECIPES)
            genes = {**RECIPES[name], **genes}
        return cls([Gene.from_value(str(name), value) for name, value in genes.items()])

    @property
    def params(self) -> dict[str, Any]:
        """All levels as JSON values; ``from_mapping`` of it gives the same settings."""
        return {
            gene.name: {
                "choice": list(gene.options),
                **({"times": {gene.times.gene: dict(gene.times.factors)}} if gene.times is not None else {}),
            }
            for gene in self.genes
        }

    @property
    def size(self) -> int:
        """Number of recipes."""
        return math.prod(len(gene.options) for gene in self.genes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coordinates that ``numeric`` gives."""
        return tuple(name for gene in self.genes for name in gene.columns)

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Uniform levels."""
        return as_genotype(rng.integers(0, [len(gene.options) for gene in self.genes]))

    def recipe(self, levels: Genotype) -> dict[str, Any]:
        """The settings of one level a gene, with what multiplies them."""
        values = self._values(levels)
        return {g.name: list(o) if isinstance(o, tuple) else o for g, o in zip(self.genes, values, strict=True)}

    def numeric(self, levels: Genotype) -> tuple[float, ...]:
        """Coordinates in [0, 1], in the order of ``columns``."""
        return tuple(x for gene, level in zip(self.genes, levels, strict=True) for x in gene.numeric(level))

    def format(self, levels: Genotype) -> str:
        """The settings as one JSON object."""
        values = self._values(levels)
        parts = [f'"{gene.name}":{level_json(value)}' for gene, value in zip(self.genes, values, strict=True)]
        return "{" + ",".join(parts) + "}"

    def levels(self, recipe: Mapping[str, Any]) -> Genotype:
        """The inverse of ``recipe``.

        Raises:
            GenotypeError: a setting is missing, unknown, or has a value that is no level.
        """
        names = [gene.name for gene in self.genes]
        for name in (*recipe, *names):
            if name not in names or name not in recipe:
                raise GenotypeError(f"a recipe here has exactly {names}.", field="recipe", got=name, valid=names)
        found = []
        for gene in self.genes:
            times = gene.times
            factor = 1.0 if times is None else times.factor(level_name(recipe[times.gene]))
            texts = [level_json(gene.scaled(level, factor)) for level in range(len(gene.options))]
            try:
                text = level_json(recipe[gene.name])
            except ValueError:
                text = ""
            if text not in texts:
                raise GenotypeError("no such level.", field=f"recipe.{gene.name}", got=text, valid=texts)
            found.append(texts.index(text))
        return tuple(found)

    def _values(self, levels: Genotype) -> list[Any]:
        """The value of every gene, multiplied where the level of another says so."""
        names = {gene.name: level_name(gene.options[i]) for gene, i in zip(self.genes, levels, strict=True)}
        return [
            gene.options[i] if gene.times is None else gene.scaled(i, gene.times.factor(names[gene.times.gene]))
            for gene, i in zip(self.genes, levels, strict=True)
        ]


def _check_times(gene: Gene, times: Times, genes: Sequence[Gene]) -> None:
    others = {other.name: other for other in genes if other.name != gene.name and other.times is None}
    if times.gene not in others:
        raise gene_error(
            gene.name,
            f"times names {times.gene!r}, which is no other gene with levels of its own.",
            got=times.gene,
            valid=others,
        )
    valid = [level_name(option) for option in others[times.gene].options]
    for level, _ in times.factors:
        if level not in valid:
            raise gene_error(
                gene.name, f"times names {level!r}, which is no level of {times.gene!r}.", got=level, valid=valid
            )
