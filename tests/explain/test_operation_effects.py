"""Main effects of options, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.explain.measured_architectures import MeasuredArchitectures
from xnas_ray.explain.operation_effects import operation_effects
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201()


def measured(count: int, values, *, maximize: bool = True, seed: int = 0, fixed: int | None = None):
    """Random genotypes with values that are a function of them."""
    draw = np.random.default_rng(seed)
    picked = draw.integers(0, 5, size=(count, 6))
    if fixed is not None:
        picked[:, fixed] = 3
    found = values(picked, draw)
    genotypes = tuple(map(tuple, picked.tolist()))
    return MeasuredArchitectures(SPACE, np.arange(count), genotypes, {"m": found}, {"m": maximize})


TRUTH = np.random.default_rng(7).normal(size=(6, 5))
TRUTH -= TRUTH.mean(axis=1, keepdims=True)


def additive(picked, draw, noise=0.0):
    return 10 + TRUTH[np.arange(6), picked].sum(axis=1) + noise * draw.normal(size=len(picked))


def by_name(table):
    return {(row.choice, row.option): row for row in table.itertuples()}


def test_effects_of_an_additive_function_are_found_exactly():
    table = operation_effects(measured(200, additive))
    assert len(table) == 30 and (table["ridge"] == 0).all() and (table["explained"] > 1 - 1e-12).all()
    rows = by_name(table)
    for i, choice in enumerate(SPACE.choices):
        for k, option in enumerate(choice.options):
            assert rows[choice.name, option].effect == pytest.approx(TRUTH[i, k], abs=1e-9)
            assert rows[choice.name, option].std_error < 1e-6


def test_less_is_better_where_it_is_minimised():
    up = operation_effects(measured(100, additive))
    down = operation_effects(measured(100, additive, maximize=False))
    assert np.allclose(up["effect"], -down["effect"])


def test_standard_errors_are_how_far_estimates_scatter():
    """Over 200 repetitions: the deviation of estimates equals their standard error, and 95 % lie within 1.99 of it."""
    estimates, errors = [], []
    for seed in range(200):
        table = operation_effects(measured(100, lambda p, d: additive(p, d, noise=2.0), seed=seed))
        estimates.append(table["effect"].to_numpy())
        errors.append(table["std_error"].to_numpy())
    off = np.array(estimates) - TRUTH.ravel()
    assert np.abs(off.mean()) < 0.05
    assert np.sqrt((off**2).mean()) == pytest.approx(np.sqrt((np.array(errors) ** 2).mean()), rel=0.05)
    assert (np.abs(off) < 1.99 * np.array(errors)).mean() == pytest.approx(0.95, abs=0.01)


def test_what_cannot_be_told_apart_is_drawn_towards_nothing():
    table = operation_effects(measured(22, lambda p, d: additive(p, d, noise=0.5)))
    assert (table["ridge"] > 0).all()
    rows = by_name(table)
    truth = [
        TRUTH[i, SPACE.choices[i].options.index(o)]
        for i, c in enumerate(SPACE.choices)
        for o in c.options
        if (c.name, o) in rows
    ]
    found = [rows[c.name, o].effect for c in SPACE.choices for o in c.options if (c.name, o) in rows]
    assert np.corrcoef(truth, found)[0, 1] > 0.5 and np.linalg.norm(found) < 1.5 * np.linalg.norm(truth)


def test_a_choice_that_was_always_made_alike_has_no_effect():
    table = operation_effects(measured(100, additive, fixed=2))
    assert SPACE.choices[2].name not in set(table["choice"]) and len(table) == 25
    sums = table.groupby("choice")["effect"].sum()
    assert np.allclose(sums, 0, atol=1e-9) and (table.groupby("choice")["support"].sum() == 100).all()


def test_few_architectures_say_nothing_and_equal_values_have_no_effects():
    assert operation_effects(measured(19, additive)).empty
    flat = operation_effects(measured(60, lambda p, d: np.ones(len(p))))
    assert np.allclose(flat["effect"], 0) and flat["explained"].isna().all()
