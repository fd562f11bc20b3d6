"""Inputs of networks back as images: as they were where the task tells black and white, stretched elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xnas_ray.errors import TaskError
from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.datasets import digits, image_data, image_range
from xnas_ray.tasks.image_files import Images
from xnas_ray.tasks.mapped import MappedImages
from xnas_ray.tasks.shown_images import SHOWN_SIDE, shown_images


def colours(count: int = 40, side: int = 6) -> tuple[torch.Tensor, Data]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(20, 200, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    return pixels, image_data(Images(pixels, labels, pixels, labels, ("a", "b"), "made"), holdout=0.25)


def test_grey_values_are_those_of_the_files():
    pixels, data = colours()
    rows = torch.tensor([5, 0, 39])
    found = shown_images(data, data.test, rows)
    assert found.dtype == np.uint8 and np.array_equal(found, pixels[rows].permute(0, 2, 3, 1).numpy())


def test_the_brightest_of_the_digits_is_white():
    data, images = image_data(digits(), holdout=0.2), digits().train
    found = shown_images(data, data.validation, torch.arange(50))
    assert found.shape == (50, 8, 8, 1) and found.min() == 0 and found.max() == 255
    levels = {round(255 * grey / 16) for grey in range(17)}
    assert set(found.flatten().tolist()) <= levels and images.max() == 16


def test_without_a_range_each_channel_is_stretched():
    pixels, data = colours()
    rows = torch.arange(12)
    found = shown_images(replace(data, image_range=None), data.test, rows).astype(float)
    assert (found.min(axis=(0, 1, 2)) == 0).all() and (found.max(axis=(0, 1, 2)) == 255).all()
    known = pixels[rows].permute(0, 2, 3, 1).numpy().astype(float)
    assert np.corrcoef(found[..., 1].ravel(), known[..., 1].ravel())[0, 1] > 0.999
    flat = Split((torch.full((3, 1, 4, 4), 0.5),), torch.zeros(3, dtype=torch.int64))
    assert (shown_images(replace(data, image_range=None), flat, torch.arange(3)) == 0).all()


def test_large_images_are_made_smaller():
    _, data = colours(side=2 * SHOWN_SIDE)
    found = shown_images(data, data.validation, torch.tensor([1]))
    assert found.shape == (1, SHOWN_SIDE, SHOWN_SIDE, 3)
    wide = Split((torch.rand(1, 1, 8, 4),), torch.zeros(1, dtype=torch.int64))
    assert shown_images(replace(data, image_range=None), wide, torch.tensor([0]), side=4).shape == (1, 4, 2, 1)


@pytest.mark.parametrize("shape", [(6,), (5, 4, 4), (2, 3)])
def test_what_is_no_image_gives_none(shape):
    split = Split((torch.rand(9, *shape),), torch.zeros(9, dtype=torch.int64))
    data = Data(split, split, split, classes=("a", "b"))
    assert shown_images(data, split, torch.tensor([1, 2])).shape == (2, 0, 0, 1)


def test_images_in_a_file_are_read_one_by_one():
    raw = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    mean, deviation = [100.0, 90.0, 80.0], [50.0, 60.0, 70.0]
    split = Split((MappedImages(raw, None, mean, deviation),), torch.zeros(5, dtype=torch.int64))
    data = Data(split, split, split, classes=("a",), image_range=image_range(mean, deviation))
    assert np.array_equal(shown_images(data, split, torch.tensor([3, 1])), raw[[3, 1]].transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "given",
    [
        ((0, 1),),
        ((0, 1), (0, 1), (1, 1)),
        ((1, 0),) * 3,
        (0, 1, 2),
        ((0, 1, 2),) * 3,
        (("black", "white"),) * 3,
        ((-float("inf"), float("inf")),) * 3,
    ],
)
def test_a_range_that_does_not_fit_is_refused(given):
    _, data = colours()
    with pytest.raises(TaskError, match=r"Data.image_range.*black and white"):
        replace(data, image_range=given)


def test_numbers_without_channels_have_no_range():
    split = Split((torch.rand(9),), torch.zeros(9, dtype=torch.int64))
    with pytest.raises(TaskError, match=r"Data.image_range.*two numbers a channel"):
        Data(split, split, split, classes=("a", "b"), image_range=((0, 1),))
