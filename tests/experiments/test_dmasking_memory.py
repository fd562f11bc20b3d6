"""The memory that masks take as widths and resolutions grow, measured as the experiment does; its times are no test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "performance"


@pytest.fixture
def memory(script):
    return script("dmasking_memory")


def test_saved_bytes_are_those_of_different_storages(memory):
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 3, 1, bias=False))
    x = torch.randn(4, 1, 5, 5)
    # The image, one result of the ReLU (kept by it and by the next convolution), and the weights of both.
    assert memory.saved_bytes(model, x) == 4 * (100 + 200 + 2 + 6)


def test_widths_are_even_steps(memory):
    assert memory.widths(1) == [32]
    assert memory.widths(4) == [8, 16, 24, 32]
    assert memory.widths(32) == list(range(1, 33))


def test_the_peak_is_that_of_what_is_alive_at_a_time(memory):
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.exp().sum() + x.exp().sum()) * self.scale

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    x = torch.randn(1000)
    assert 4000 <= memory.peak_bytes(Twice(), x) < 5000  # the first exponentials are gone before the second


def test_masks_take_no_more_memory_for_32_widths_than_for_one(memory):
    x = torch.randn(8, 3, 16, 16)
    for measure in (memory.saved_bytes, memory.peak_bytes):
        masks = [measure(memory.stack(memory.Masked, k, depth=3), x) for k in (1, 32)]
        branches = [measure(memory.stack(memory.Branches, k, depth=3), x) for k in (1, 2, 32)]
        assert masks[1] < 1.01 * masks[0]
        assert branches[1] > 1.2 * branches[0]
        assert branches[2] > 8 * branches[0]


def test_the_supernet_takes_no_more_memory_for_32_widths(memory):
    x = torch.randn(4, 3, 16, 16)
    found = [memory.saved_bytes(memory.supernet(k, side=16), x) for k in (1, 32)]
    assert found[1] < 1.01 * found[0]


def test_the_supernet_takes_no_more_memory_for_8_resolutions(memory):
    x = torch.randn(8, 3, 32, 32)
    one, eight = memory._recomputing(memory.supernet(resolutions=1)), memory.supernet(resolutions=8)
    for measure in (memory.saved_bytes, memory.peak_bytes):
        assert measure(eight, x) < 1.01 * measure(one, x)
    kept = memory.saved_bytes(memory.BranchPerResolution(1), x)
    assert memory.peak_bytes(eight, x) < kept
    assert memory.saved_bytes(memory.BranchPerResolution(8), x) > 2.5 * kept
