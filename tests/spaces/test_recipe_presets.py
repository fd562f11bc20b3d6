"""The recipe spaces that have names: their sizes, their levels, and that recipes take them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.recipe import RecipeSpace
from xnas_ray.spaces.recipe_presets import MIXUP_OFF, RECIPES
from xnas_ray.training.augment import mixup_pairs
from xnas_ray.training.recipe import Recipe

NARS = RecipeSpace.from_mapping("nars")


def test_sizes_are_the_paper_s():
    assert NARS.size == 11 * 2 * 31 * 22 * 42 * 15 == 9_452_520
    assert RecipeSpace.from_mapping("nars_ema").size == 2 * 9_452_520
    assert len(NARS.columns) == 7  # as many coordinates as the paper's encoding of a recipe
    space = JointSpace(architecture=FBNetV3(), recipe="nars")
    assert space.size == 7 * 175_878_910_771_200_000 * 9_452_520
    assert len(space.choices) == 35


def test_levels_are_the_table_s():
    levels = {gene.name: gene.options for gene in NARS.genes}
    assert (levels["lr"][0], levels["lr"][6], levels["lr"][-1]) == (0.02, 0.026, 0.03)
    assert (levels["dropout"][0], levels["dropout"][-1]) == (0.01, 0.31)
    assert (levels["drop_path"][0], levels["drop_path"][-1]) == (0.1, 0.31)
    assert levels["mixup_alpha"][:3] == (MIXUP_OFF, 0.01, 0.02)
    assert (levels["weight_decay"][0], levels["weight_decay"][-1]) == (7e-6, 2.1e-5)
    searched = {"lr": 0.026, "optimizer": "rmsprop", "dropout": 0.17, "mixup_alpha": 0.19, "weight_decay": 7e-6}
    assert all(value in levels[name] for name, value in searched.items())
    assert 0.09 not in levels["drop_path"]


def test_sgd_learns_four_times_as_fast():
    levels = NARS.levels({**NARS.recipe((0,) * 6), "lr": 0.104, "optimizer": "sgd"})
    assert NARS.choices[2].name == "recipe.lr"
    assert NARS.choices[2].options[levels[2]] == 0.026


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(RECIPES)))
def test_every_recipe_is_one_that_training_takes(seed: int, name: str):
    space = RecipeSpace.from_mapping(name)
    levels = space.sample(np.random.default_rng(seed))
    recipe = space.recipe(levels)
    assert Recipe.from_mapping({"augment": ["mixup"]}, recipe).lr == recipe["lr"]
    assert space.levels(recipe) == levels


@given(st.integers(0, 2**32 - 1))
def test_the_first_level_of_mixup_mixes_nothing(seed: int):
    share = random.Random(seed).betavariate(MIXUP_OFF, MIXUP_OFF)
    assert max(share, 1 - share) == 1.0


def test_that_level_keeps_images_as_they_are():
    import torch

    assert all(mixup_pairs(4, MIXUP_OFF, torch.Generator(), seed)[1] == 1.0 for seed in range(20))


def test_parts_are_replaced_and_added():
    space = RecipeSpace.from_mapping({"preset": "nars", "optimizer": ["sgd"], "ema_decay": [0.0, 0.99]})
    assert space.size == 2 * 9_452_520 / 2
    assert space.recipe((0,) * 7)["lr"] == 0.08


@pytest.mark.parametrize("given_", ["nasr", {"preset": "nasr"}, {"preset": 3}, 3])
def test_unknown_names_are_refused(given_: object):
    with pytest.raises(SpecError, match=r"space\.params\.recipe"):
        RecipeSpace.from_mapping(given_)  # type: ignore[arg-type]
