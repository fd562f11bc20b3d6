"""Genes: levels from a specification, coordinates, texts, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.genes import Gene
from xnas_ray.spaces.recipe import RecipeSpace

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


SCALED = {"lr": {"choice": [0.02, 0.03], "times": {"optimizer": {"sgd": 4}}}, "optimizer": ["rmsprop", "sgd"]}


def test_a_gene_multiplies_another():
    space = RecipeSpace.from_mapping(SCALED)
    assert space.recipe((1, 0)) == {"lr": 0.03, "optimizer": "rmsprop"}
    assert space.recipe((1, 1)) == {"lr": 0.12, "optimizer": "sgd"}
    assert space.format((0, 1)) == '{"lr":0.08,"optimizer":"sgd"}'
    assert len({space.format(levels) for levels in [(0, 0), (0, 1), (1, 0), (1, 1)]}) == 4
    assert all(space.levels(space.recipe(levels)) == levels for levels in [(0, 0), (0, 1), (1, 0), (1, 1)])
    assert space.numeric((1, 1))[0] == space.numeric((1, 0))[0] == 1.0
    with pytest.raises(GenotypeError, match=r"recipe\.lr.*Valid: 0\.08, 0\.12"):
        space.levels({"lr": 0.02, "optimizer": "sgd"})
    again = RecipeSpace.from_mapping(space.params)
    assert again.params == space.params
    assert again.recipe((1, 1)) == {"lr": 0.12, "optimizer": "sgd"}


@pytest.mark.parametrize(
    ("times", "named"),
    [
        ({"optimiser": {"sgd": 4}}, "'optimiser'.*Did you mean 'optimizer'"),
        ({"optimizer": {"adam": 4}}, "'adam'.*'optimizer'"),
        ({"optimizer": {"sgd": 0}}, "above 0"),
        ({"optimizer": {}}, "above 0"),
        ({"lr": {"0.02": 4}}, "no other gene"),
        (4, "above 0"),
    ],
)
def test_bad_factors_are_refused(times: Any, named: str):
    with pytest.raises(SpecError, match=named):
        RecipeSpace.from_mapping({**SCALED, "lr": {"choice": [0.02, 0.03], "times": times}})
