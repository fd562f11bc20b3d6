"""A single architecture as a space, and recipes searched on it."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.errors import GenotypeError, SpecError, UnknownNameError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.fixed import FixedSpace
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.registry import SPACES
from xnas_ray.testing.space_case import SpaceTestCase

TEXT = "r8 c8 | k3 e1 c8 n1 | k5 e4/2 c16 n2 | k5 e4/2 c24 n2 | k3 e4/2 c32 n1"
NAMED = {"name": "fbnetv3", "params": {"preset": "digits"}}
INNER = FBNetV3(preset="digits")
SHAPE = DataShape(((1, 8, 8),), 10)


class TestConformance(SpaceTestCase):
    def make_space(self) -> Space:
        return FixedSpace(architecture=NAMED, text=TEXT)


class TestConformanceOfRecipesOnIt(SpaceTestCase):
    networks = 1

    def make_space(self) -> Space:
        return JointSpace(
            architecture={"name": "fixed", "params": {"architecture": NAMED, "text": TEXT}}, recipe="nars"
        )


def test_everything_is_the_architecture_s():
    space, inner = FixedSpace(architecture=NAMED, text=TEXT), INNER.parse(TEXT)
    assert space.genotype == INNER.canonical(inner)
    assert space.key((0,)) == INNER.key(inner)
    assert space.cost((0,), SHAPE) == INNER.cost(inner, SHAPE)
    flops, params = space.costs([(0,)] * 3, SHAPE)
    assert flops.tolist() == [INNER.cost(inner, SHAPE).flops] * 3
    assert params.tolist() == [INNER.cost(inner, SHAPE).params] * 3
    assert space.graphs((0,))["network"].nodes == INNER.graphs(inner)["network"].nodes
    assert space.size == 1
    assert list(space.enumerate()) == [(0,)]


def test_any_text_of_the_architecture_is_understood():
    inner = NASBench101(vertices=4)
    genotype = inner.parse("0110000100010000 input,conv1x1-bn-relu,conv3x3-bn-relu,output")
    twin = inner.parse("0110000100010000 input,conv3x3-bn-relu,conv1x1-bn-relu,output")
    assert genotype != twin
    space = FixedSpace(architecture=inner, text=inner.format(twin))
    assert space.parse(inner.format(genotype)) == space.parse(inner.format(twin)) == (0,)
    with pytest.raises(GenotypeError, match="is not the architecture"):
        space.parse("0110000100010000 input,conv3x3-bn-relu,conv3x3-bn-relu,output")


def test_there_are_no_mutants_but_there_are_recipes():
    space = FixedSpace(architecture=INNER, text=TEXT)
    with pytest.raises(GenotypeError, match="only member"):
        space.mutate((0,), np.random.default_rng(0))
    joint = JointSpace(architecture=space, recipe="nars")
    assert joint.size == 9_452_520
    for seed in range(20):
        rng = np.random.default_rng(seed)
        genotype = joint.sample(rng)
        for other in (joint.mutate(genotype, rng), joint.perturb(genotype, rng), joint.perturb(genotype, rng, 1.0)):
            assert other != genotype
            assert joint.is_valid(other)
            assert other[0] == 0


def test_fingerprints_tell_architectures_apart():
    others = [TEXT, TEXT.replace("c32", "c40")]
    assert len({FixedSpace(architecture=INNER, text=text).fingerprint for text in others}) == 2


def test_it_is_remade_from_its_parameters():
    space = SPACES.create("fixed", {"architecture": NAMED, "text": TEXT})
    assert SPACES.create("fixed", space.params).fingerprint == space.fingerprint


def test_bad_parameters_are_refused():
    with pytest.raises(SpecError, match=r"space\.params\.text.*stage 3.*'k9'"):
        FixedSpace(architecture=NAMED, text=TEXT.replace("| k3 e4/2 c32", "| k9 e4/2 c32"))
    with pytest.raises(SpecError, match=r"space\.params\.architecture"):
        FixedSpace(architecture={"nam": "fbnetv3"}, text=TEXT)
    with pytest.raises(UnknownNameError, match="fbnetv3"):
        FixedSpace(architecture="fbnetv33", text=TEXT)
