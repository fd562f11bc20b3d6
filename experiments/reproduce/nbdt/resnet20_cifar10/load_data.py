"""Images of CIFAR-10 as the published network reads them."""

import torch

from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.datasets import image_range

from .resnet20 import MEAN, STD, class_names, normalised, pictures


def load_data() -> Data:
    """5,000 images that the network was trained on, and 2,000 test images.

    The test images are the validation split as well: ways to train are compared on them as in the tables of this
    folder's README, and nobody chooses one by them.
    """
    names, wnids = class_names()
    train, test = (
        Split((normalised(pixels).contiguous(memory_format=torch.contiguous_format),), labels)
        for pixels, labels in map(pictures, ("train", "test"))
    )
    return Data(
        train,
        test,
        test,
        classes=names,
        source="cifar10_subset.npz",
        wnids=wnids,
        image_range=image_range([255 * m for m in MEAN], [255 * s for s in STD]),
    )
