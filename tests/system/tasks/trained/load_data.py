"""200 samples that a perceptron learns in a moment."""

from xnas_ray.tasks.base import Data
from xnas_ray.testing.tiny import tiny_data


def load_data() -> Data:
    return tiny_data()
