"""What a differentiable search was like: its supernets epoch by epoch, choice by choice, and what was read off them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.report.material import Material

if TYPE_CHECKING:
    import pandas as pd

CURVES, STRENGTHS, DERIVED, METHODS = "supernet", "strengths", "derived", "derived_methods"
"""Kinds of explanations: what epochs were like, how strongly methods speak for options, what came of architectures."""

DISCRETIZATION = "discretization"
"""What was read off, as genotypes; ``derived`` says more."""

COLUMNS = {
    CURVES: ("supernet", "epoch", "name", "value"),
    STRENGTHS: ("supernet", "method", "decision", "option", "strength", "chosen"),
    DERIVED: ("supernet", "method", "architecture", "evaluated_by"),
    METHODS: ("method", "supernets"),
}
"""What a table of each kind has at least; another one of that name is shown as the table that it is."""

MAX_PROBABILITIES = 200_000
"""Of a search; where there are more, fewer epochs are shown."""
PLACES = 4

_ENTROPY, _PROBABILITY = "entropy/", "p/"
_AXES = {
    "objective": "loss",
    "tau": "temperature",
    "lr": "learning rate",
    "flops": "expected FLOPs",
    "params": "expected parameters",
}
_SUFFIXES = {"_loss": "loss", "_accuracy": "accuracy [%]"}
_ENTROPIES = "entropy of the choices [nats]"


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of a supernet, epoch by epoch.

    Attributes:
        supernet: which.
        axis: quantities with the same one can be compared (``"loss"``).
        name: of the quantity (``"train_loss"``).
        epochs: from 1, ascending; those that have the quantity.
        values: one an epoch.
    """

    supernet: int
    axis: str
    name: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Probabilities:
    """How much of each option a supernet has, epoch by epoch.

    Attributes:
        supernet: which.
        epochs: those that are shown, ascending; the first and the last are among them.
        decisions: names of the choices.
        options: of each of them.
        values: all options, decision after decision, x epochs; to four decimal places.
    """

    supernet: int
    epochs: tuple[int, ...]
    decisions: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Strengths:
    """How strongly a method speaks for each option of a supernet.

    Attributes:
        supernet: which.
        method: its label.
        decisions: names of the choices.
        options: of each of them.
        values: of each of them a number an option, NaN for what was left out.
        chosen: of each of them the place of the option that the architecture has, None where it has none of them.
    """

    supernet: int
    method: str
    decisions: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float, ...], ...]
    chosen: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class DerivedArchitecture:
    """What became of an architecture that was read off.

    Attributes:
        supernet: which.
        method: how it was read off.
        architecture: as the field writes it.
        trial: that trained it; None before that has ended.
        values: of the search's objectives; NaN before that.
    """

    supernet: int
    method: str
    architecture: str
    trial: int | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """What the architectures of a method are worth.

    Attributes:
        method: its label.
        supernets: how many of its architectures were measured, one a supernet.
        means: of the search's objectives.
        stds: of a sample; NaN of one supernet.
    """

    method: str
    supernets: int
    means: tuple[float, ...]
    stds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SupernetInfo:
    """What a report shows of a differentiable search; what is not known yet is empty.

    Attributes:
        kinds: kinds of explanations that need not be shown beside it.
        lines: supernet after supernet.
        probabilities: one a supernet.
        strengths: in the order in which they were read off.
        derived: the same.
        methods: one a method.
    """

    kinds: frozenset[str]
    lines: tuple[Line, ...]
    probabilities: tuple[Probabilities, ...]
    strengths: tuple[Strengths, ...]
    derived: tuple[DerivedArchitecture, ...]
    methods: tuple[MethodSummary, ...]


def supernet_info(material: Material) -> SupernetInfo | None:
    """What to show of the supernets of a search; None where it has none."""
    known = {kind: table for kind, names in COLUMNS.items() if (table := _of(material, kind, names)) is not None}
    if not known:
        return None
    names = [aim.name for aim in material.aims]
    curves = known.get(CURVES)
    by_supernet = {} if curves is None else _by_supernet(curves)
    most = max(2, MAX_PROBABILITIES // max(1, sum(_options(wide) for wide in by_supernet.values())))
    return SupernetInfo(
        kinds=frozenset([*known, *([DISCRETIZATION] if DERIVED in known else [])]),
        lines=tuple(line for number, wide in by_supernet.items() for line in _lines(number, wide)),
        probabilities=tuple(
            one for number, wide in by_supernet.items() if (one := _probabilities(number, wide, most)) is not None
        ),
        strengths=tuple(_strengths(known[STRENGTHS])) if STRENGTHS in known else (),
        derived=tuple(_derived(known[DERIVED], names)) if DERIVED in known else (),
        methods=tuple(_methods(known[METHODS], names)) if METHODS in known else (),
    )


def _of(material: Material, kind: str, names: Sequence[str]) -> pd.DataFrame | None:
    table = material.tables.get(kind)
    return table if table is not None and len(table) and set(names) <= set(table) else None


# ---- epochs ----------------------------------------------------------------------------------------------------------


def _by_supernet(curves: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """By supernet the epochs x quantities; the names keep their order."""
    found = {}
    for number, rows in curves.groupby("supernet"):
        wide = rows.pivot_table(index="epoch", columns="name", values="value", aggfunc="last", sort=False)
        found[int(number)] = wide.sort_index()
    return found


def _lines(number: int, wide: pd.DataFrame) -> list[Line]:
    """What is one number an epoch; of the entropies the mean, the lowest and the highest of all choices."""
    found = []
    for name in wide:
        if not str(name).startswith((_ENTROPY, _PROBABILITY)):
            found.append(_line(number, _axis(str(name)), str(name), wide[name]))
    entropies = wide[[name for name in wide if str(name).startswith(_ENTROPY)]]
    if entropies.shape[1]:
        for how in ("mean", "min", "max"):
            found.append(_line(number, _ENTROPIES, f"{how} entropy", getattr(entropies, how)(axis=1)))
    return found


def _line(number: int, axis: str, name: str, column: pd.Series) -> Line:
    known = column.dropna()
    return Line(number, axis, name, tuple(map(int, known.index)), tuple(map(float, known)))


def _axis(name: str) -> str:
    return _AXES.get(name) or next((axis for end, axis in _SUFFIXES.items() if name.endswith(end)), name)


def _options(wide: pd.DataFrame) -> int:
    return sum(str(name).startswith(_PROBABILITY) for name in wide)


def _probabilities(number: int, wide: pd.DataFrame, most: int) -> Probabilities | None:
    """Of ``most`` epochs, evenly spread."""
    decisions = [str(name).removeprefix(_ENTROPY) for name in wide if str(name).startswith(_ENTROPY)]
    options: dict[str, list[str]] = {name: [] for name in decisions}
    for name in wide:
        if str(name).startswith(_PROBABILITY) and (split := _split(str(name), options)):
            options[split[0]].append(split[1])
    if not any(options.values()):
        return None
    columns = [f"{_PROBABILITY}{decision}/{option}" for decision, own in options.items() for option in own]
    rows = np.unique(np.linspace(0, len(wide) - 1, min(most, len(wide))).round().astype(int))
    shown = wide.iloc[rows]
    return Probabilities(
        number,
        tuple(map(int, shown.index)),
        tuple(options),
        tuple(tuple(own) for own in options.values()),
        shown[columns].to_numpy(dtype=float).T.round(PLACES),
    )


def _split(name: str, decisions: dict[str, list[str]]) -> tuple[str, str] | None:
    """Decision and option of a probability's name: both may have slashes of their own."""
    parts = name.removeprefix(_PROBABILITY).split("/")
    for i in range(1, len(parts)):
        if "/".join(parts[:i]) in decisions:
            return "/".join(parts[:i]), "/".join(parts[i:])
    return None


# ---- what was read off -----------------------------------------------------------------------------------------------


def _strengths(table: pd.DataFrame) -> list[Strengths]:
    found = []
    for (number, method), rows in table.groupby(["supernet", "method"], sort=False):
        options: list[tuple[str, ...]] = []
        values: list[tuple[float, ...]] = []
        chosen: list[int | None] = []
        groups = rows.groupby("decision", sort=False)
        for _, own in groups:
            options.append(tuple(map(str, own["option"])))
            values.append(tuple(map(float, own["strength"])))
            taken = np.flatnonzero(own["chosen"].to_numpy(dtype=bool))
            chosen.append(int(taken[0]) if len(taken) else None)
        decisions = tuple(str(name) for name, _ in groups)
        found.append(Strengths(int(number), str(method), decisions, tuple(options), tuple(values), tuple(chosen)))
    return found


def _derived(table: pd.DataFrame, names: Sequence[str]) -> list[DerivedArchitecture]:
    return [
        DerivedArchitecture(
            int(row["supernet"]),
            str(row["method"]),
            str(row["architecture"]),
            None if np.isnan(row["evaluated_by"]) else int(row["evaluated_by"]),
            tuple(float(row.get(name, np.nan)) for name in names),
        )
        for row in table.astype({"evaluated_by": "float64"}).to_dict("records")
    ]


def _methods(table: pd.DataFrame, names: Sequence[str]) -> list[MethodSummary]:
    return [
        MethodSummary(
            str(row["method"]),
            int(row["supernets"]),
            tuple(float(row.get(f"{name}_mean", np.nan)) for name in names),
            tuple(float(row.get(f"{name}_std", np.nan)) for name in names),
        )
        for row in table.to_dict("records")
    ]
