"""The small supernet that influences are checked against is a supernet, and its weights settle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xnas_ray.errors import GenotypeError, InfluenceError
from xnas_ray.spaces.base import DataShape
from xnas_ray.supernets.derivatives import Derivatives, supernet_loss
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.testing.space_case import SpaceTestCase
from xnas_ray.testing.tiny_supernet import EDGES, OPERATIONS, SHAPE, TinyCells, TinySupernet, settle, tiny_split


class TestTinyCells(SpaceTestCase):
    def make_space(self) -> TinyCells:
        return TinyCells()

    def shape(self) -> DataShape:
        return SHAPE


def test_with_the_weights_of_one_cell_it_is_that_cell():
    space, supernet, x = TinyCells(), TinySupernet(seed=3), tiny_split(7).inputs[0]
    for genotype in space.genotypes():
        network = space.build(genotype, SHAPE).double()
        with torch.no_grad():
            for edge, linear in network.maps.items():
                learned = OPERATIONS[genotype[int(edge)]] == "tanh"
                linear.weight.copy_(supernet.maps[int(edge), int(learned)].T)
            network.head.weight.copy_(supernet.head.T)
            network.head.bias.copy_(supernet.bias)
            alone = torch.nn.functional.one_hot(torch.tensor(genotype), len(OPERATIONS)).double()
            assert torch.allclose(supernet(x, mixing=alone), network(x), atol=1e-12)
        assert sum(p.numel() for p in network.parameters()) == space.cost(genotype, SHAPE).params


def test_names_and_texts():
    space = TinyCells()
    assert [choice.name for choice in space.choices] == [f"{target}<-{source}" for source, target in EDGES]
    assert space.format((3, 0, 2)) == "tanh,none,linear"
    with pytest.raises(GenotypeError, match="is no cell"):
        space.parse("tanh,none,conv")


def test_weights_settle_at_a_minimum():
    supernet = TinySupernet(seed=5)
    data = SearchData(tiny_split(), batch_size=60, seed=0)
    one = Derivatives(supernet, supernet_loss(supernet), data.fixed(data.weight_indices, 1), ridge=0.1)
    before = one.value()
    with pytest.raises(InfluenceError, match="did not settle"):
        settle(one, steps=1)
    settle(one)
    assert float(one.gradient().norm()) < 1e-10 and one.value() < before
    assert float(torch.linalg.eigvalsh(one.hessian())[0]) > 0
    classes = np.bincount(tiny_split().targets.numpy())
    assert len(classes) == 3 and min(classes) > 10
