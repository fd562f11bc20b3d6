import numpy as np
import pytest
import torch

from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.mapped import MappedImages
from xnas_ray.tasks.resident import ResidentData
from xnas_ray.testing.tiny import tiny_data


class CountingTask:
    """Stands for a LoadedTask: counts how often its data are loaded."""

    def __init__(self, hash: str) -> None:
        self.hash, self.loads = hash, 0

    def load_data(self, samples: int = 100):
        self.loads += 1
        return tiny_data(samples=samples)


@pytest.fixture
def size() -> int:
    return tiny_data(samples=100).bytes


def test_loaded_once_a_task_and_parameters(size):
    resident, task = ResidentData(10 * size), CountingTask("a")
    assert resident.get(task) is resident.get(task)
    assert resident.get(task, params={"samples": 50}) is not resident.get(task)
    assert task.loads == 2


def test_the_least_recently_used_goes_first(size):
    resident = ResidentData(2 * size)
    a, b, c = (CountingTask(name) for name in "abc")
    for task in (a, b, a, c):  # b is the oldest when c comes
        resident.get(task)
    assert len(resident) == 2
    assert resident.bytes <= 2 * size
    resident.get(a)
    assert a.loads == 1
    resident.get(b)
    assert b.loads == 2


def test_more_than_the_capacity_is_still_served_alone(size):
    resident, small, large = ResidentData(size), CountingTask("a"), CountingTask("b")
    resident.get(small)
    assert len(resident.get(large, params={"samples": 1000}).train) == 600
    assert len(resident) == 1
    resident.get(small)
    assert (len(resident), small.loads) == (1, 2)


def test_images_in_a_file_stay_there():
    class Task:
        hash = "mapped"

        def load_data(self):
            images = MappedImages(np.zeros((6, 3, 4, 4), dtype=np.uint8))
            split = Split((images,), torch.arange(6) % 2)
            return Data(split, split, split, classes=("a", "b"))

    for capacity in (1, 10**9):
        (images,) = ResidentData(capacity).get(Task()).train.inputs
        assert isinstance(images, MappedImages)
