import dataclasses
import json

import pytest

from xnas_ray.errors import SpecError
from xnas_ray.randomness import canonical_json
from xnas_ray.training.recipe import Recipe, identity


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
        ({"schedule": "exponentional"}, "recipe.schedule", "Did you mean 'exponential'"),
        ({"lr_decay": 1.1}, "recipe.lr_decay", "between"),
        ({"dropout": 1.0}, "recipe.dropout", "between"),
        ({"autoaugment_policy": "cifar100"}, "recipe.autoaugment_policy", "Did you mean 'cifar10'"),
        ({"teacher": 3}, "recipe.teacher", "must be a text"),
        ({"distill_weight": 1.5}, "recipe.distill_weight", "between"),
        ({"distill_temperature": 0}, "recipe.distill_temperature", "between"),
        ({"tree_loss": "hrad"}, "recipe.tree_loss", "Did you mean 'hard'"),
        ({"tree_loss": True}, "recipe.tree_loss", "soft"),
        ({"tree_hierarchy": "wordnet.json"}, "recipe.tree_hierarchy", "Did you mean 'wordnet'"),
        ({"tree_from": 1.0}, "recipe.tree_from", "between"),
        ({"tree_until": 1.5}, "recipe.tree_until", "between"),
        ({"tree_from": 0.7}, "recipe.tree_until", "above tree_from, 0.7"),
        ({"tree_every": 0}, "recipe.tree_every", "between"),
        ({"tree_weight_start": -0.1}, "recipe.tree_weight_start", "between"),
        ({"tree_weight_power": 0}, "recipe.tree_weight_power", "between"),
        ({"label_weight_end": "0"}, "recipe.label_weight_end", "must be a number"),
        ({"tree_legacy": 1}, "recipe.tree_legacy", "true or false"),
        ({"tree_loss": "hard", "tree_legacy": True}, "recipe.tree_weight_start", "once more"),
        ({"tree_weight": 0.5}, "recipe", "Did you mean 'tree_weight_"),
    ],
)
def test_errors_name_the_setting_and_what_is_valid(settings, field, words):
    with pytest.raises(SpecError) as caught:
        Recipe.from_mapping(settings)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_a_setting_that_was_added_changes_no_training_that_does_not_use_it():
    """The first settings as they are stored, whatever was added since; a training seed of them, as it always was."""
    first = (
        '{"amp":true,"amp_dtype":"bfloat16","augment":[],"batch_size":128,"channels_last":true,"crop_padding":4,'
        '"cutout_size":8,"decay_norm_and_bias":true,"ema_decay":0,"eval_batch_size":1024,"final_lr":0,"grad_clip":0,'
        '"label_smoothing":0,"lr":0.1,"mixup_alpha":0.2,"momentum":0.9,"nesterov":true,"onecycle_peak":0.3,'
        '"optimizer":"sgd","schedule":"cosine","step_at":[0.5,0.75],"step_factor":0.1,"warmup_epochs":0,'
        '"weight_decay":0.0005}'
    )
    assert canonical_json(identity(Recipe().as_mapping())) == first
    used = identity(Recipe(dropout=0.2, teacher="/t").as_mapping())
    assert set(used) - set(json.loads(first)) == {"dropout", "teacher"}
    along = identity(Recipe(tree_loss="soft", tree_weight_end=1.0).as_mapping())
    assert set(along) - set(json.loads(first)) == {"tree_loss", "tree_weight_end"}
    assert Recipe.from_mapping(identity(Recipe(lr_decay=0.9).as_mapping())) == Recipe(lr_decay=0.9)


def test_every_number_has_a_range():
    for field in dataclasses.fields(Recipe):
        if field.type in ("int", "float"):
            with pytest.raises(SpecError, match=field.name):
                Recipe(**{field.name: -1})
