"""Scikit-learn's 1,797 digits of 8 x 8 pixels: nothing to download."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import digits, image_data


def load_data() -> Data:
    """Normalised images; a fifth of the training images is for validation, stratified by class."""
    return image_data(digits(), holdout=0.2, seed=0)
