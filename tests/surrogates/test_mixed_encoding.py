"""Rows of a predictor: against the choices one by one, the two parts of a joint space, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError
from xnas_ray.spaces.base import Choice, Space
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.surrogates.mixed_encoding import MixedEncoding

WIDTHS = FBNetV2(rows=[[[1, 3, 1], [8, 24, 8], 1, 2], [2, [8, 40, 8], 1, 1]], stem=8, head=64, resolutions=[16, 24, 32])
RECIPE = {"lr": {"log": [1e-3, 1.0], "levels": 4}, "optimizer": ["rmsprop", "sgd"], "ema": [True]}
JOINT = JointSpace(architecture=WIDTHS, recipe=RECIPE)


def one_by_one(space: Space, genotype: tuple[int, ...]) -> list[float]:
    """The definition, in words."""
    row: list[float] = []
    for index, choice in zip(genotype, space.choices, strict=True):
        if len(choice.options) > 1:
            if choice.ordered:
                row.append(index / (len(choice.options) - 1))
            else:
                row.extend(float(option == index) for option in range(len(choice.options)))
    return row


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([WIDTHS, JOINT, NASBench201()]))
def test_rows_are_what_the_choices_say(seed: int, space: Space):
    rng = np.random.default_rng(seed)
    genotypes = [space.sample(rng) for _ in range(5)]
    encoding = MixedEncoding(space)
    rows = encoding.encode(genotypes)
    assert rows.dtype == np.float64
    assert rows.shape == (5, len(encoding.columns))
    np.testing.assert_allclose(rows, [one_by_one(space, genotype) for genotype in genotypes])


def test_different_genotypes_have_different_rows():
    encoding = MixedEncoding(NASBench201())
    rows = encoding.encode(list(NASBench201().genotypes()))
    assert len(np.unique(rows, axis=0)) == NASBench201().size


def test_architecture_and_recipe_are_two_parts():
    encoding = MixedEncoding(JOINT)
    assert encoding.columns[encoding.architecture] == MixedEncoding(WIDTHS).columns
    assert encoding.columns[encoding.recipe] == (
        "recipe.lr",
        "recipe.optimizer=rmsprop",
        "recipe.optimizer=sgd",
    )  # ema has one option
    genotype = JOINT.sample(np.random.default_rng(0))
    other = (*genotype[:-3], *JOINT.recipes.sample(np.random.default_rng(7)))
    one, two = encoding.encode([genotype, other])
    np.testing.assert_array_equal(one[encoding.architecture], two[encoding.architecture])
    assert np.any(one[encoding.recipe] != two[encoding.recipe])


def test_the_published_space_has_the_published_columns():
    """36 of architectures, and with a recipe of five quantities and an optimizer 7 more."""
    quantity = {"linear": [0.0, 0.5], "levels": 5}
    names = ("lr", "dropout", "drop_path", "mixup", "weight_decay")
    recipe = {**dict.fromkeys(names, quantity), "optimizer": ["rmsprop", "sgd"]}
    encoding = MixedEncoding(JointSpace(architecture="fbnetv3", recipe=recipe))
    assert encoding.architecture == slice(0, 36)
    assert encoding.recipe == slice(36, 43)


def test_spaces_without_one_of_the_parts():
    alone = MixedEncoding(NASBench201())
    assert alone.recipe == slice(30, 30)

    class Fixed(NASBench201):
        def __init__(self) -> None:
            super().__init__()
            self.choices = tuple(Choice(c.name, c.options[:1]) for c in self.choices)

    recipes = MixedEncoding(JointSpace(architecture=Fixed(), recipe=RECIPE))
    assert recipes.architecture == slice(0, 0)
    assert recipes.encode([(0,) * 6 + (0, 3, 1)]).tolist() == [[1.0, 0.0, 1.0]]


def test_a_part_of_a_space_is_encoded_like_the_whole():
    rng = np.random.default_rng(3)
    members = [JOINT.sample(rng) for _ in range(6)]
    part, whole = MixedEncoding(RestrictedSpace(JOINT, members)), MixedEncoding(JOINT)
    assert (part.columns, part.architecture, part.recipe) == (whole.columns, whole.architecture, whole.recipe)
    np.testing.assert_array_equal(part.encode(members), whole.encode(members))


def test_no_genotype_is_no_row():
    encoding = MixedEncoding(JOINT)
    assert encoding.encode([]).shape == (0, len(encoding.columns))


@pytest.mark.parametrize("wrong", [(0, 0, 0, 0, 0, 5), (0, 0, 0, 0, 0, -1), (0,) * 5, (0,) * 7, (0.5,) * 6, "000000"])
def test_wrong_genotypes_are_refused(wrong: object):
    encoding = MixedEncoding(NASBench201())
    for genotypes in ([wrong], [(0,) * 6, wrong]):
        with pytest.raises(GenotypeError):
            encoding.encode(genotypes)
