"""Maps at a lower resolution: pixels that are kept on an even grid, and put back where they came from.

The grid of ``h`` rows of ``H`` is ``floor(i H / h)``, that of nearest-neighbour interpolation. Where ``h`` does not
divide ``H`` neighbours on it are not equally far apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xnas_ray.spaces.inverted_residuals import Size


def grid(full: int, kept: int, device: torch.device | None = None) -> Tensor:
    """Which rows (or columns) of ``full`` are kept; int64, ``kept`` of them, ascending, from 0."""
    return torch.arange(kept, device=device) * full // kept


def subsample(x: Tensor, size: Size) -> Tensor:
    """The pixels on the grid: ``n x c x H x W`` to ``n x c x h x w``; the same tensor where nothing is left out."""
    height, width = x.shape[2:]
    if height != size[0]:
        x = x.index_select(2, grid(height, size[0], x.device))
    return x.index_select(3, grid(width, size[1], x.device)) if width != size[1] else x


def scatter(x: Tensor, size: Size) -> Tensor:
    """Pixels back on the grid of a larger map, zeros between them: ``n x c x h x w`` to ``n x c x H x W``.

    ``subsample(scatter(x, size), x.shape[2:])`` is ``x``.
    """
    height, width = x.shape[2:]
    if (height, width) == tuple(size):
        return x
    rows, columns = grid(size[0], height, x.device), grid(size[1], width, x.device)
    spread = x.new_zeros(*x.shape[:2], *size)
    return spread.index_put((*_all(x), rows[:, None], columns[None, :]), x)


def _all(x: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of every sample and channel, to be joined with those of rows and columns."""
    n, channels = x.shape[:2]
    device = x.device
    return (
        torch.arange(n, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
    )
