import pytest
import torch

from xnas_ray.errors import GenotypeError, UnknownNameError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.testing.tiny import TinySpace
from xnas_ray.training.build import build_network

SHAPE = DataShape(inputs=((6,),), outputs=3)


@pytest.mark.parametrize("builder", ["", "nothing", "no.such.module:build", "xnas_ray.testing.tiny:nothing", ":build"])
def test_a_builder_that_cannot_be_imported(builder):
    space = TinySpace()
    space.builder = builder
    with pytest.raises(UnknownNameError) as caught:
        build_network(space, (0, 0, 0), SHAPE)
    assert caught.value.field == "space.builder"


def test_a_builder_must_give_a_module():
    space = TinySpace()
    space.builder = "builtins:list"
    with pytest.raises((UnknownNameError, TypeError)):
        build_network(space, (0, 0, 0), SHAPE)


def test_the_genotype_is_checked():
    with pytest.raises(GenotypeError):
        build_network(TinySpace(), (9, 0, 0), SHAPE)


def test_a_real_space():
    space = NASBench201(cells_per_stage=1, channels=4, stages=2)
    network = build_network(space, (3, 1, 2, 0, 4, 3), DataShape(inputs=((1, 8, 8),), outputs=10))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("genotype", list(TinySpace().genotypes()))
def test_tiny_costs_are_those_of_the_network(genotype):
    network = build_network(TinySpace(), genotype, SHAPE)
    assert sum(p.numel() for p in network.parameters()) == TinySpace().cost(genotype, SHAPE).params
