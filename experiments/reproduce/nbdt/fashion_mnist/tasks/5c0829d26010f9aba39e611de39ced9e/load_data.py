"""Fashion-MNIST, from XNAS_DATA, Debian's dataset-fashion-mnist or a download."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import fashion_mnist, image_data


def load_data(*, images: int | None = None) -> Data:
    """Normalised images; a fifth of the training images is for validation, stratified by class.

    ``images`` uses that many of the training images, a seeded choice; it is set as ``data.images`` of a search.
    """
    return image_data(fashion_mnist(), holdout=0.2, seed=0, limit=images)
