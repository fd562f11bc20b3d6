import dataclasses
import json

import pytest

from xnas_ray.errors import SpecError
from xnas_ray.training.recipe import Recipe


def test_later_mappings_win():
    recipe = Recipe.from_mapping({"lr": 0.1, "batch_size": 16}, {"lr": 0.2}, {"augment": ["cutout"]})
    assert (recipe.lr, recipe.batch_size, recipe.augment) == (0.2, 16, ("cutout",))


def test_canonical_json_round_trips_and_ignores_the_order_of_keys():
    first = Recipe.from_mapping({"lr": 0.2, "step_at": [0.9, 0.5]})
    second = Recipe.from_mapping({"step_at": [0.5, 0.9], "lr": 0.2})
    assert first.canonical_json() == second.canonical_json()
    assert Recipe.from_mapping(json.loads(first.canonical_json())) == first


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"learning_rate": 1}, "recipe", "Valid: optimizer"),
        ({"batchsize": 1}, "recipe", "Did you mean 'batch_size'"),
        ({"optimizer": "sdg"}, "recipe.optimizer", "Did you mean 'sgd'"),
        ({"schedule": "cos"}, "recipe.schedule", "cosine"),
        ({"lr": "0.1"}, "recipe.lr", "must be a number"),
        ({"lr": True}, "recipe.lr", "must be a number"),
        ({"lr": 0}, "recipe.lr", "between"),
        ({"lr": float("nan")}, "recipe.lr", "between"),
        ({"lr": float("inf")}, "recipe.lr", "between"),
        ({"batch_size": 0}, "recipe.batch_size", "between"),
        ({"batch_size": 8.5}, "recipe.batch_size", "whole number"),
        ({"momentum": 1.0}, "recipe.momentum", "between"),
        ({"nesterov": 1}, "recipe.nesterov", "true or false"),
        ({"momentum": 0.0}, "recipe.nesterov", "needs momentum"),
        ({"augment": "cutout"}, "recipe.augment", "list"),
        ({"augment": ["cut_out"]}, "recipe.augment", "Did you mean 'cutout'"),
        ({"augment": ["cutout", "cutout"]}, "recipe.augment", "twice"),
        ({"step_at": [1.5]}, "recipe.step_at", "between 0 and 1"),
        ({"schedule": "onecycle", "warmup_epochs": 1}, "recipe.warmup_epochs", "by itself"),
        ({"amp_dtype": "float8"}, "recipe.amp_dtype", "bfloat16"),
        ({"ema_decay": 1.0}, "recipe.ema_decay", "between"),
    ],
)
def test_errors_name_the_setting_and_what_is_valid(settings, field, words):
    with pytest.raises(SpecError) as caught:
        Recipe.from_mapping(settings)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_every_number_has_a_range():
    for field in dataclasses.fields(Recipe):
        if field.type in ("int", "float"):
            with pytest.raises(SpecError, match=field.name):
                Recipe(**{field.name: -1})
