"""The counter of inverted-residual networks: roundings, maps, and one block worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.messages import Cost
from xnas_ray.spaces.inverted_residuals import (
    Block,
    Count,
    Definition,
    Head,
    Placed,
    Stem,
    after,
    count,
    count_block,
    divisible,
    middle_channels,
    place,
    squeezed_channels,
)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, 8), (8, 8), (9, 16), (11.9, 16), (12, 16), (16.8, 16), (17, 24), (20, 24), (100, 104), (159, 160), (164, 168)],
)
def test_roundings(channels: float, expected: int):
    assert divisible(channels) == expected


@given(st.floats(0.1, 4000))
def test_rounding_stays_near_and_never_far_below(channels: float):
    rounded = divisible(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.95 * channels
    assert rounded - channels <= 8
    assert divisible(rounded) == rounded


def test_channels_inside_a_block():
    assert middle_channels(24, 5.4566) == 128
    assert squeezed_channels(56, 0.25) == 16
    assert squeezed_channels(56, 0.0) == 0


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (5, 2, 2), (5, 2, 1), (3, 2, 0), (1, 2, 0)])
def test_maps_are_as_torch_makes_them(kernel: int, stride: int, padding: int):
    import torch

    for size in ((7, 9), (8, 5), (14, 14)):
        result = torch.nn.functional.conv2d(
            torch.zeros(1, 1, *size), torch.zeros(1, 1, kernel, kernel), None, stride, padding
        )
        assert after(size, kernel, stride, padding) == tuple(result.shape[2:])


def test_maps_that_vanish_are_refused():
    with pytest.raises(SpecError, match="too small"):
        after((2, 8), 5, 2, 1)
    with pytest.raises(SpecError, match="too small"):
        count(Definition(8, Stem(8), (Block(8, kernel=5, padding=0),), Head(8)), size=(4, 4))


def test_a_block_by_hand():
    block = Block(width=24, stride=2, expansion=4.0, kernel=5, squeeze=0.25)
    placed = Placed(block, inputs=16, middle=64, squeezed=16, size=(8, 6), result=(4, 3))
    counted = count_block(placed)
    assert counted.flops == 16 * 64 * 48 + 25 * 64 * 12 + 2 * 64 * 16 + 64 * 24 * 12
    assert counted.weights == 16 * 64 + 25 * 64 + 2 * 64 * 16 + 64 * 24
    assert counted.others == 2 * 64 + 2 * 64 + (16 + 64) + 2 * 24
    assert counted.pooled == 64 * 12
    assert counted.cost == Cost(counted.flops, counted.weights + counted.others)
    assert counted.published == Cost(counted.flops + counted.pooled, counted.weights)


def test_no_expansion_where_channels_agree():
    trunk = (Block(16, expansion=1.0), Block(16, expansion=0.75), Block(16, expansion=2.0))
    placed = list(place(Definition(16, Stem(16), trunk, Head(32))))
    assert [one.middle for one in placed] == [16, 16, 32]
    assert [one.expands for one in placed] == [False, False, True]
    assert all(one.keeps_shape for one in placed)
    assert count_block(placed[0]) == count_block(placed[1])


def test_skips_cost_nothing_or_a_projection():
    trunk = (Block(8, kernel=0), Block(8, kernel=0, stride=2), Block(16, kernel=0))
    same, strided, wider = place(Definition(16, Stem(8), trunk, Head(32)))
    assert count_block(same) == Count()
    assert count_block(strided) == Count(flops=8 * 8 * 16, weights=64, others=16)
    assert count_block(wider) == Count(flops=8 * 16 * 16, weights=128, others=32)
    assert [one.result for one in (same, strided, wider)] == [(8, 8), (4, 4), (4, 4)]


def test_stem_and_heads():
    small = dict(inputs=1, outputs=10, size=(9, 7))
    plain = count(Definition(9, Stem(8), (), Head(40)), **small)
    stem, classifier = 1 * 8 * 9, 40 * 10
    assert plain == Count(
        flops=stem * 20 + 8 * 40 * 20 + classifier,
        weights=stem + 8 * 40 + classifier,
        others=2 * 8 + 2 * 40 + 10,
        pooled=40 * 20,
    )
    pooled = count(Definition(9, Stem(8), (), Head(40, expansion=3.0)), **small)
    assert pooled == Count(
        flops=stem * 20 + 8 * 24 * 20 + 24 * 40 + classifier,
        weights=stem + 8 * 24 + 24 * 40 + classifier,
        others=2 * 8 + 2 * 24 + 10,
        pooled=24 * 20 + 40,
    )
