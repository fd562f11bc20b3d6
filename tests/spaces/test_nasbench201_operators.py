"""Operators of NAS-Bench-201's networks, and their modules."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from xnas_ray.errors import GenotypeError
from xnas_ray.networks.nasbench201 import NASBench201Network
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.operators import Operator, added_up, operators_of

SPACE, SHAPE = NASBench201(cells_per_stage=2, channels=4, stages=2), DataShape(((3, 9, 8),), 5)
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"


def weight(operator: Operator) -> float:
    return 0.1 + sum((i + 1) * byte for i, byte in enumerate(operator.key.encode())) / 997


def test_the_operators_of_a_cell_by_hand():
    keys = [one.key.removeprefix("nb201 ") for one in SPACE.operators(SPACE.parse(CELL), SHAPE)]
    first = ["nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "add", "add"]
    assert keys == [
        "stem i3 o4 9x8",
        *(f"{kind} i4 o4 9x8" for kind in first * 2),
        "reduction i4 o8 9x8",
        *(f"{kind} i8 o8 5x4" for kind in first * 2),
        "tail i8 o5 5x4",
    ]
    zeros = Counter(one.key for one in SPACE.operators((0,) * 6, SHAPE))
    assert zeros["nb201 zero i4 o4 9x8"] == 2 * 3
    assert not any("add" in key for key in zeros)


def test_sums_of_many_are_those_of_each():
    rng = np.random.default_rng(0)
    genotypes = [*((i,) * 6 for i in range(5)), *(SPACE.sample(rng) for _ in range(200))]
    together = SPACE.add_up(genotypes, SHAPE, weight).tolist()
    assert together == [added_up(SPACE.operators(genotype, SHAPE), weight) for genotype in genotypes]
    assert SPACE.add_up([], SHAPE, weight).shape == (0,)
    with pytest.raises(GenotypeError):
        SPACE.add_up([(0,) * 5], SHAPE, weight)


def test_five_cells_have_every_operator():
    small = NASBench201(cells_per_stage=1, channels=2, stages=2)
    cover = operators_of(small, small.covering(), SHAPE)
    assert cover.keys() == operators_of(small, product(range(5), repeat=6), SHAPE).keys()
    assert len(cover) == 1 + 2 * 5 + 1 + 1


def test_modules_are_those_of_the_network():
    genotype = SPACE.parse(CELL)
    network = SPACE.build(genotype, SHAPE)
    assert isinstance(network, NASBench201Network)
    operators = SPACE.operators(genotype, SHAPE)
    modules = [operator.build().eval() for operator in operators]
    assert sum(p.numel() for module in modules for p in module.parameters()) == SPACE.cost(genotype, SHAPE).params
    for operator, module in zip(operators, modules, strict=True):
        y = module(torch.rand(2, *operator.reads))
        assert y.shape[1] == operator.outputs and len(y) == 2
    x = torch.rand(2, 3, 9, 8)
    modules[0].load_state_dict(network.stem.state_dict())
    assert torch.equal(modules[0](x), network.eval().stem(x))
    tail = modules[-1]
    tail.norm.load_state_dict(network.norm.state_dict())
    tail.head.load_state_dict(network.head.state_dict())
    assert torch.allclose(tail(network.body(network.stem(x))), network(x))
    kinds = {operator.kind: module for operator, module in zip(operators, modules, strict=True)}
    assert torch.equal(kinds["add"](x), 2 * x)
    zero = next(one for one in SPACE.operators((0,) * 6, SHAPE) if one.kind == "zero").build()
    assert torch.equal(zero(x), torch.zeros_like(x))
