"""One setting of a recipe and its levels, as specifications describe them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xnas_ray.errors import SpecError
from xnas_ray.randomness import canonical_json

LEVELS = 10
MAX_LEVELS = 1_000
KINDS = ("log", "linear", "int", "choice")
FIDELITY = ("epochs", "fidelity", "schedule_epochs")
_APART = math.sqrt(0.5)

FIELD = "space.params.recipe"
FIX = "For example lr = {log = [1e-3, 1.0], levels = 16}, batch_size = [32, 64, 128] or optimizer = ['sgd', 'adamw']."


@dataclass(frozen=True, slots=True)
class Times:
    """How another gene scales a gene's levels, such as a learning rate that is 4 times as high with SGD.

    Attributes:
        gene: the other gene.
        factors: levels of it as texts, and what they multiply by; 1 for all others.
    """

    gene: str
    factors: tuple[tuple[str, float], ...]

    @classmethod
    def from_value(cls, name: str, value: Any) -> Times:
        """Read ``{"optimizer": {"sgd": 4}}``, the ``times`` of the gene ``name``.

        Raises:
            SpecError: it is not of this form.
        """
        table = next(iter(value.values())) if isinstance(value, Mapping) and len(value) == 1 else None
        if not isinstance(table, Mapping) or not table or not all(_factor(factor) for factor in table.values()):
            raise gene_error(
                name,
                f"times must name one other gene and factors above 0 for its levels, got {value!r}.",
                fix="For example times = {optimizer = {sgd = 4}}.",
            )
        return cls(str(next(iter(value))), tuple(sorted((str(level), float(f)) for level, f in table.items())))

    def factor(self, level: str) -> float:
        """By what the levels are multiplied where the other gene has this level."""
        return dict(self.factors).get(level, 1.0)


@dataclass(frozen=True, slots=True)
class Gene:
    """One setting of a recipe.

    Attributes:
        name: the setting, a key of ``recipe`` in a specification.
        options: the levels, JSON values.
        times: what multiplies them, None for nothing; only a quantity has it.

    Raises:
        SpecError: the setting is no part of a recipe, or there is no level, or one is there twice.
    """

    name: str
    options: tuple[Any, ...]
    times: Times | None = None

    def __post_init__(self) -> None:
        """Refuse what no search could use."""
        if self.name in FIDELITY:
            raise gene_error(
                self.name,
                "how long candidates train is the search's fidelity, not a part of the recipe.",
                fix="Set fidelity and schedule_epochs beside the space.",
            )
        if not self.options:
            raise gene_error(self.name, "a gene needs at least one level.")
        texts = [self.text(i) for i in range(len(self.options))]
        if len(set(texts)) != len(texts):
            raise gene_error(self.name, f"a level is there twice: {', '.join(texts)}.")
        if self.times is not None and not self.quantity:
            raise gene_error(
                self.name, "only levels that are rising numbers can be multiplied.", fix="Leave out times."
            )

    @classmethod
    def from_value(cls, name: str, value: Any) -> Gene:
        """The gene that a specification describes.

        Args:
            name: the setting.
            value: ``{"log": [low, high], "levels": n}`` for numbers that are evenly spaced by their ratio, the same
                with ``linear`` by their difference, with ``int`` for whole ones; ``{"choice": [...]}``, or a list of
                values alone. A table may have ``times``, such as ``{"optimizer": {"sgd": 4}}``, too: with that level of
                that gene every level of this one counts 4 times.

        Raises:
            SpecError: it is none of these, or a number is out of range.
        """
        table = {"choice": list(value)} if isinstance(value, (list, tuple)) else value
        kinds = [kind for kind in KINDS if isinstance(table, Mapping) and kind in table]
        if len(kinds) != 1 or not isinstance(table[kinds[0]], (list, tuple)):
            raise gene_error(
                name, f"must be a list of values, or a table with one of {', '.join(KINDS)}, got {value!r}.", fix=FIX
            )
        (kind,) = kinds
        allowed = (kind, "times") if kind == "choice" else (kind, "levels", "times")
        for key in table:
            if key not in allowed:
                raise SpecError("unknown key.", field=f"{FIELD}.{name}", got=key, valid=allowed)
        times = Times.from_value(name, table["times"]) if "times" in table else None
        if kind == "choice":
            return cls(name, tuple(_plain(name, option) for option in table[kind]), times)
        return cls(name, _levels(name, kind, table[kind], table.get("levels")), times)

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
        return level_json(self.options[level])

    def scaled(self, level: int, factor: float) -> Any:
        """The value of a level times a factor, cut to six digits; the level itself where the factor is 1."""
        return self.options[level] if factor == 1 else float(f"{self.options[level] * factor:.6g}")


def _factor(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def level_json(value: Any) -> str:
    """A level in the one form that equal values have."""
    return canonical_json({"": value})[4:-1]


def level_name(value: Any) -> str:
    """A level as the key of a table: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else level_json(value)


def _levels(name: str, kind: str, bounds: Sequence[Any], levels: Any) -> tuple[float, ...]:
    """Evenly spaced levels; floats are cut to six digits, so that every machine has the same short ones."""
    whole = kind == "int"
    for bound in bounds:
        number = isinstance(bound, int) or (isinstance(bound, float) and math.isfinite(bound) and not whole)
        if isinstance(bound, bool) or not number:
            raise gene_error(name, f"bounds must be {'whole ' if whole else ''}numbers, got {bound!r}.")
    if len(bounds) != 2 or not bounds[0] < bounds[1] or (kind == "log" and bounds[0] <= 0):
        positive = " above 0" if kind == "log" else ""
        raise gene_error(name, f"{kind} needs two bounds{positive}, the lower first, got {list(bounds)}.")
    low, high = bounds
    most = min(MAX_LEVELS, high - low + 1) if whole else MAX_LEVELS
    count = min(LEVELS, most) if levels is None else levels
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= most:
        raise gene_error(name, f"levels must be a whole number from 2 to {most}, got {levels!r}.")
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
        raise gene_error(name, f"a level must be a number, a text, true, false or a list of these, got {option!r}.")
    return option


def gene_error(name: str, message: str, **details: Any) -> SpecError:
    """An error in the description of a gene."""
    return SpecError(message, field=f"{FIELD}.{name}", **details)
