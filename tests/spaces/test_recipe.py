"""Genes: levels from a specification, coordinates, texts, and what is refused."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.recipe import Gene, RecipeSpace

GENES = {
    "augment": {"choice": [[], ["random_crop", "cutout"]]},
    "batch_size": [32, 64, 256],
    "label_smoothing": {"linear": [0, 0.2], "levels": 3},
    "lr": {"log": [1e-3, 1.0], "levels": 4},
    "nesterov": [True, False],
    "optimizer": ["sgd", "adamw"],
    "warmup_epochs": {"int": [0, 5]},
}
RECIPES = RecipeSpace.from_mapping(GENES)


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


def test_recipes_are_json_and_come_back():
    levels = (1, 0, 1, 3, 1, 1, 2)
    recipe = RECIPES.recipe(levels)
    assert recipe == {
        "augment": ["random_crop", "cutout"],
        "batch_size": 32,
        "label_smoothing": 0.1,
        "lr": 1.0,
        "nesterov": False,
        "optimizer": "adamw",
        "warmup_epochs": 2,
    }
    assert RECIPES.levels(json.loads(json.dumps(recipe))) == levels
    text = RECIPES.format(levels)
    assert text.startswith('{"augment":["random_crop","cutout"],"batch_size":32,"label_smoothing":0.1,"lr":1,')
    assert RECIPES.levels(json.loads(text)) == levels
    assert RECIPES.size == 4 * 3 * 6 * 3 * 2 * 2 * 2


def test_the_order_of_the_genes_does_not_count():
    again = RecipeSpace.from_mapping(dict(reversed(GENES.items())))
    assert again.genes == RECIPES.genes


def test_params_describe_the_same_space():
    again = RecipeSpace.from_mapping(json.loads(json.dumps(RECIPES.params)))
    assert again.genes == RECIPES.genes
    assert again.params == RECIPES.params


def test_quantities_have_one_coordinate_and_others_one_an_option():
    assert RECIPES.columns == (
        "augment=[]",
        'augment=["random_crop","cutout"]',
        "batch_size",
        "label_smoothing",
        "lr",
        "nesterov=true",
        "nesterov=false",
        'optimizer="sgd"',
        'optimizer="adamw"',
        "warmup_epochs",
    )
    half = 0.5**0.5
    numbers = RECIPES.numeric((0, 1, 2, 1, 0, 1, 3))
    assert numbers == pytest.approx((half, 0, 1 / 2, 1.0, 1 / 3, half, 0, 0, half, 3 / 5))
    assert math.dist(Gene("x", ("a", "b", "c")).numeric(0), Gene("x", ("a", "b", "c")).numeric(2)) == pytest.approx(1)
    assert Gene("x", (3,)).numeric(0) == (0.0,)
    assert not Gene("x", (3, 1)).quantity  # listed in another order: names, not a scale
    assert [choice.ordered for choice in RECIPES.choices] == [False, True, True, True, False, False, True]
    assert RECIPES.choices[3].name == "recipe.lr"


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


def test_spaces_without_genes_or_with_two_of_a_name_are_refused():
    for values in ({}, [("lr", [1])], None):
        with pytest.raises(SpecError, match=r"space\.params\.recipe"):
            RecipeSpace.from_mapping(values)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="each once"):
        RecipeSpace([Gene("lr", (1,)), Gene("lr", (2,))])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.5}, r"recipe\.lr: no such level.*Valid: 0\.001, 0\.01"),
        ({"lr": True}, r"recipe\.lr"),
        ({"nesterov": 1}, r"recipe\.nesterov"),
        ({"lr": math.nan}, r"recipe\.lr"),
        ({"learning_rate": 1}, "exactly"),
        ({"augment": ["cutout", "random_crop"]}, r"recipe\.augment"),
    ],
)
def test_recipes_of_no_level_are_refused(change: dict[str, Any], named: str):
    recipe = RECIPES.recipe((0,) * 7)
    with pytest.raises(GenotypeError, match=named):
        RECIPES.levels({**recipe, **change})
    del recipe["lr"]
    with pytest.raises(GenotypeError, match="exactly"):
        RECIPES.levels(recipe)
