"""What a supernet says of options, beside effects and trials."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from xnas_ray.report.standings import by_operation, standings, with_effects, with_operations, with_outcomes
from xnas_ray.spaces.base import Choice
from xnas_ray.spaces.nasbench201 import OPERATIONS

from .joint_search import PLANTED, SPACE, genotypes, strengths

WORTH = PLANTED["val_accuracy"]
EDGES = tuple(Choice(f"edge{i}", tuple("abcdefg")) for i in range(8))
"""Seven operations at eight edges."""


def liked(draw: np.random.Generator, liking: np.ndarray) -> dict[tuple[str, str], float]:
    """What a side makes of every option: how it likes the operation, and noise."""
    return {
        (c.name, str(o)): float(likes + 0.5 * draw.normal())
        for c in EDGES
        for o, likes in zip(c.options, liking, strict=True)
    }


def drawn_architectures(
    draw: np.random.Generator, worth: dict[tuple[str, str], float]
) -> tuple[np.ndarray, np.ndarray]:
    """48 architectures and what their options are worth together."""
    picked = draw.integers(0, 7, (48, len(EDGES)))
    return picked, np.array([sum(worth[c.name, c.options[i]] for c, i in zip(EDGES, g, strict=True)) for g in picked])


def test_options_stand_in_the_order_of_their_strengths():
    rows = [(0, "m", "c", option, s, False) for option, s in zip("abcd", [1e9, -3.0, np.nan, 0.5], strict=True)]
    rows += [(1, "m", "c", option, s, False) for option, s in zip("abcd", [0.0, 0.0, np.nan, 1.0], strict=True)]
    table = pd.DataFrame(rows, columns=["supernet", "method", "decision", "option", "strength", "chosen"])
    found = standings(table)["m"]
    assert found == pytest.approx({("c", "a"): (1 + 0.25) / 2, ("c", "b"): 0.25 / 2, ("c", "d"): (0.5 + 1) / 2})


def test_a_supernet_that_is_right_agrees_with_effects():
    standing = standings(strengths(WORTH))["magnitude"]
    effects = {key: WORTH.get(key[1], 0.0) for key in standing}
    found = with_effects(standing, effects)
    assert found.value == pytest.approx(1.0) and found.n == 24 and math.isnan(found.p), "four operations: too few"
    draw = np.random.default_rng(0)
    liking = np.arange(7.0)
    standing, effects = liked(draw, liking), liked(draw, liking)
    right = with_effects(standing, effects)
    assert right.value > 0.8 and right.n == 56 and right.p < 0.005
    wrong = with_effects(standing, {key: -value for key, value in effects.items()})
    assert wrong.value == pytest.approx(-right.value) and wrong.p < 0.005


def test_likings_of_operations_that_are_unrelated_are_rarely_significant():
    """Each side likes an operation at every edge, so that edges are no independent evidence."""
    effects, outcomes = [], []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        standing, worth = liked(draw, draw.normal(size=7)), liked(draw, draw.normal(size=7))
        effects.append(with_effects(standing, worth, seed).p)
        outcomes.append(with_outcomes(standing, EDGES, *drawn_architectures(draw, worth), seed).p)
    assert np.mean(np.array(effects) < 0.1) < 0.25 and np.mean(np.array(outcomes) < 0.1) < 0.25


def test_only_the_order_within_a_choice_counts():
    standing = {(c, o): float(k) for c in "xy" for k, o in enumerate("abc")}
    effects = {(c, o): k + (100.0 if c == "x" else 0.0) for c in "xy" for k, o in enumerate("abc")}
    assert with_effects(standing, effects).value == pytest.approx(1.0)
    assert with_effects(standing, {("x", "a"): 1.0}).n == 0, "one option of a choice has nothing to be compared with"


def test_strengths_that_mean_nothing_are_rarely_significant():
    p = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        standing = {(c.name, str(o)): draw.uniform() for c in SPACE.choices for o in c.options}
        p.append(with_effects(standing, {key: draw.normal() for key in standing}, seed).p)
    assert 0.0 <= np.mean(np.array(p) < 0.1) < 0.2


def test_architectures_of_strong_options_are_good():
    picked = np.array(genotypes(60))
    values = np.array([sum(WORTH.get(OPERATIONS[i], 0) for i in g) for g in picked])
    standing = standings(strengths(WORTH))["magnitude"]
    found = with_outcomes(standing, SPACE.choices, picked, values)
    scores = [
        np.mean([standing[c.name, c.options[i]] for c, i in zip(SPACE.choices, g, strict=True) if i])
        for g in picked
        if any(g)
    ]
    assert found.n == sum(any(g) for g in picked)
    assert found.value == pytest.approx(spearmanr(scores, values[picked.any(axis=1)]).statistic)
    assert math.isnan(found.p), "four operations: too few"
    assert with_outcomes(standing, SPACE.choices, picked, -values).value == pytest.approx(-found.value)


def test_architectures_of_liked_operations_are_good():
    draw = np.random.default_rng(0)
    liking = np.arange(7.0)
    standing, worth = liked(draw, liking), liked(draw, liking)
    found = with_outcomes(standing, EDGES, *drawn_architectures(draw, worth))
    assert found.value > 0.5 and found.n == 48 and found.p < 0.005


def test_strengths_of_nothing_do_not_rank_alike_architectures_by_chance():
    """Architectures are alike, so shuffling them would be too sure: shuffled options are not."""
    picked = np.array(genotypes(60))
    values = np.array([sum(WORTH.get(OPERATIONS[i], 0) for i in g) for g in picked])
    p = []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        standing = {(c.name, str(o)): draw.uniform() for c in SPACE.choices for o in c.options}
        p.append(with_outcomes(standing, SPACE.choices, picked, values, seed).p)
    assert np.mean(np.array(p) < 0.1) < 0.25


def test_few_operations_are_compared_by_all_orders():
    first, second = (
        dict(zip("abcde", [1.0, 2, 3, 4, 5], strict=True)),
        dict(zip("abcde", [2.0, 1, 3, 4, 5], strict=True)),
    )
    found = with_operations(first, second)
    rows = [spearmanr(order, list(second.values())).statistic for order in permutations(first.values())]
    assert found.value == pytest.approx(0.9) and found.n == 5
    assert found.p == pytest.approx(np.mean(np.abs(rows) >= 0.9 - 1e-9))
    few = with_operations({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 2.0, "c": 3.0})
    assert few.value == 1.0 and math.isnan(few.p)
    assert math.isnan(with_operations(first, {}).value)
    many = {name: float(i) for i, name in enumerate("abcdefghij")}
    assert with_operations(many, many).p < 0.002


def test_operations_are_means_over_choices():
    assert by_operation({("x", "a"): 1.0, ("y", "a"): 3.0, ("x", "b"): 5.0}) == {"a": 2.0, "b": 5.0}
