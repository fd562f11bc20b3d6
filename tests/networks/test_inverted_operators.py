"""Modules of operators are the network, cut where tables cut it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.networks.inverted_residual import InvertedResidualNetwork
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.fbnetv3 import FBNetV3

SMALL_V2 = FBNetV2(rows=[[[0.75, 3.0, 0.75], [12, 24, 4], 2, 2]] * 2, stem=8, head=32, resolutions=[12, 14])
CASES: list[Space] = [FBNetV3(preset="digits"), FBNetV3(preset="digits", head_expansion=1), SMALL_V2]


@pytest.mark.parametrize("space", CASES, ids=["v3", "v3-plain-head", "v2"])
def test_they_compute_what_the_network_does(space: Space):
    shape, rng = DataShape(((2, 16, 15),), 5), np.random.default_rng(3)
    for _ in range(6):
        genotype = space.canonical(space.sample(rng))
        network = space.build(genotype, shape).eval()
        assert isinstance(network, InvertedResidualNetwork)
        whole = [network.stem, *(b for b in network.blocks if not isinstance(b, nn.Identity)), network.head]
        x = images = torch.randn(2, 2, 16, 15)
        operators = space.operators(genotype, shape)
        for operator, part in zip(operators, [*whole, network.classifier], strict=True):
            module = operator.build().eval()
            values = part.state_dict()
            module.load_state_dict(dict(zip(module.state_dict(), values.values(), strict=True)))
            assert tuple(x.shape[1:]) == operator.reads, operator.key
            x = module(x)
        assert torch.equal(x, network(images))
