"""CIFAR-10, from XNAS_DATA (all of it, or the subset) or a download."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import cifar10, image_data


def load_data() -> Data:
    """Normalised images; a fifth of the training images is for validation, stratified by class."""
    return image_data(cifar10(), holdout=0.2, seed=0)
