"""Tiny ImageNet, 200 classes at 64 x 64 pixels, from the folder tiny-imagenet-200 in XNAS_DATA."""

from collections.abc import Sequence

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.imagenet import tiny_imagenet
from xnas_ray.tasks.selection import Selection


def load_data(
    *,
    classes: int | str | Sequence[str] | None = None,
    withheld_classes: float | Sequence[str] = 0.0,
    withheld_images: float = 0.0,
    part: str = "kept",
    seed: int = 0,
    side: int = 64,
) -> Data:
    """Normalised squares; all arguments are ``data`` of a search.

    ``classes`` is how many, a seeded choice, or which, or the name of a list in XNAS_DATA. What is withheld is what
    nothing is trained on; ``part = "withheld"`` gives just that.
    """
    selection = Selection(classes, withheld_classes, withheld_images, part, seed)
    return tiny_imagenet(selection, side=side)
