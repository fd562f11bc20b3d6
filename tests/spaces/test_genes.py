"""Genes: levels from a specification, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.spaces.genes import Gene
from xnas_ray.spaces.recipe import RecipeSpace


def options(value: Any) -> tuple[Any, ...]:
    return Gene.from_value("lr", value).options


def test_levels_are_evenly_spaced_and_short():
    assert options({"log": [1e-3, 1.0], "levels": 4}) == (0.001, 0.01, 0.1, 1.0)
    assert options({"log": [1e-4, 1e-2], "levels": 4}) == (0.0001, 0.000464159, 0.00215443, 0.01)
    assert options({"linear": [0, 1], "levels": 5}) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert options({"linear": [-0.1, 0.2], "levels": 2}) == (-0.1, 0.2)
    assert options({"int": [1, 4]}) == (1, 2, 3, 4)
    assert options({"int": [16, 256], "levels": 4}) == (16, 96, 176, 256)
    assert len(options({"log": [1e-3, 1.0]})) == len(options({"int": [0, 1000]})) == 10
    assert all(isinstance(level, int) for level in options({"int": [16, 256]}))


@given(st.floats(1e-6, 1e3), st.floats(1.1, 1e6), st.integers(2, 40))
def test_bounds_are_levels_and_levels_ascend(low: float, ratio: float, levels: int):
    found = options({"log": [low, low * ratio], "levels": levels})
    assert (found[0], found[-1]) == (low, low * ratio)
    assert len(found) == levels
    ratios = [math.log(b / a) for a, b in pairwise(found)]
    assert all(r == pytest.approx(math.log(ratio) / (levels - 1), abs=5e-5) for r in ratios)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (0.1, "must be a list of values, or a table"),
        ({}, "one of log, linear"),
        ({"log": [0.1, 1], "linear": [0, 1]}, "one of log, linear"),
        ({"log": 0.1}, "one of log, linear"),
        ({"log": [0.1, 1], "level": 4}, "Did you mean 'levels'"),
        ({"choice": [1, 2], "levels": 2}, "unknown key"),
        ({"log": [0, 1]}, "above 0"),
        ({"log": [1, 0.1]}, "the lower first"),
        ({"linear": [1]}, "two bounds"),
        ({"linear": ["0", 1]}, "must be numbers"),
        ({"linear": [False, True]}, "must be numbers"),
        ({"linear": [0, math.inf]}, "must be numbers"),
        ({"int": [0, 1.5]}, "whole numbers"),
        ({"int": [0, 3], "levels": 5}, "from 2 to 4"),
        ({"log": [0.1, 1], "levels": 1}, "from 2 to 1000"),
        ({"log": [0.1, 1], "levels": 2.0}, "whole number"),
        ({"linear": [1, 1.0000001], "levels": 9}, "twice"),
        ([], "at least one level"),
        ([1, 1.0], "twice"),
        ([None, 1], "a level must be"),
        ([math.nan], "a level must be"),
    ],
)
def test_malformed_genes_say_what_is_wrong(value: Any, named: str):
    with pytest.raises(SpecError, match=rf"space\.params\.recipe\.lr: .*{named}"):
        RecipeSpace.from_mapping({"lr": value})


@pytest.mark.parametrize("name", ["epochs", "fidelity", "schedule_epochs"])
def test_fidelity_is_no_gene(name: str):
    with pytest.raises(SpecError, match=r"search's fidelity.*Set fidelity"):
        RecipeSpace.from_mapping({name: {"int": [1, 9]}})


def test_only_rising_numbers_are_multiplied():
    with pytest.raises(SpecError, match="rising numbers"):
        Gene.from_value("lr", {"choice": [0.3, 0.02], "times": {"optimizer": {"sgd": 4}}})
