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


def test_masks_take_no_more_memory_for_32_widths_than_for_one(memory):
    x = torch.randn(8, 3, 16, 16)
    masks = [memory.saved_bytes(memory.stack(memory.Masked, k, depth=3), x) for k in (1, 2, 32)]
    branches = [memory.saved_bytes(memory.stack(memory.Branches, k, depth=3), x) for k in (1, 2, 32)]
    assert masks[2] < 1.01 * masks[0]
    assert branches[1] > 1.3 * branches[0]
    assert branches[2] > 10 * branches[0]


def test_the_supernet_takes_no_more_memory_for_32_widths(memory):
    x = torch.randn(4, 3, 16, 16)
    found = [memory.saved_bytes(memory.supernet(k, side=16), x) for k in (1, 32)]
    assert found[1] < 1.01 * found[0]


def test_the_supernet_takes_no_more_memory_for_8_resolutions(memory):
    x = torch.randn(8, 3, 32, 32)
    one = memory._recomputing(memory.supernet(resolutions=1))
    found = [memory.saved_bytes(model, x) for model in (one, memory.supernet(resolutions=8))]
    branches = [memory.saved_bytes(memory.BranchPerResolution(k), x) for k in (1, 8)]
    assert found[1] < 1.01 * found[0] < branches[0]
    assert branches[1] > 2.5 * branches[0]
    again = [memory.again_bytes(model) for model in (one, memory.supernet(resolutions=8))]
    assert again[1] == pytest.approx(again[0], rel=1e-4)
    assert again[1] < branches[0]
