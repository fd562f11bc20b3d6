"""Augmentation of whole batches on their device, as a function of (seed, epoch, batch)."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from xnas_ray.errors import SpecError
from xnas_ray.spaces.base import DataShape
from xnas_ray.training.autoaugment import PixelRange, Policy
from xnas_ray.training.recipe import Recipe

_STREAM = 0x9E3779B97F4A7C15
_MASK = 2**63 - 1


def stream_seed(seed: int, purpose: int, *counters: int) -> int:
    """A seed in [0, 2**63) for one purpose and place of a training (splitmix64; Steele et al. 2014)."""
    state = seed & _MASK
    for number in (purpose, *counters):
        state = (state + (number + 1) * _STREAM) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state & _MASK


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift every image by up to ``padding`` pixels each way, zeros coming in (``n x c x h x w``)."""
    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    shift = torch.randint(2 * padding + 1, (2, n), generator=generator, device=images.device)
    rows = shift[0][:, None] + torch.arange(height, device=images.device)
    columns = shift[1][:, None] + torch.arange(width, device=images.device)
    samples = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def horizontal_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability one half."""
    flip = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def cutout(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Blank a square around a random pixel of each image, clipped at the border (DeVries & Taylor 2017)."""
    n, _, height, width = images.shape
    device = images.device
    row = torch.randint(height, (n, 1), generator=generator, device=device) - size // 2
    column = torch.randint(width, (n, 1), generator=generator, device=device) - size // 2
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (y >= row) & (y < row + size)
    in_columns = (x >= column) & (x < column + size)
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def mixup_pairs(count: int, alpha: float, generator: torch.Generator, seed: int) -> tuple[Tensor, float]:
    """Partners (a permutation of ``count``) and the sample's own share, the larger part of a Beta(alpha, alpha) draw.

    The share is drawn on the host, so that no step waits for the device.
    """
    partners = torch.randperm(count, generator=generator, device=generator.device)
    share = random.Random(seed).betavariate(alpha, alpha)
    return partners, max(share, 1 - share)


class Augmentation:
    """What a recipe does to the inputs of a batch; same seed, epoch and batch give the same images.

    Args:
        recipe: names the augmentations.
        shape: inputs of the task; augmentations are for tasks with one image input.
        seed: of the training.
        device: where batches are.
        pixels: what autoaugment takes for black and white, see ``autoaugment.pixel_range``.

    Raises:
        SpecError: an augmentation of images is asked for on other inputs; autoaugment on images of another number of
            channels than 1 or 3, or without ``pixels``.
    """

    PURPOSE = 2
    POLICY_PURPOSE = 4
    """A stream of its own: what autoaugment draws changes no crop."""

    def __init__(
        self, recipe: Recipe, shape: DataShape, seed: int, device: torch.device, pixels: PixelRange | None = None
    ) -> None:
        images = [a for a in recipe.augment if a != "mixup"]
        if images and (len(shape.inputs) != 1 or len(shape.inputs[0]) != 3):
            raise SpecError(
                f"{images[0]!r} needs one image input, the task has the shapes {shape.inputs}.", field="recipe.augment"
            )
        self.policy: Policy | None = None
        if "autoaugment" in images:
            if pixels is None:
                raise SpecError("autoaugment is not possible here.", field="recipe.augment", fix="Leave it out.")
            self.policy = Policy(recipe.autoaugment_policy, shape.inputs[0][0], pixels)
        self.recipe = recipe
        self.mixes = "mixup" in recipe.augment
        self.seed = seed
        self.generator = torch.Generator(device)

    def __call__(
        self, inputs: tuple[Tensor, ...], epoch: int, batch: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, float] | None]:
        """Augmented inputs, and mixup's partners and share when it is on."""
        recipe = self.recipe
        if not recipe.augment:
            return inputs, None
        seed = stream_seed(self.seed, self.PURPOSE, epoch, batch)
        generator = self.generator.manual_seed(seed)
        if "random_crop" in recipe.augment:
            inputs = (random_crop(inputs[0], recipe.crop_padding, generator),)
        if "horizontal_flip" in recipe.augment:
            inputs = (horizontal_flip(inputs[0], generator),)
        if self.policy is not None:
            inputs = (self.policy(inputs[0], stream_seed(self.seed, self.POLICY_PURPOSE, epoch, batch)),)
        if "cutout" in recipe.augment:
            inputs = (cutout(inputs[0], recipe.cutout_size, generator),)
        if not self.mixes:
            return inputs, None
        partners, share = mixup_pairs(len(inputs[0]), recipe.mixup_alpha, generator, seed)
        return tuple(share * x + (1 - share) * x[partners] for x in inputs), (partners, share)
