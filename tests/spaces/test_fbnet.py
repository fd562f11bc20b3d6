"""The published FBNets as a space."""

from __future__ import annotations

from typing import Any

import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.fbnet import PublishedFBNets
from xnas_ray.spaces.fbnet_published import FBNETV2_L3, PUBLISHED
from xnas_ray.spaces.fbnetv2 import BLOCKS
from xnas_ray.spaces.inverted_residuals import Block, count
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.registry import SPACES
from xnas_ray.testing.space_case import SpaceTestCase


class TestConformance(SpaceTestCase):
    samples = 12
    networks = 1

    def make_space(self) -> Space:
        return PublishedFBNets(names=["fbnetv2_f1", "fbnetv2_f2", "fbnetv3_a"])

    def shape(self) -> DataShape:
        return DataShape(((3, 224, 224),), 10)


def test_the_paper_s_recipe_search():
    space = JointSpace(architecture={"name": "fbnet", "params": {"names": ["fbnetv2_l3"]}}, recipe="nars_ema")
    assert space.size == 18_905_040
    cost = space.cost((0,) * 8, DataShape(((3, 256, 256),), 1000))
    assert cost == count(FBNETV2_L3).cost


def test_all_by_default_at_their_own_resolutions():
    space = PublishedFBNets()
    assert space.size == len(PUBLISHED) + 1
    shape = DataShape(((3, 320, 320),), 1000)
    for name, one in PUBLISHED.items():
        genotype = space.parse(name)
        assert space.format(genotype) == name
        assert space.image_size(genotype, shape) == (one.definition.resolution,) * 2
    flops, params = space.costs([(0,), (12,)], shape)
    assert [(f, p) for f, p in zip(flops, params, strict=True)] == [
        (cost.flops, cost.params) for cost in (space.cost((0,), shape), space.cost((12,), shape))
    ]


def test_labels_are_those_of_fbnetv2_s_blocks():
    labels = [Block(8, 1, 2.0, kernel, act, squeeze).label for kernel, act, squeeze in BLOCKS.values()]
    assert labels == list(BLOCKS)


@pytest.mark.parametrize("names", [[], "fbnetv2_f1", ["fbnetv2_f1"] * 2, ["fbnetv2_p1"], [3]])
def test_bad_names_are_refused(names: Any):
    with pytest.raises(SpecError, match=r"space\.params\.names.*fbnetv2_f1"):
        PublishedFBNets(names=names)


def test_other_names_are_no_genotypes():
    with pytest.raises(GenotypeError, match="Did you mean 'fbnetv2_f1'"):
        PublishedFBNets(names=["fbnetv2_f1"]).parse("fbnetv2_f2")


def test_it_is_remade_from_its_parameters():
    space = SPACES.create("fbnet", {"names": ("fbnetv3_a", "fbnetv2_l3")})
    assert SPACES.create("fbnet", space.params).fingerprint == space.fingerprint
