"""Mixed operations: weighted sums, partial channels against the formula written out, what normalisation keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.networks.cells import ReluConvNorm
from xnas_ray.supernets.mixed import (
    MixedOperation,
    PartialMixed,
    mixed_operation,
    shuffled,
    with_batch_statistics,
)

torch.set_num_threads(1)


def operations(channels: int) -> list[nn.Module | None]:
    return [None, nn.Identity(), nn.Conv2d(channels, channels, 3, padding=1)]


def test_it_is_the_weighted_sum_and_none_is_zero():
    torch.manual_seed(0)
    mixed = MixedOperation(operations(4))
    x, weights = torch.randn(2, 4, 5, 5), torch.tensor([0.7, 0.2, 0.1], requires_grad=True)
    expected = 0.2 * x + 0.1 * mixed.operations["2"](x)
    assert torch.allclose(mixed(x, weights), expected)
    mixed(x, weights).square().sum().backward()
    assert weights.grad is not None and weights.grad[0] == 0 and weights.grad[1:].abs().min() > 0
    assert torch.equal(mixed(x, torch.tensor([0.0, 1.0, 0.0])), x)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("partial", [2, 4])
def test_partial_channels_work_on_the_first_share_alone(partial: int, stride: int):
    """The formula of Xu et al. written out channel by channel; the shuffle as a permutation of indices."""
    torch.manual_seed(0)
    channels, share = 8, 8 // partial
    convolution = nn.Conv2d(share, share, 3, stride=stride, padding=1)
    mixed = PartialMixed(MixedOperation([None, convolution]), partial, stride)
    x, weights = torch.randn(2, channels, 7, 6), torch.tensor([0.25, 0.75])
    result = mixed(x, weights)
    assert result.shape == (2, channels, -(-7 // stride), -(-6 // stride))
    worked = 0.75 * convolution(x[:, :share])
    kept = x[:, share:] if stride == 1 else nn.functional.max_pool2d(x[:, share:], 2, 2, ceil_mode=True)
    parts = torch.cat([worked, kept], dim=1)
    for channel in range(channels):
        group, place = channel % partial, channel // partial
        assert torch.allclose(result[:, channel], parts[:, group * share + place], atol=1e-6)


def test_a_shuffle_is_undone_by_its_counterpart():
    x = torch.randn(2, 12, 3, 3)
    assert torch.equal(shuffled(shuffled(x, 3), 4), x)
    assert shuffled(torch.arange(6.0).reshape(1, 6, 1, 1), 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_partial_channels_must_divide_the_channels():
    assert isinstance(mixed_operation(operations, 6, partial=1), MixedOperation)
    assert isinstance(mixed_operation(operations, 6, partial=3), PartialMixed)
    with pytest.raises(SpecError, match=r"6 channels.*by 4.*1, 2, 3, 6"):
        mixed_operation(operations, 6, partial=4)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_statistics_keep_nothing(affine: bool):
    module = with_batch_statistics(
        nn.Sequential(ReluConvNorm(2, 4, 3), nn.Sequential(nn.BatchNorm2d(4))), affine=affine
    )
    assert not list(module.buffers())
    assert len(list(module.parameters())) == (1 + 4 if affine else 1)
    x = torch.randn(8, 2, 5, 5)
    result = module.eval()(x)
    assert torch.equal(result, module.train()(x)), "evaluation normalises with the batch too"
    assert torch.allclose(result.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5)
