"""CIFAR-100, from XNAS_DATA (torchvision's files or cifar100.npz) or a download."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import cifar100, image_data


def load_data(*, images: int | None = None) -> Data:
    """Normalised images; a fifth of the training images is for validation, stratified by class.

    ``images`` uses that many of the training images, a seeded choice; it is set as ``data.images`` of a search.
    """
    return image_data(cifar100(), holdout=0.2, seed=0, limit=images)
