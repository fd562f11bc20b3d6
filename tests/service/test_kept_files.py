"""What is written beside the weights, and what a failure there costs."""

from __future__ import annotations

import logging

import pytest
import torch

from xnas_ray.objectives.accuracy import ValidationAccuracy
from xnas_ray.objectives.decision_tree import PathEntropy, TreeAccuracy, TreeGap
from xnas_ray.service import kept_files
from xnas_ray.service.kept_files import OF_WEIGHTS, keep_network
from xnas_ray.store.tree_samples import read_tree_samples
from xnas_ray.testing.tiny import tiny_trained


@pytest.fixture(scope="module")
def trained():
    return tiny_trained()


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_samples_of_the_tree_lie_beside_the_weights(trained, tmp_path):
    keep_network(tmp_path, trained, [ValidationAccuracy(), TreeGap(), PathEntropy()])
    assert names(tmp_path) == set(OF_WEIGHTS)
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert all(torch.equal(value, trained.model.state_dict()[name]) for name, value in state.items())
    assert read_tree_samples(tmp_path / "decision_tree.npz").classes == trained.data.classes


def test_without_an_objective_of_trees_there_are_weights_alone(trained, tmp_path):
    keep_network(tmp_path, trained, [ValidationAccuracy()])
    assert names(tmp_path) == {"weights.pt"}


def test_samples_are_of_the_tree_that_is_stored(trained, tmp_path, monkeypatch):
    """Of several objectives with different trees the last one's table is stored."""
    asked = []
    monkeypatch.setattr(TreeAccuracy, "samples", lambda self, trained: asked.append(self.linkage) or 1 / 0)
    keep_network(tmp_path, trained, [TreeAccuracy(), TreeAccuracy(linkage="average")])
    assert asked == ["average"]


def test_samples_that_cannot_be_made_cost_nothing_else(trained, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(TreeGap, "samples", lambda self, trained: 1 / 0)
    with caplog.at_level(logging.WARNING):
        keep_network(tmp_path, trained, [TreeGap()])
    assert names(tmp_path) == {"weights.pt"} and "no samples of the decision tree" in caplog.text


def test_a_full_disk_is_one(trained, tmp_path, monkeypatch):
    def full(path, samples):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_files, "write_tree_samples", full)
    with pytest.raises(OSError, match="No space left"):
        keep_network(tmp_path, trained, [TreeGap()])
