from typing import ClassVar

import numpy as np
import pytest
import torch

from xnas_ray.messages import Candidate
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.tasks.mapped import MappedImages
from xnas_ray.training.context import LocalContext

MEAN, DEVIATION = (100.0, 120.0, 130.0), (50.0, 60.0, 70.0)


class Counting(np.ndarray):
    """Pixels that remember how many images were read at once."""

    reads: ClassVar[list[int]] = []

    def __getitem__(self, key):
        if isinstance(key, np.ndarray):
            Counting.reads.append(len(key))
        return super().__getitem__(key)


@pytest.fixture
def file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    Counting.reads = []
    return np.load(tmp_path / "pixels.npy", mmap_mode="r").view(Counting)


@pytest.fixture
def rows():
    return np.random.default_rng(1).permutation(40)[:30]


@pytest.fixture
def mapped(file, rows):
    return MappedImages(file, rows, MEAN, DEVIATION)


@pytest.fixture
def plain(file, rows):
    mean, deviation = (torch.tensor(v).view(-1, 1, 1) for v in (MEAN, DEVIATION))
    return (torch.from_numpy(np.array(file)[rows]).float() - mean) / deviation


def test_it_looks_like_the_tensor(mapped, plain):
    assert isinstance(mapped, torch.Tensor)
    assert (mapped.shape, mapped.dtype, mapped.device, mapped.dim()) == (plain.shape, plain.dtype, plain.device, 4)
    assert (len(mapped), mapped.numel(), mapped.element_size()) == (30, plain.numel(), 4)
    assert "30" in repr(mapped) and Counting.reads == []


@pytest.mark.parametrize("inference", [False, True])
def test_batches_read_what_they_need(mapped, plain, inference):
    indices = torch.tensor([5, 0, 29, 5])
    with torch.inference_mode(inference):
        assert torch.equal(mapped.index_select(0, indices), plain.index_select(0, indices))
        assert torch.equal(mapped[3:10], plain[3:10])
        assert torch.equal(mapped[28:99], plain[28:])
        assert torch.equal(mapped[::7], plain[::7])
        assert type(mapped[3:10]) is torch.Tensor
    assert max(Counting.reads) <= 7


def test_anything_else_is_right_too(mapped, plain):
    assert torch.equal(mapped + 0, plain)
    assert torch.equal(mapped[4], plain[4])
    assert torch.equal(mapped[:, 1:2], plain[:, 1:2])
    assert torch.equal(mapped.to(torch.float64), plain.double())
    assert torch.equal(torch.cat([mapped, plain]), torch.cat([plain, plain]))
    assert torch.equal(mapped.detach().cpu().contiguous().view(-1), plain.view(-1))
    assert mapped.mean().item() == pytest.approx(plain.mean().item())


def test_images_of_one_file_are_joined_without_reading(file, rows, plain):
    one, other = (MappedImages(file, part, MEAN, DEVIATION) for part in (rows[:10], rows[10:]))
    joined = torch.cat([one, other])
    assert isinstance(joined, MappedImages) and Counting.reads == []
    assert torch.equal(joined[:], plain)
    assert torch.equal(torch.cat([one, MappedImages(file, rows[10:])])[:10], plain[:10])
    assert torch.cat([one, one], dim=1).shape == (10, 6, 8, 8)


def test_a_network_trains_on_them_as_on_tensors(file, rows):
    def data(mapped: bool) -> Data:
        labels = torch.from_numpy(rows % 3)
        images = MappedImages(file, rows, MEAN, DEVIATION)
        inputs = [images if mapped else images + 0, labels]
        parts = [torch.arange(18), torch.arange(18, 30)]
        train, held = ((MappedImages(file, rows[p], MEAN, DEVIATION) if mapped else inputs[0][p]) for p in parts)
        splits = [Split((x,), labels[p]) for x, p in zip((train, held, held), (*parts, parts[1]), strict=True)]
        return Data(*splits, classes=("a", "b", "c"))

    def metrics(given: Data) -> dict[str, float]:
        space = NASBench201(channels=4, cells_per_stage=1, stages=1)
        return evaluate_candidate(
            problem=Problem(space=space, recipe={"batch_size": 8, "augment": ["random_crop"], "eval_batch_size": 5}),
            space=space,
            candidate=Candidate(0, (3, 1, 2, 0, 4, 3), fidelity=1),
            objectives=create_objectives(["val_accuracy", "introspectability"]),
            seed=1,
            context=LocalContext(),
            data=given,
        ).metrics

    lazily = metrics(data(True))
    assert max(Counting.reads) <= 12
    assert lazily == metrics(data(False))
    assert data(True).fingerprint() == data(False).fingerprint()
