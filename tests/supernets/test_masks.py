"""Masks of widths: what the papers' figures say, one-hot cases, and sums over all cases one by one."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from xnas_ray.spaces.inverted_residuals import SQUEEZE, middle_channels, squeezed_channels
from xnas_ray.supernets.masks import LayerChoices, LayerShapes, prefixes

torch.set_num_threads(1)
INPUTS, EXPANSIONS, WIDTHS = (8, 12, 16), (0.75, 1.0, 2.5), (12, 16, 24, 32)


def weights(*sizes: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.softmax(2 * torch.randn(n, generator=generator, dtype=torch.float64), 0) for n in sizes]


def first(count: int, length: int) -> torch.Tensor:
    return (torch.arange(length) < count).double()


def test_prefixes():
    assert prefixes(torch.tensor([0, 2, 3]), 3).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("stride", [1, 2])
def test_masks_are_means_over_all_cases(stride: int):
    shapes = LayerShapes(INPUTS, EXPANSIONS, WIDTHS, stride)
    inputs, block, expansion, width = weights(3, 9, 3, 4)
    masks = shapes.masks(LayerChoices(inputs, block, expansion, width))
    expected = {name: 0.0 for name in ("expanded", "passed", "middle", "squeezed", "output", "shortcut")}
    for (i, c), (k, e), (j, w) in product(enumerate(INPUTS), enumerate(EXPANSIONS), enumerate(WIDTHS)):
        p = inputs[i] * expansion[k] * width[j]
        middle = middle_channels(c, e)
        expected["expanded" if middle != c else "passed"] += p * first(middle, shapes.most_middle)
        expected["middle"] += p * first(middle, shapes.most_middle)
        expected["squeezed"] += p * first(squeezed_channels(middle, SQUEEZE), shapes.most_squeezed)
        expected["output"] += p * first(w, 32)
        if c == w and stride == 1:
            expected["shortcut"] += p * first(w, 32)
    for name, value in expected.items():
        found = getattr(masks, name)
        assert torch.allclose(found, torch.zeros_like(found) + value, atol=1e-12), name


def test_masks_fall_from_channel_to_channel():
    shapes = LayerShapes(INPUTS, EXPANSIONS, WIDTHS, 1)
    inputs, block, expansion, width = weights(3, 9, 3, 4, seed=1)
    masks = shapes.masks(LayerChoices(inputs, block, expansion, width))
    for mask in (masks.middle, masks.squeezed, masks.output, masks.shortcut):
        assert (mask.diff() <= 1e-12).all()
    assert masks.output[0].item() == pytest.approx(1.0)


def test_one_hot_masks_are_ones_then_zeros():
    shapes = LayerShapes(INPUTS, EXPANSIONS, WIDTHS, 1)
    for i, k, j in product(range(3), range(3), range(4)):
        one = [torch.eye(n)[x] for n, x in ((3, i), (9, 0), (3, k), (4, j))]
        masks = shapes.masks(LayerChoices(one[0], one[1], one[2], one[3]))
        middle = middle_channels(INPUTS[i], EXPANSIONS[k])
        assert torch.equal(masks.middle, first(middle, shapes.most_middle).float())
        assert torch.equal(masks.output, first(WIDTHS[j], 32).float())
        assert bool(masks.shortcut.any()) == (INPUTS[i] == WIDTHS[j])
        assert bool(masks.passed.any()) == (middle == INPUTS[i])


def test_the_effective_number_of_channels_is_the_masks_sum():
    """The paper's example: 16 channels of weight 0.8 and 12 of weight 0.2 are 15.2."""
    shapes = LayerShapes((8,), (1.0,), (12, 16), 1)
    choices = LayerChoices(torch.ones(1), torch.eye(9)[0], torch.ones(1), torch.tensor([0.2, 0.8]))
    assert shapes.masks(choices).output.sum().item() == pytest.approx(15.2)
