"""Costs of many networks at once are those of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.batch_costs import divisible_batch
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.inverted_residuals import divisible
from xnas_ray.spaces.joint import JointSpace

SMALL_V2 = FBNetV2(
    rows=[[1, [8, 16, 4], 1, 1], [[0.75, 3.0, 0.75], [12, 24, 4], 1, 2], [[0.75, 3.0, 0.75], [12, 24, 4], 2, 1]],
    stem=8,
    head=32,
    resolutions=[5, 6, 8],
)
DIGITS = FBNetV3(preset="digits")
CASES: list[tuple[Space, tuple[int, int, int]]] = [
    (FBNetV3(), (3, 272, 272)),
    (FBNetV3(preset="cifar"), (3, 32, 40)),
    (DIGITS, (1, 8, 8)),
    (FBNetV3(preset="digits", head_expansion=1), (1, 9, 13)),
    (FBNetV2(macro="F"), (3, 224, 224)),
    (FBNetV2(macro="P"), (3, 300, 288)),
    (SMALL_V2, (2, 8, 7)),
    (JointSpace(architecture=DIGITS, recipe={"lr": [0.1, 0.2]}), (1, 8, 8)),
    (ConstrainedSpace(DIGITS, ["flops <= 4e5"], DataShape(((1, 8, 8),), 10)), (1, 8, 8)),
]


@pytest.mark.parametrize(("space", "image"), CASES, ids=[f"{s.name}-{i}" for i, (s, _) in enumerate(CASES)])
def test_as_one_after_the_other(space: Space, image: tuple[int, int, int]):
    rng, shape = np.random.default_rng(5), DataShape((image,), 7)
    genotypes = [space.sample(rng) for _ in range(60)]
    flops, params = space.costs(genotypes, shape)
    assert flops.dtype == params.dtype == np.int64
    each = [space.cost(genotype, shape) for genotype in genotypes]
    assert flops.tolist() == [cost.flops for cost in each]
    assert params.tolist() == [cost.params for cost in each]
    assert len(set(flops.tolist())) > 30


def test_none_cost_nothing():
    flops, params = DIGITS.costs([], DataShape(((1, 8, 8),), 10))
    assert flops.shape == params.shape == (0,)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.1, 4000), min_size=1, max_size=20))
def test_roundings_are_those_of_one(channels: list[float]):
    assert divisible_batch(np.array(channels)).tolist() == [divisible(one) for one in channels]


@pytest.mark.parametrize("bad", [(0,) * 17, (0,) * 17 + (3,), (0,) * 17 + (-1,), (0.5,) * 18])
@pytest.mark.parametrize("joint", [False, True])
def test_foreign_genotypes_are_refused(bad: tuple[Any, ...], joint: bool):
    space: Space = JointSpace(architecture=DIGITS, recipe={"lr": [0.1, 0.2]}) if joint else DIGITS
    end = (0,) if joint else ()
    with pytest.raises(GenotypeError):
        space.costs([(0,) * 18 + end, bad + end], DataShape(((1, 8, 8),), 10))


def test_foreign_recipes_are_refused():
    space = JointSpace(architecture=DIGITS, recipe={"lr": [0.1, 0.2]})
    with pytest.raises(GenotypeError):
        space.costs([(0,) * 18 + (2,)], DataShape(((1, 8, 8),), 10))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(SpecError, match="resolution of 8"):
        DIGITS.costs([(0,) * 18, (0,) * 17 + (2,)], DataShape(((1, 7, 7),), 10))
    assert DIGITS.costs([(0,) * 18], DataShape(((1, 7, 7),), 10))[0] > 0
