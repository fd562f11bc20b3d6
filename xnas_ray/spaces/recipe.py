"""What can be searched of a recipe: genes, each a training setting with its levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.randomness import as_genotype, canonical_json
from xnas_ray.spaces.base import Choice

LEVELS = 10
MAX_LEVELS = 1_000
KINDS = ("log", "linear", "int", "choice")
FIDELITY = ("epochs", "fidelity", "schedule_epochs")
_APART = math.sqrt(0.5)


@dataclass(frozen=True, slots=True)
class Gene:
    """One setting of a recipe.

    Attributes:
        name: the setting, a key of ``recipe`` in a specification.
        options: the levels, JSON values.

    Raises:
        SpecError: the setting is no part of a recipe, or there is no level, or one is there twice.
    """

    name: str
    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Refuse what no search could use."""
        if self.name in FIDELITY:
            raise _error(
                self.name,
                "how long candidates train is the search's fidelity, not a part of the recipe.",
                fix="Set fidelity and schedule_epochs beside the space.",
            )
        if not self.options:
            raise _error(self.name, "a gene needs at least one level.")
        texts = [self.text(i) for i in range(len(self.options))]
        if len(set(texts)) != len(texts):
            raise _error(self.name, f"a level is there twice: {', '.join(texts)}.")

    @classmethod
    def from_value(cls, name: str, value: Any) -> Gene:
        """The gene that a specification describes.

        Args:
            name: the setting.
            value: ``{"log": [low, high], "levels": n}`` for numbers that are evenly spaced by their ratio, the same
                with ``linear`` by their difference, with ``int`` for whole ones; ``{"choice": [...]}``, or a list of
                values alone.

        Raises:
            SpecError: it is none of these, or a number is out of range.
        """
        table = {"choice": list(value)} if isinstance(value, (list, tuple)) else value
        kinds = [kind for kind in KINDS if isinstance(table, Mapping) and kind in table]
        if len(kinds) != 1 or not isinstance(table[kinds[0]], (list, tuple)):
            raise _error(
                name, f"must be a list of values, or a table with one of {', '.join(KINDS)}, got {value!r}.", fix=_FIX
            )
        (kind,) = kinds
        allowed = (kind,) if kind == "choice" else (kind, "levels")
        for key in table:
            if key not in allowed:
                raise SpecError("unknown key.", field=f"{_FIELD}.{name}", got=key, valid=allowed)
        if kind == "choice":
            return cls(name, tuple(_plain(name, option) for option in table[kind]))
        return cls(name, _levels(name, kind, table[kind], table.get("levels")))

    @property
    def quantity(self) -> bool:
        """Whether the levels are numbers in ascending order."""
        numbers = [o for o in self.options if isinstance(o, (int, float)) and not isinstance(o, bool)]
        return len(numbers) == len(self.options) and numbers == sorted(numbers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its coordinates: itself, or one an option."""
        if self.quantity:
            return (self.name,)
        return tuple(f"{self.name}={self.text(i)}" for i in range(len(self.options)))

    def numeric(self, level: int) -> tuple[float, ...]:
        """Coordinates in [0, 1] of a level.

        A quantity is one coordinate, its place among the levels: these are evenly spaced on the scale that was chosen
        for them. Anything else is one coordinate an option, 0 but for the chosen one's sqrt(1/2), so that any two
        options are at distance 1.
        """
        if self.quantity:
            return (level / max(1, len(self.options) - 1),)
        return tuple(_APART if i == level else 0.0 for i in range(len(self.options)))

    def text(self, level: int) -> str:
        """A level as JSON, in the one form that equal values have."""
        return canonical_json({"": self.options[level]})[4:-1]


class RecipeSpace:
    """Settings to be searched beside the architecture, each with its levels.

    Args:
        genes: the settings; they are kept in the order of their names, so that equal tables are equal spaces.

    Attributes:
        choices: one a gene.

    Raises:
        SpecError: no gene, or two of one name.
    """

    def __init__(self, genes: Sequence[Gene]) -> None:
        """Sort the genes."""
        self.genes = tuple(sorted(genes, key=lambda gene: gene.name))
        names = [gene.name for gene in self.genes]
        if not names or len(set(names)) != len(names):
            raise SpecError(
                f"must name at least one setting, each once, got {names}.",
                field=_FIELD,
                fix="Without any, name the architecture's space alone.",
            )
        self.choices = tuple(Choice(f"recipe.{g.name}", g.options, ordered=g.quantity) for g in self.genes)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RecipeSpace:
        """The space of a specification: settings and how ``Gene.from_value`` describes their levels.

        Raises:
            SpecError: naming the setting at fault.
        """
        if not isinstance(values, Mapping):
            raise SpecError(f"must be a table of settings, got {values!r}.", field=_FIELD, fix=_FIX)
        return cls([Gene.from_value(str(name), value) for name, value in values.items()])

    @property
    def params(self) -> dict[str, Any]:
        """All levels as JSON values; ``from_mapping`` of it gives the same settings."""
        return {gene.name: {"choice": list(gene.options)} for gene in self.genes}

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
        """The settings of one level a gene."""
        chosen = zip(self.genes, levels, strict=True)
        return {g.name: list(o) if isinstance(o := g.options[i], tuple) else o for g, i in chosen}

    def numeric(self, levels: Genotype) -> tuple[float, ...]:
        """Coordinates in [0, 1], in the order of ``columns``."""
        return tuple(x for gene, level in zip(self.genes, levels, strict=True) for x in gene.numeric(level))

    def format(self, levels: Genotype) -> str:
        """The settings as one JSON object."""
        parts = [f'"{gene.name}":{gene.text(level)}' for gene, level in zip(self.genes, levels, strict=True)]
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
            texts = [gene.text(level) for level in range(len(gene.options))]
            try:
                text = canonical_json({"": recipe[gene.name]})[4:-1]
            except ValueError:
                text = ""
            if text not in texts:
                raise GenotypeError("no such level.", field=f"recipe.{gene.name}", got=text, valid=texts)
            found.append(texts.index(text))
        return tuple(found)


_FIELD = "space.params.recipe"
_FIX = "For example lr = {log = [1e-3, 1.0], levels = 16}, batch_size = [32, 64, 128] or optimizer = ['sgd', 'adamw']."


def _levels(name: str, kind: str, bounds: Sequence[Any], levels: Any) -> tuple[float, ...]:
    """Evenly spaced levels; floats are cut to six digits, so that every machine has the same short ones."""
    whole = kind == "int"
    for bound in bounds:
        number = isinstance(bound, int) or (isinstance(bound, float) and math.isfinite(bound) and not whole)
        if isinstance(bound, bool) or not number:
            raise _error(name, f"bounds must be {'whole ' if whole else ''}numbers, got {bound!r}.")
    if len(bounds) != 2 or not bounds[0] < bounds[1] or (kind == "log" and bounds[0] <= 0):
        positive = " above 0" if kind == "log" else ""
        raise _error(name, f"{kind} needs two bounds{positive}, the lower first, got {list(bounds)}.")
    low, high = bounds
    most = min(MAX_LEVELS, high - low + 1) if whole else MAX_LEVELS
    count = min(LEVELS, most) if levels is None else levels
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= most:
        raise _error(name, f"levels must be a whole number from 2 to {most}, got {levels!r}.")
    shares = [i / (count - 1) for i in range(count)]
    if whole:
        return tuple(round(low + (high - low) * share) for share in shares)
    inner = [low * (high / low) ** s if kind == "log" else low + (high - low) * s for s in shares[1:-1]]
    return (float(low), *(float(f"{value:.6g}") for value in inner), float(high))


def _plain(name: str, option: Any) -> Any:
    """A JSON value that can be compared: lists become tuples."""
    if isinstance(option, (list, tuple)):
        return tuple(_plain(name, inner) for inner in option)
    if not isinstance(option, (str, bool, int, float)) or (isinstance(option, float) and not math.isfinite(option)):
        raise _error(name, f"a level must be a number, a text, true, false or a list of these, got {option!r}.")
    return option


def _error(name: str, message: str, **details: Any) -> SpecError:
    return SpecError(message, field=f"{_FIELD}.{name}", **details)
