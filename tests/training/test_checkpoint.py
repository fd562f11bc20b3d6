import os
import pickle

import pytest
import torch

from xnas_ray import durable
from xnas_ray.training.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint, save_weights

STATE = {"weights": {"w": torch.arange(3.0)}, "epoch": 2, "curve": [{"epoch": 1.0}], "none": None, "pair": (1, "a")}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "checkpoint.pt"
    save_checkpoint(path, "me", STATE)
    loaded = load_checkpoint(path, "me")
    assert torch.equal(loaded["weights"]["w"], STATE["weights"]["w"])
    assert {k: loaded[k] for k in ("epoch", "curve", "none", "pair")} == {
        k: STATE[k] for k in ("epoch", "curve", "none", "pair")
    }
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_another_training_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c.pt", "me", STATE)
    with pytest.raises(CheckpointError, match="another training"):
        load_checkpoint(tmp_path / "c.pt", "you")


def test_a_crash_while_writing_keeps_the_last_whole_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "c.pt", "me", STATE)

    def crash(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", crash)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "c.pt", "me", {"epoch": 3})
    assert load_checkpoint(tmp_path / "c.pt", "me")["epoch"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_damaged_files_are_typed_errors(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, "me", STATE)
    whole = path.read_bytes()
    for content in (b"", b"garbage", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="Delete the file"):
            load_checkpoint(path, "me")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "absent.pt", "me")
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="format"):
        load_checkpoint(path, "me")


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_nothing_in_the_file_is_executed(tmp_path, writer):
    path = tmp_path / "c.pt"
    content = {"format": 1, "identity": "me", "state": Evil(str(tmp_path / "executed"))}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError):
        load_checkpoint(path, "me")
    assert not (tmp_path / "executed").exists()


def test_weights_are_read_plain_or_as_the_model_of_a_larger_file(tmp_path):
    weights = torch.nn.BatchNorm1d(3).state_dict()
    for content in (weights, {"model": weights, "epoch": 3, "args": "x"}):
        torch.save(content, tmp_path / "w.pt")
        assert list(load_weights(tmp_path / "w.pt")) == list(weights)
    for content in ({"epoch": 3}, [torch.zeros(1)], torch.zeros(1), {"model": 3}):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match="no state dictionary"):
            load_weights(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_weights(tmp_path / "w.pt")


def test_weights_are_whole_or_not_there(tmp_path, monkeypatch):
    model, path = torch.nn.BatchNorm1d(3), tmp_path / "new" / "weights.pt"
    save_weights(model, path)
    found = torch.load(path, weights_only=True)
    assert list(found) == list(model.state_dict()) and found["running_var"].device.type == "cpu"

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(torch.nn.Linear(1, 1), path)
    assert list(path.parent.iterdir()) == [path] and list(torch.load(path, weights_only=True)) == list(found)
