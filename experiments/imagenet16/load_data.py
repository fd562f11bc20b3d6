"""ImageNet16-120, from XNAS_DATA: the batches of NATS-Bench's data, or imagenet16.npz."""

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import image_data
from xnas_ray.tasks.imagenet16 import imagenet16


def load_data(*, images: int | None = None) -> Data:
    """Normalised images; a tenth of the training images is for validation, ImageNet's validation images are the test.

    ``images`` uses that many of the training images, a seeded choice; it is set as ``data.images`` of a search.
    """
    return image_data(imagenet16(), holdout=0.1, seed=0, limit=images)
