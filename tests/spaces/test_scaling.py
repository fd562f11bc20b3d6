"""Compound scaling: roundings, stages, and costs that follow the factors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.spaces.fbnet_published import PUBLISHED
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.inverted_residuals import Block, Definition, Head, Stem, count
from xnas_ray.spaces.scaling import rounded, scaled, stages

EACH = pytest.mark.parametrize("name", sorted(PUBLISHED))
SMALL = Definition(
    32,
    Stem(16),
    (
        Block(16),
        Block(24, stride=2, expansion=4.0, kernel=5, padding=1),
        Block(24, expansion=2.0),
        Block(40, expansion=3.0),
        Block(40, kernel=0),
        Block(48, kernel=0),
    ),
    Head(64, expansion=6.0),
)


@EACH
def test_factors_of_one_change_nothing(name: str):
    definition = PUBLISHED[name].definition
    assert scaled(definition) == definition
    assert tuple(block for stage in stages(definition) for block in stage) == definition.blocks


def test_members_of_the_space_keep_widths_that_are_no_multiples_of_8():
    space, rng = FBNetV3(), np.random.default_rng(0)
    for _ in range(20):
        definition = space.definition(space.sample(rng))
        assert scaled(definition) == definition


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [
        (24, 1.05, 24),
        (24, 1.1, 32),
        (24, 1.2, 32),
        (20, 1.1, 24),
        (18, 1.1, 20),
        (18, 0.999, 18),
        (7, 1.5, 11),
        (224, 1.1, 248),
        (8, 0.2, 8),
    ],
)
def test_roundings(value: int, factor: float, expected: int):
    assert rounded(value, factor) == expected


@given(st.integers(1, 400), st.floats(0.05, 20), st.floats(0.05, 20))
def test_roundings_are_monotone_and_near(value: int, one: float, other: float):
    low, high = sorted((one, other))
    assert rounded(value, low) <= rounded(value, high)
    assert rounded(value, 1.0) == value
    assert rounded(value, low) >= 0.95 * value * low
    assert abs(rounded(value, low) - value * low) <= 8


def test_stages_end_where_the_map_or_the_channels_change():
    assert [[block.width for block in stage] for stage in stages(SMALL)] == [[16], [24, 24], [40, 40], [48]]
    assert [len(stage) for stage in stages(PUBLISHED["fbnetv3_a"].definition)] == [2, 4, 5, 5, 6, 6, 1]


def test_layers_are_added_at_the_end_of_stages():
    deep = scaled(SMALL, depth=1.5)
    assert [len(stage) for stage in stages(deep)] == [2, 3, 3, 1]
    assert deep.blocks[4] == deep.blocks[3] == SMALL.blocks[2]
    # The third stage ends with a skip, which costs nothing: the layer before it is what is repeated.
    assert deep.blocks[5:8] == (SMALL.blocks[3], SMALL.blocks[4], SMALL.blocks[3])
    single = scaled(SMALL, depth=2).blocks[:2]
    assert single == (Block(16), Block(16))


def test_a_repeated_layer_does_not_shrink_the_map():
    definition = replace(SMALL, blocks=(Block(24, stride=2, expansion=4.0, kernel=5, padding=1),))
    first, second = scaled(definition, depth=2).blocks
    assert (first.stride, first.padding) == (2, 1)
    assert (second.stride, second.padding) == (1, None)


def test_layers_are_taken_from_the_end_of_stages():
    shallow = scaled(SMALL, depth=0.5)
    assert shallow.blocks == (SMALL.blocks[0], SMALL.blocks[1], SMALL.blocks[3], SMALL.blocks[5])


def test_rounding_errors_add_no_layer():
    definition = replace(SMALL, blocks=tuple(Block(16) for _ in range(5)))
    assert len(scaled(definition, depth=1.2).blocks) == 6
    assert len(scaled(definition, depth=1.21).blocks) == 7


FACTORS = (0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.7, 2.5)


@EACH
@pytest.mark.parametrize("which", ["depth", "width", "resolution"])
def test_costs_never_fall(name: str, which: str):
    costs = [count(scaled(PUBLISHED[name].definition, **{which: factor})).cost for factor in FACTORS]
    assert all(one.flops <= other.flops for one, other in pairwise(costs))
    assert all(one.params <= other.params for one, other in pairwise(costs))
    assert costs[0].flops < costs[4].flops < costs[-1].flops
    if which == "resolution":
        assert len({cost.params for cost in costs}) == 1


PAIR = st.tuples(st.floats(0.3, 2.5), st.floats(0.3, 2.5))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(PUBLISHED)), PAIR, PAIR, PAIR)
def test_more_of_everything_costs_no_less(
    name: str, depths: tuple[float, float], widths: tuple[float, float], resolutions: tuple[float, float]
):
    low, high = (
        scaled(PUBLISHED[name].definition, depth=choose(depths), width=choose(widths), resolution=choose(resolutions))
        for choose in (min, max)
    )
    assert count(low).flops <= count(high).flops
    assert count(low).weights <= count(high).weights


def test_scaled_networks_are_built():
    import torch

    from xnas_ray.networks.inverted_residual import InvertedResidualNetwork

    definition = scaled(SMALL, depth=1.5, width=1.3, resolution=1.25)
    network = InvertedResidualNetwork(definition, 3, 5).eval()
    assert definition.resolution == 40
    assert network(torch.randn(1, 3, 40, 40)).shape == (1, 5)
    assert sum(p.numel() for p in network.parameters()) == count(definition, outputs=5).cost.params


@pytest.mark.parametrize("factors", [{"depth": 0}, {"width": -1.0}, {"resolution": float("nan")}, {"depth": True}])
def test_bad_factors_are_refused(factors: dict[str, Any]):
    with pytest.raises(SpecError, match=next(iter(factors))):
        scaled(SMALL, **factors)
