"""Ranks that share each batch train what one process trains on the whole of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.training.ranks import ALONE, GroupRanks
from xnas_ray.training.recipe import Recipe

DRIVER = Path(__file__).with_name("ranks_driver.py")


Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def train(gloo_ranks: Callable[..., None]) -> Train:
    """Trains in so many processes; weights, metrics and curve."""

    def train(folder: Path, size: int, epochs: int = 4) -> dict[str, Any]:
        gloo_ranks(DRIVER, size, folder, epochs)
        weights = torch.load(folder / "weights.pt", weights_only=True)
        return {"weights": weights, **json.loads((folder / "found.json").read_text())}

    return train


@pytest.fixture(scope="module")
def two(train: Train, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks train."""
    return train(tmp_path_factory.mktemp("two"), 2)


@pytest.mark.slow
def test_two_ranks_train_what_one_trains(train: Train, two: dict[str, Any], tmp_path: Path) -> None:
    one = train(tmp_path, 1)
    for name, weight in one["weights"].items():
        assert torch.allclose(weight, two["weights"][name], atol=1e-5, rtol=0), name
    assert not torch.equal(one["weights"]["body.0.weight"], torch.zeros(8, 6))
    for mine, theirs in zip(one["curve"], two["curve"], strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
        assert mine["lr"] == theirs["lr"]
    assert one["metrics"]["val_loss"] == pytest.approx(two["metrics"]["val_loss"], abs=1e-5)
    measured = ["val_loss" in record for record in two["curve"]]
    assert measured == [False, False, False, True], "measured once, after the last epoch"


@pytest.mark.slow
def test_two_ranks_go_on_from_the_checkpoint_of_an_epoch(train: Train, two: dict[str, Any], tmp_path: Path) -> None:
    train(tmp_path, 2, epochs=3)  # its last checkpoint is that of epoch 2: a finished training needs none
    assert (tmp_path / "checkpoint.pt").exists()
    parts = train(tmp_path, 2)
    for name, weight in two["weights"].items():
        assert torch.equal(weight, parts["weights"][name]), name
    assert [record["epoch"] for record in parts["curve"]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_two_ranks_train_along_the_trees_of_one(gloo_ranks: Callable[..., None], tmp_path: Path) -> None:
    """All have the same tree, though each has its own part of the batches, and hard losses are of the whole ones."""
    driver = DRIVER.with_name("tree_ranks_driver.py")
    for size in (1, 2):
        gloo_ranks(driver, size, tmp_path / str(size))
    one, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("1/0.pt", "2/0.pt", "2/1.pt"))
    assert first["tree"] == second["tree"] == one["tree"] and len(one["tree"].splitlines()) == 13
    for name, weight in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        assert torch.allclose(weight, first["weights"][name], atol=1e-5, rtol=0), name
    assert first["losses"] == pytest.approx(one["losses"], abs=1e-5)


def test_alone_nothing_changes() -> None:
    recipe, batch, model = Recipe(), torch.arange(7), nn.BatchNorm1d(3)
    assert ALONE.first and ALONE.scaled(recipe) is recipe
    assert ALONE.prepare(model) is model and ALONE.join(model) is model
    assert ALONE.share(batch) is batch and ALONE.weight(3, 7) == 1.0 and ALONE.total(batch) is batch


class Third(GroupRanks):
    """The third of four, without a process group."""

    def __init__(self, device: str = "cpu") -> None:
        self.rank, self.size, self.device = 2, 4, torch.device(device)


def test_a_group_scales_batch_and_learning_rate_together() -> None:
    recipe = Third().scaled(Recipe(batch_size=32, lr=0.1, warmup_epochs=5.0))
    assert (recipe.batch_size, recipe.lr, recipe.warmup_epochs) == (128, pytest.approx(0.4), 5.0)
    with pytest.raises(SpecError, match=r"recipe\.batch_size"):
        Third().scaled(Recipe(batch_size=1))


def test_parts_of_a_batch_are_weighed_by_their_size() -> None:
    rank = Third()
    assert rank.share(torch.arange(10)).tolist() == [6, 7], "10 samples are 3, 3, 2 and 2"
    assert rank.weight(2, 10) == pytest.approx(4 * 2 / 10) and not rank.first


def test_batch_normalisation_is_synchronised_on_cuda_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert isinstance(Third("cuda").prepare(model)[1], nn.SyncBatchNorm)
    assert list(Third("cuda").prepare(model).state_dict()) == list(model.state_dict()), "the weights fit either"
    plain = nn.Sequential(nn.BatchNorm2d(4))
    assert Third("cpu").prepare(plain) is plain
