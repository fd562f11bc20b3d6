"""Introspectability by layer and by pair of classes, as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.report.material import Material

if TYPE_CHECKING:
    import pandas as pd

LAYERS, PAIRS = "introspectability_layers", "introspectability_pairs"
"""Kinds of explanations (see ``objectives.introspectability``)."""

MAX_CLASSES = 60
"""Classes of a map: with more of them, those that are nearest to another one, which are the ones to look at."""


@dataclass(frozen=True, slots=True)
class LayerMap:
    """Introspectability of layers.

    Attributes:
        trials: one a row.
        layers: names, one a column, in the order of the networks.
        scores: trials x layers, 0 to 2; NaN where a network lacks the layer or nothing in it is active.
    """

    trials: tuple[int, ...]
    layers: tuple[str, ...]
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class PairMap:
    """Cosine distances between the mean activations of classes.

    Attributes:
        trials: of which there are distances.
        classes: names.
        of_classes: how many classes there are; ``classes`` may be fewer.
        distances: trials x classes x classes, symmetric, NaN on the diagonal and where there is none.
    """

    trials: tuple[int, ...]
    classes: tuple[str, ...]
    of_classes: int
    distances: np.ndarray


def layer_map(material: Material, trials: Sequence[int]) -> LayerMap | None:
    """Scores of the layers of some trials; None where the search has none."""
    table = _of(material, LAYERS, trials)
    if table is None:
        return None
    rows = [trial for trial in trials if trial in set(table["trial"])]
    layers = _merged([group["layer"].tolist() for _, group in table.groupby("trial", sort=False)])
    scores = np.full((len(rows), len(layers)), np.nan)
    row_of, column_of = {t: i for i, t in enumerate(rows)}, {name: i for i, name in enumerate(layers)}
    for trial, layer, score in zip(table["trial"], table["layer"], table["score"], strict=True):
        scores[row_of[trial], column_of[layer]] = score
    return LayerMap(tuple(rows), tuple(layers), scores)


def pair_map(material: Material, trials: Sequence[int]) -> PairMap | None:
    """Distances between the classes for some trials; None where the search has none."""
    table = _of(material, PAIRS, trials)
    if table is None:
        return None
    known = list(dict.fromkeys([*map(str, table["first"]), *map(str, table["second"])]))
    classes = _nearest(table, known) if len(known) > MAX_CLASSES else known
    rows = [trial for trial in trials if trial in set(table["trial"])]
    distances = np.full((len(rows), len(classes), len(classes)), np.nan)
    row_of, place = {t: i for i, t in enumerate(rows)}, {name: i for i, name in enumerate(classes)}
    for trial, first, second, distance in zip(
        table["trial"], map(str, table["first"]), map(str, table["second"]), table["distance"], strict=True
    ):
        if first in place and second in place:
            i, j = place[first], place[second]
            distances[row_of[trial], i, j] = distances[row_of[trial], j, i] = distance
    return PairMap(tuple(rows), tuple(classes), len(known), distances)


def _of(material: Material, kind: str, trials: Sequence[int]) -> pd.DataFrame | None:
    table = material.tables.get(kind)
    if table is None or "trial" not in table:
        return None
    table = table[table["trial"].isin(trials)]
    return table if len(table) else None


def _merged(sequences: Sequence[Sequence[str]]) -> list[str]:
    """One order of names that keeps to the first sequence and puts the others' new names after their predecessors."""
    order: list[str] = []
    for sequence in sequences:
        at = 0
        for name in sequence:
            if name in order:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                at += 1
    return order


def _nearest(table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    mean = table.assign(first=table["first"].map(str), second=table["second"].map(str))
    mean = mean.groupby(["first", "second"])["distance"].mean().sort_values()
    kept = dict.fromkeys(name for pair in mean.index for name in pair)
    return [name for name in classes if name in set(list(kept)[:MAX_CLASSES])]
