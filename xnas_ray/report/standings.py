"""What a supernet says of options, as standings from 0 to 1, and whether effects and trials bear it out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Choice
from xnas_ray.surrogates.calibration import spearman

if TYPE_CHECKING:
    import pandas as pd

PERMUTATIONS = 1_999
FEWEST = 5
"""Things that a rank correlation is tested over: of four, no order is rarer than one of 24."""
MOST_EXACT = 7
"""Of so many things all orders are looked at."""

Standing = Mapping[tuple[str, str], float]
"""By choice and option."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A rank correlation.

    Attributes:
        value: NaN where either side is all equal, or there is nothing to compare.
        n: how many things were compared.
        p: two-sided, by permutations; NaN where there are too few.
    """

    value: float
    n: int
    p: float


def standings(table: pd.DataFrame) -> dict[str, dict[tuple[str, str], float]]:
    """By method, where each option of a decision stands among the others: 0 the weakest, 1 the strongest.

    Strengths of different decisions and methods have different scales, so that only their order within a decision
    counts; the mean over supernets. An option that was left out (a strength of NaN) stands nowhere.

    Args:
        table: of strengths (``report.supernets.COLUMNS``).
    """
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for (method, _, decision), rows in table.groupby(["method", "supernet", "decision"], sort=False):
        known = rows[np.isfinite(rows["strength"].to_numpy(dtype=float))]
        if len(known) < 2:
            continue
        places = (rankdata(known["strength"]) - 1) / (len(known) - 1)
        for option, place in zip(known["option"], places, strict=True):
            found.setdefault(str(method), {}).setdefault((str(decision), str(option)), []).append(float(place))
    return {method: {key: float(np.mean(places)) for key, places in own.items()} for method, own in found.items()}


def with_effects(standing: Standing, effects: Standing, seed: int = 0) -> Agreement:
    """Whether options that stand high in their choice have larger effects than its others.

    Effects are compared within choices too: both sides are ranked within each choice and centred. p is the share of
    relabellings of the operations (see ``_relabelled``) that agree as much.

    Args:
        standing: of options.
        effects: by the same names; options that one side lacks do not count.
        seed: of the relabellings.
    """
    groups = _groups(standing, effects)
    if not groups:
        return Agreement(np.nan, 0, np.nan)
    options, *sides = zip(*groups, strict=True)
    own, other = ([_centred(side) for side in each] for each in sides)
    whole = np.concatenate(other)
    value = float(_correlation(np.concatenate(own)[None], whole)[0])
    keys = _keys({name for names in options for name in names}, rng(seed, Domain.EXPLAIN, 2))
    if len(keys) < FEWEST:
        return Agreement(value, len(whole), np.nan)
    drawn = [_relabelled(side, names, keys) for side, names in zip(own, options, strict=True)]
    return Agreement(value, len(whole), _share(_correlation(np.concatenate(drawn, axis=1), whole), value))


def with_outcomes(
    standing: Standing, choices: Sequence[Choice], picked: np.ndarray, values: np.ndarray, seed: int = 0
) -> Agreement:
    """Whether architectures of options that stand high have large values.

    The score of an architecture is the mean standing of its options, of those that stand somewhere. p is the share of
    relabellings of the operations (see ``_relabelled``) under which scores agree as much with the values; to shuffle
    the architectures would count alike ones as independent.

    Args:
        standing: of options.
        choices: of the space.
        picked: n architectures x choices, positions of options.
        values: n of them, larger is better.
        seed: of the relabellings.
    """
    columns = [np.array([standing.get((c.name, str(o)), np.nan) for o in c.options]) for c in choices]
    used = [i for i, column in enumerate(columns) if np.isfinite(column).sum() > 1]
    if not used or len(values) < FEWEST:
        return Agreement(np.nan, 0, np.nan)
    known = {i: np.flatnonzero(np.isfinite(columns[i])) for i in used}
    names = {i: [str(choices[i].options[j]) for j in known[i]] for i in used}
    keys = _keys({name for some in names.values() for name in some}, rng(seed, Domain.EXPLAIN, 3))
    total, counts = np.zeros((PERMUTATIONS + 1, len(values))), np.zeros(len(values))
    for i in used:
        drawn = np.tile(columns[i], (PERMUTATIONS + 1, 1))
        drawn[1:, known[i]] = _relabelled(columns[i][known[i]], names[i], keys)
        taken = drawn[:, picked[:, i]]
        total += np.nan_to_num(taken)
        counts += np.isfinite(taken[0])
    has = counts > 0
    if has.sum() < FEWEST or np.ptp(values[has]) == 0:
        return Agreement(np.nan, int(has.sum()), np.nan)
    scores = rankdata(total[:, has] / counts[has], axis=1)
    met = _correlation(scores - scores.mean(axis=1, keepdims=True), _centred(values[has]))
    p = _share(met[1:], met[0]) if len(keys) >= FEWEST else np.nan
    return Agreement(float(met[0]), int(has.sum()), p)


def by_operation(values: Standing) -> dict[str, float]:
    """The mean over choices of what each option has."""
    found: dict[str, list[float]] = {}
    for (_, option), value in values.items():
        found.setdefault(option, []).append(value)
    return {option: float(np.mean(own)) for option, own in found.items()}


def with_operations(first: Mapping[str, float], second: Mapping[str, float], seed: int = 0) -> Agreement:
    """Whether operations that one side puts high the other puts high too; all orders are looked at where that can be.

    Args:
        first: by operation.
        second: by operation; operations that one side lacks do not count.
        seed: of the permutations.
    """
    shared = [name for name in first if name in second]
    a, b = (np.array([side[name] for name in shared], dtype=float) for side in (first, second))
    if len(shared) < 2 or np.isnan(value := spearman(a, b)):
        return Agreement(np.nan, len(shared), np.nan)
    if len(shared) < FEWEST:
        return Agreement(value, len(shared), np.nan)
    ranks = _centred(a)
    if len(shared) <= MOST_EXACT:
        met = _correlation(ranks[np.array(list(permutations(range(len(shared)))))], _centred(b))
        p = float((np.abs(met) >= abs(value) - 1e-12).sum() / factorial(len(shared)))
        return Agreement(value, len(shared), p)
    shuffled = rng(seed, Domain.EXPLAIN, 4).permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)
    return Agreement(value, len(shared), _share(_correlation(shuffled, _centred(b)), value))


def _groups(standing: Standing, effects: Standing) -> list[tuple[list[str], list[float], list[float]]]:
    """Options and both sides of every choice of which at least two options have both."""
    found: dict[str, tuple[list[str], list[float], list[float]]] = {}
    for (choice, option), value in standing.items():
        if (choice, option) in effects:
            names, own, other = found.setdefault(choice, ([], [], []))
            names.append(option)
            own.append(value)
            other.append(effects[choice, option])
    return [sides for sides in found.values() if len(sides[0]) > 1]


def _keys(names: Collection[str], draw: np.random.Generator) -> dict[str, np.ndarray]:
    """By operation a random number a relabelling."""
    return {name: draw.random(PERMUTATIONS) for name in sorted(names)}


def _relabelled(values: np.ndarray, options: Sequence[str], keys: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the options of a choice have when operations change names, in all choices alike; a row a relabelling.

    A supernet that likes an operation likes it in most choices, and an operation that is good is good in most, so
    choices are not independent: to shuffle each by itself finds agreement where two such likings are unrelated.
    """
    by_name = np.argsort(np.array(options), kind="stable")
    places = by_name[np.argsort(np.stack([keys[options[i]] for i in by_name], axis=1), axis=1)]
    drawn = np.empty(places.shape)
    np.put_along_axis(drawn, places, np.broadcast_to(values[by_name], places.shape), axis=1)
    return drawn


def _centred(values: Sequence[float] | np.ndarray) -> np.ndarray:
    ranks = rankdata(values)
    return np.asarray(ranks - ranks.mean())


def _correlation(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of every row with the other side, both centred; 0 where one is all equal."""
    lengths = np.sqrt((rows * rows).sum(axis=1) * (other @ other))
    return np.asarray(np.divide(rows @ other, lengths, out=np.zeros(len(rows)), where=lengths > 0))


def _share(met: np.ndarray, value: float) -> float:
    """Two-sided p of permutations: how many agree as much, the order that was met included."""
    return float((1 + (np.abs(met) >= abs(value) - 1e-12).sum()) / (1 + len(met)))
