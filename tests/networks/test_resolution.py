"""Subsampling on an even grid and putting pixels back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from xnas_ray.networks.resolution import grid, scatter, subsample

torch.set_num_threads(1)


@pytest.mark.parametrize("kept", range(1, 9))
def test_the_grid_is_that_of_nearest_neighbour_interpolation(kept: int):
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(subsample(x, (kept, kept)), functional.interpolate(x, size=(kept, kept), mode="nearest"))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_what_is_put_back_can_be_taken_again(height: int, width: int, data: st.DataObject):
    size = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    x = torch.randn(2, 3, *size)
    spread = scatter(x, (height, width))
    assert spread.shape == (2, 3, height, width)
    assert torch.equal(subsample(spread, size), x)
    assert torch.count_nonzero(spread) == torch.count_nonzero(x)


def test_nothing_is_copied_where_nothing_changes():
    x = torch.randn(1, 1, 4, 4)
    assert subsample(x, (4, 4)) is x
    assert scatter(x, (4, 4)) is x


def test_coarse_pixels_are_shared_by_all_resolutions_and_no_others():
    """Figure 3.5: of an 8 x 8 map seen at 8, 4 and 2, 48, 12 and 4 pixels get one, two and three contributions."""
    count = sum(scatter(torch.ones(1, 1, h, h), (8, 8)) for h in (8, 4, 2))
    assert [int((count == times).sum()) for times in (1, 2, 3)] == [48, 12, 4]


@pytest.mark.parametrize("ratio", [2, 4])
def test_convolving_a_subsampled_map_keeps_the_receptive_field(ratio: int):
    """It is the dilated convolution of the whole map, sampled on the grid."""
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    small = functional.conv2d(subsample(x, (8 // ratio, 8 // ratio)), weight, padding=1)
    dilated = functional.conv2d(x, weight, stride=ratio, padding=ratio, dilation=ratio)
    assert torch.allclose(small, dilated, atol=1e-5)


def test_gradients_go_back_to_the_pixels_on_the_grid():
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    factor = torch.randn(1, 2, 6, 6)
    (scatter(subsample(x, (4, 4)), (6, 6)) * factor).sum().backward()
    on_grid = torch.zeros(6, 6)
    on_grid[grid(6, 4)[:, None], grid(6, 4)] = 1
    assert torch.equal(x.grad, factor * on_grid)
