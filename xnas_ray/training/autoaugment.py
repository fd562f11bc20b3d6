"""AutoAugment on batches of normalised images, each image by a policy of its own (Cubuk et al., CVPR 2019)."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xnas_ray.errors import SpecError

if TYPE_CHECKING:
    from torchvision.transforms import AutoAugment

PixelRange = tuple[Tensor, Tensor]
"""What black and white are in each channel, float32 ``channels`` each."""

SAMPLE = 4096
CHUNK = 256
Drawn = tuple[int, tuple[bool, ...], tuple[bool, ...]]
"""Number of a sub-policy, which of its two operations are applied, and whether their magnitudes are positive."""


def pixel_range(images: Tensor) -> PixelRange:
    """The least and the largest value of each channel of ``n x channels x h x w``.

    Tasks give images in units of their own, mostly normalised, while the policy's operations are defined on values of
    0..255. A data set has black and white pixels in every channel, so its range says what these are. Of more than
    ``SAMPLE`` images no more than that many, evenly spaced, are looked at.
    """
    if images.dim() != 4:
        raise SpecError(f"'autoaugment' needs images, the inputs are {tuple(images.shape)}.", field="recipe.augment")
    low, high = [], []
    for places in torch.arange(0, len(images), -(-len(images) // SAMPLE), device=images.device).split(CHUNK):
        some = images.index_select(0, places)  # a few at a time: they may lie in a file
        low.append(some.amin((0, 2, 3)))
        high.append(some.amax((0, 2, 3)))
    return torch.stack(low).amin(0).float(), torch.stack(high).amax(0).float()


class Policy:
    """Torchvision's policy for a task, applied to each image of a batch by a draw of its own.

    Images are taken to 0..255, whole numbers, which loses nothing if that is what they were made of; an image to which
    no operation is applied is given back as it was. What a rotation or shift brings in is 0, as in the other
    augmentations: the mean of normalised images.

    Args:
        name: ``imagenet``, ``cifar10`` or ``svhn``.
        channels: of the images.
        pixels: what 0 and 255 are, see ``pixel_range``.

    Raises:
        SpecError: the images are neither grey (1 channel) nor coloured (3).
    """

    def __init__(self, name: str, channels: int, pixels: PixelRange) -> None:
        """Prepare the scale."""
        if channels not in (1, 3):
            raise SpecError(f"'autoaugment' needs images of 1 or 3 channels, not {channels}.", field="recipe.augment")
        low, high = (value.view(-1, 1, 1) for value in pixels)
        self.name = name
        self.low = low
        self.unit = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
        self.fill = [float(v) for v in (-low / self.unit).round().clamp(0, 255).flatten()]

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augment ``n x channels x h x w``, floats; a function of the images and the seed."""
        groups: dict[Drawn, list[int]] = defaultdict(list)
        for number, drawn in enumerate(self.draw(len(images), seed)):
            if any(drawn[1]):
                groups[drawn].append(number)
        if not groups:
            return images
        low, unit = self.low.to(images), self.unit.to(images)
        result = images.clone()
        for drawn, numbers in groups.items():
            places = torch.tensor(numbers, device=images.device)
            values = ((images[places] - low) / unit).round().clamp(0, 255).to(torch.uint8)
            changed = _augmenter(self.name).apply(values, drawn, self.fill)
            result[places] = changed.to(images.dtype) * unit + low
        return result

    def draw(self, count: int, seed: int) -> list[Drawn]:
        """What happens to each of ``count`` images; drawn on the host, so that no step waits for the device."""
        policies = _augmenter(self.name).policies
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(policies), (count,), generator=generator).tolist()
        chances = torch.rand(count, 2, generator=generator).tolist()
        signs = torch.randint(2, (count, 2), generator=generator).tolist()
        found = []
        for policy, chance, sign in zip(chosen, chances, signs, strict=True):
            applied = tuple(draw <= operation[1] for draw, operation in zip(chance, policies[policy], strict=True))
            found.append((policy, applied, tuple(bool(s) if a else True for s, a in zip(sign, applied, strict=True))))
        return found


@cache
def _augmenter(name: str) -> _Decided:
    return _Decided(name)


class _Decided:
    """Torchvision's ``AutoAugment`` with the draw decided by the caller; it treats a batch as one image would be."""

    def __init__(self, name: str) -> None:
        from torchvision.transforms import AutoAugment, AutoAugmentPolicy

        decided = self

        class Augmenter(AutoAugment):
            @staticmethod
            def get_params(transform_num: int) -> tuple[int, Tensor, Tensor]:
                """What is drawn at random otherwise: the sub-policy, a chance an operation, and signs."""
                policy, applied, signs = decided.drawn
                return policy, torch.tensor([-1.0 if a else 2.0 for a in applied]), torch.tensor(signs).int()

        self.drawn: Drawn = (0, (), ())
        self._augment: AutoAugment = Augmenter(AutoAugmentPolicy(name))
        self.policies: list[tuple[tuple[str, float, int | None], ...]] = self._augment.policies

    def apply(self, images: Tensor, drawn: Drawn, fill: list[float]) -> Tensor:
        """One sub-policy on a batch of uint8 images."""
        self.drawn, self._augment.fill = drawn, fill
        changed: Tensor = self._augment(images)
        return changed
