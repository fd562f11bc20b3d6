"""Arithmetic of layers against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.messages import Cost
from xnas_ray.spaces import cost
from xnas_ray.spaces.base import DataShape

torch.set_num_threads(1)
small = st.integers(1, 5)


@settings(max_examples=30, deadline=None)
@given(small, small, st.sampled_from([1, 3, 5]), small, small, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_convolutions(a: int, b: int, kernel: int, height: int, width: int, stride: int, groups: int, bias: bool):
    layer = nn.Conv2d(a * groups, b * groups, kernel, stride, kernel // 2, groups=groups, bias=bias)
    output = layer(torch.zeros(1, a * groups, height, width))
    size = cost.strided((height, width), stride)
    assert tuple(output.shape[2:]) == size
    counted = cost.conv2d(a * groups, b * groups, kernel, size, groups=groups, bias=bias)
    assert counted.params == sum(p.numel() for p in layer.parameters())
    assert counted.flops == output.numel() * layer.weight[0].numel()


def test_linear_and_batch_norm():
    for bias in (True, False):
        layer = nn.Linear(7, 3, bias=bias)
        assert cost.linear(7, 3, bias=bias) == Cost(flops=21, params=sum(p.numel() for p in layer.parameters()))
    assert cost.batch_norm(6) == Cost(flops=0, params=sum(p.numel() for p in nn.BatchNorm2d(6).parameters()))


def test_total():
    assert cost.total([]) == cost.FREE
    assert cost.total([Cost(1, 10), Cost(2, 20)]) == Cost(3, 30)


def test_image_input():
    assert cost.image_input(DataShape(((3, 4, 5),), 2), "mine") == (3, 4, 5)
    for shape in (DataShape(((3,),), 2), DataShape(((3, 4, 5), (1,)), 2), DataShape(((3, 0, 5),), 2)):
        with pytest.raises(SpecError):
            cost.image_input(shape, "mine")
