"""Costs of thousands of networks of inverted residuals at once: ``count`` on arrays, to the same integers.

Controllers that rank a pool of candidates, or keep a budget while they evolve, ask for the cost of every one of them:
one network after the other that takes longer than their predictor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from xnas_ray.spaces.inverted_residuals import DIVISOR, Head, Size, Stem, subsampled

Sides = tuple[np.ndarray, np.ndarray]
"""Heights and widths of maps, int64 ``[n]`` each."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One block of every network; arrays are ``[n]``.

    Attributes:
        width: channels that it gives.
        stride: 1 or 2, the same in all networks.
        expansion: float64, see ``inverted_residuals.Block``.
        kernel: 0 for a skip; padding is half of it.
        squeeze: float64, 0 for none.
        activation: index into ``inverted_residuals.ACTIVATIONS``.
        present: bool; networks without it pass it by.
    """

    width: np.ndarray
    stride: int
    expansion: np.ndarray
    kernel: np.ndarray
    squeeze: np.ndarray
    activation: np.ndarray
    present: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``n`` networks of the same form.

    Attributes:
        resolution: int64 ``[n]``.
        stem: the first convolution, but for its width.
        stem_width: int64 ``[n]``.
        layers: one after the other; read once.
        head: of all.
    """

    resolution: np.ndarray
    stem: Stem
    stem_width: np.ndarray
    layers: Iterable[Layer]
    head: Head


def count_batch(batch: Batch, *, inputs: int, outputs: int, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """FLOPs and parameters, int64 ``[n]`` each, as ``count(…).cost`` gives them one by one.

    Args:
        batch: the networks.
        inputs: channels of the images.
        outputs: classes or regressed values.
        size: of the images, before networks subsample them to their resolution.

    Raises:
        SpecError: a network's resolution is above the images' height.
    """
    stem, channels = batch.stem, batch.stem_width.astype(np.int64)
    first = _strided(seen_batch(batch.resolution, size), stem.kernel, stem.stride)
    weights = inputs * channels * stem.kernel**2
    flops, params = weights * first[0] * first[1], weights + 2 * channels
    for layer, read, sides in place_batch(batch, size):
        if layer is None:
            more_flops, more_params = _head(batch.head, read, sides)
        else:
            found = _block(layer, read, sides, _strided(sides, 1, layer.stride))
            more_flops, more_params = (np.where(layer.present, more, 0) for more in found)
        flops += more_flops
        params += more_params
    classifier = batch.head.width * outputs
    return flops + classifier, params + classifier + outputs


def place_batch(batch: Batch, size: Size) -> Iterator[tuple[Layer | None, np.ndarray, Sides]]:
    """The layers with the channels and maps that they read, int64 ``[n]``; at last None, with those of the head.

    Args:
        batch: the networks; their layers are used up.
        size: of the images, before networks subsample them to their resolution.

    Raises:
        SpecError: a network's resolution is above the images' height.
    """
    channels = batch.stem_width.astype(np.int64)
    sides = _strided(seen_batch(batch.resolution, size), batch.stem.kernel, batch.stem.stride)
    for layer in batch.layers:
        yield layer, channels, sides
        result = _strided(sides, 1, layer.stride)
        channels = np.where(layer.present, layer.width, channels)
        sides = tuple(np.where(layer.present, new, old) for new, old in zip(result, sides, strict=True))  # type: ignore[assignment]
    yield None, channels, sides


def divisible_batch(channels: np.ndarray) -> np.ndarray:
    """``inverted_residuals.divisible`` of float64 ``[n]``, int64 ``[n]``."""
    rounded = np.maximum(DIVISOR, np.floor((channels + DIVISOR / 2) / DIVISOR) * DIVISOR)
    return np.where(rounded < 0.95 * channels, rounded + DIVISOR, rounded).astype(np.int64)


def _block(layer: Layer, inputs: np.ndarray, sides: Sides, result: Sides) -> tuple[np.ndarray, np.ndarray]:
    """See ``inverted_residuals.count_block``."""
    before, after = sides[0] * sides[1], result[0] * result[1]
    width, taps = layer.width.astype(np.int64), layer.kernel.astype(np.int64) ** 2
    middle = divisible_batch(inputs * layer.expansion)
    expand = np.where(middle != inputs, inputs * middle, 0)
    squeezed = np.where(layer.squeeze > 0, divisible_batch(np.trunc(middle * layer.squeeze)), 0)
    gates = 2 * middle * squeezed
    project = middle * width
    flops = expand * before + middle * taps * after + gates + project * after
    norms = 2 * (np.where(expand > 0, middle, 0) + middle + width)
    params = expand + middle * taps + gates + np.where(squeezed > 0, squeezed + middle, 0) + project + norms
    moved = np.full(len(width), layer.stride != 1) | (inputs != width)
    skip = np.where(moved, inputs * width, 0)
    is_skip = layer.kernel == 0
    return (
        np.where(is_skip, skip * after, flops),
        np.where(is_skip, skip + np.where(moved, 2 * width, 0), params),
    )


def _head(head: Head, channels: np.ndarray, sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    pixels = sides[0] * sides[1]
    if not head.expansion:
        weights = channels * head.width
        return weights * pixels, weights + 2 * head.width
    middle = divisible_batch(channels * head.expansion)
    expand = np.where(middle != channels, channels * middle, 0)
    after = middle * head.width
    return expand * pixels + after, expand + np.where(expand > 0, 2 * middle, 0) + after


def seen_batch(resolution: np.ndarray, size: Size) -> Sides:
    """Heights and widths at which each network looks at images of a size."""
    options, places = np.unique(resolution, return_inverse=True)
    seen = np.array([subsampled(size, int(option)) for option in options], dtype=np.int64).reshape(-1, 2)
    return seen[places, 0], seen[places, 1]


def _strided(sides: Sides, kernel: int, stride: int) -> Sides:
    """Sides after a convolution that is padded by half its (odd) kernel, which then plays no part."""
    padding = kernel // 2
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
    return height, width
