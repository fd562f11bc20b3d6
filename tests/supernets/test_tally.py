"""Means over an epoch: of samples, not of batches."""

from __future__ import annotations

import pytest
import torch

from xnas_ray.supernets.tally import Tally
from xnas_ray.training.ranks import ALONE


def test_means_weigh_batches_by_their_samples():
    tally = Tally("classification", torch.device("cpu"))
    outputs = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    tally.add(torch.tensor(0.5), outputs, torch.tensor([0, 0, 0]))
    tally.add(torch.tensor(2.5, requires_grad=True), outputs[:1], torch.tensor([0]))
    expected = {"train_loss": (3 * 0.5 + 2.5) / 4, "train_accuracy": 75.0}
    assert tally.means("train", ALONE) == pytest.approx(expected)
    assert tally.means("train", ALONE) == pytest.approx(expected), "asking does not change it"


def test_a_regression_has_a_loss_alone():
    tally = Tally("regression", torch.device("cpu"))
    tally.add(torch.tensor(0.25), torch.zeros(2, 1), torch.zeros(2))
    assert tally.means("architecture", ALONE) == {"architecture_loss": 0.25}
