"""Torchvision's classifiers as a space; their networks are tested beside their builder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.registry import SPACES
from xnas_ray.spaces.torchvision_classifiers import TorchvisionClassifiers
from xnas_ray.testing.space_case import SpaceTestCase

NAMES = ("mobilenet_v3_small", "resnet18")


class TestConformance(SpaceTestCase):
    samples = 8
    networks = 2

    def make_space(self) -> Space:
        return TorchvisionClassifiers(names=NAMES)


class TestConformanceOfRecipesOnOne(SpaceTestCase):
    samples = 8
    networks = 1

    def make_space(self) -> Space:
        return JointSpace(architecture={"name": "torchvision", "params": {"names": ["resnet18"]}}, recipe="nars_ema")

    def shape(self) -> DataShape:
        return DataShape(((1, 8, 8),), 10)


def test_recipes_of_one_network():
    space = JointSpace(architecture={"name": "torchvision", "params": {"names": ["resnet18"]}}, recipe="nars_ema")
    assert space.size == 18_905_040
    assert space.format((0,) * 8).startswith("resnet18 {")


def test_texts_are_names():
    space = TorchvisionClassifiers(names=NAMES)
    assert space.parse("resnet18") == (1,)
    assert space.key((0,)) == "mobilenet_v3_small"
    labels = [label for _, label in space.graphs((1,))["network"].nodes(data="op_name")]
    assert labels == ["input", "resnet18", "output"]
    with pytest.raises(GenotypeError, match="Did you mean 'resnet18'"):
        space.parse("resnet34")


@pytest.mark.parametrize("names", [[], "resnet18", ["resnet18", "resnet18"], [18], ["models:resnet18"], 3])
def test_bad_names_are_refused(names: object):
    with pytest.raises(SpecError, match=r"space\.params\.names"):
        TorchvisionClassifiers(names=names)  # type: ignore[arg-type]


def test_it_is_registered_and_remade_from_its_parameters():
    space = SPACES.create("torchvision", {"names": NAMES})
    assert SPACES.create("torchvision", space.params).fingerprint == space.fingerprint


def test_torch_is_not_loaded_before_a_network_is_counted():
    code = (
        "import sys; from xnas_ray.spaces.torchvision_classifiers import TorchvisionClassifiers as T\n"
        "s = T(names=['resnet18']); s.parse('resnet18'); s.key((0,)); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
