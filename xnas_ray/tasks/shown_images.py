"""Inputs of networks as images that people can look at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xnas_ray.tasks.base import Data, Split

SHOWN_SIDE = 64
"""Pixels of the longer side, at most: of a few hundred images of a trial."""

_CHANNELS = (1, 3)


def shown_images(data: Data, split: Split, rows: Tensor, *, side: int = SHOWN_SIDE) -> np.ndarray:
    """Some samples of a split as images, grey or in colour.

    Where the task says what black and white are (``Data.image_range``), images have the grey values of their files;
    else each channel goes from its least to its largest value among these samples.

    Args:
        data: of the task.
        split: one of its splits.
        rows: int64 ``N``, which samples.
        side: larger images are made smaller.

    Returns:
        uint8 ``N x H x W x C``, C being 1 or 3; ``N x 0 x 0 x 1`` where no input is an image.
    """
    inputs = next((x for x in split.inputs if x.dim() == 4 and x.shape[1] in _CHANNELS), None)
    if inputs is None or not len(rows):
        return np.zeros((len(rows), 0, 0, 1), dtype=np.uint8)
    images = inputs.index_select(0, rows.to(inputs.device)).float().cpu()
    black, white = _ends(images, data.image_range if inputs is split.inputs[0] else None)
    images = (images - black) / (white - black)
    height, width = images.shape[2:]
    if max(height, width) > side:
        shrunk = [max(1, round(length * side / max(height, width))) for length in (height, width)]
        images = functional.interpolate(images, size=shrunk, mode="area")
    pixels = images.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def _ends(images: Tensor, known: tuple[tuple[float, float], ...] | None) -> tuple[Tensor, Tensor]:
    """Black and white of every channel, ``C x 1 x 1``."""
    if known is not None:
        black, white = torch.tensor(known).t()
    else:
        black, white = images.amin(dim=(0, 2, 3)), images.amax(dim=(0, 2, 3))
        white = torch.where(white > black, white, black + 1)
    return black[:, None, None], white[:, None, None]
