"""Batches as NATS-Bench distributes them: pickled dictionaries of 1,000 classes, of which 120 are kept."""

import os
import pickle

import numpy as np
import pytest

from xnas_ray.errors import DataMissingError
from xnas_ray.tasks.imagenet16 import CLASSES, imagenet16


def batch(seed: int, count: int = 30) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 2, 119, 120, 121, 1000], count)
    return {"data": rng.integers(0, 256, (count, 768), dtype=np.uint8), "labels": labels.tolist()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = tmp_path / "ImageNet16"
    found.mkdir()
    for number in range(1, 11):
        (found / f"train_data_batch_{number}").write_bytes(pickle.dumps(batch(number)))
    (found / "val_data").write_bytes(pickle.dumps(batch(0)))
    return found


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_the_first_120_classes_of_every_batch(folder, protocol):
    for number in range(1, 11):
        (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps(batch(number), protocol=protocol))
    found = imagenet16()
    expected = [(x, y - 1) for n in range(1, 11) for x, y in zip(*batch(n).values(), strict=True) if y <= CLASSES]
    assert found.train.shape == (len(expected), 3, 16, 16)
    assert np.array_equal(found.train[5].numpy().reshape(-1), expected[5][0])
    assert found.train_labels.tolist() == [y for _, y in expected]
    assert found.test is not None and set(found.test_labels.tolist()) <= {0, 1, 118, 119}
    assert (len(found.classes), found.classes[0], found.wnids) == (CLASSES, "1", None)


def test_labels_may_be_an_array_and_fortran_order_is_kept(folder):
    content = batch(1)
    content["data"], content["labels"] = np.asfortranarray(content["data"]), np.array(content["labels"])
    (folder / "train_data_batch_1").write_bytes(pickle.dumps(content))
    first = next(i for i, y in enumerate(content["labels"]) if y <= CLASSES)
    assert np.array_equal(imagenet16().train[0].numpy().reshape(-1), content["data"][first])


def test_names_come_from_the_list_of_classes(folder):
    lines = [f"n{number:08d} {number} class_{number}" for number in range(1000, 0, -1)]
    (folder / "map_clsloc.txt").write_text("\n".join(lines))
    found = imagenet16()
    assert (found.classes[4], found.wnids[4]) == ("class 5", "n00000005")
    (folder / "map_clsloc.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataMissingError, match="has no class 1"):
        imagenet16()


def test_wnids_from_a_list_beside(folder):
    (folder.parent / "imagenet16_wnids.txt").write_text("\n".join(f"n{number:08d}" for number in range(CLASSES)))
    assert imagenet16().wnids[-1] == f"n{CLASSES - 1:08d}"
    (folder.parent / "imagenet16_wnids.txt").write_text("n00000001")
    with pytest.raises(DataMissingError, match="has 1 wnids, not 120"):
        imagenet16()


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("where", ["train_data_batch_3", "val_data"])
def test_programs_in_pickles_are_not_run(folder, where):
    mark = folder / "went off"
    (folder / where).write_bytes(pickle.dumps(batch(1) | {"more": Bomb(mark)}))
    with pytest.raises(DataMissingError, match=rf"{where} is damaged.*mkdir.*nothing was executed"):
        imagenet16()
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros((3, 768), dtype=np.uint8), "labels": [1, 2]}),
        pickle.dumps({"data": np.zeros((3, 767), dtype=np.uint8), "labels": [1, 2, 3]}),
        pickle.dumps({"data": np.zeros((3, 768)), "labels": [1, 2, 3]}),
        pickle.dumps({"data": np.zeros((1, 768), dtype=np.uint8), "labels": [0]}),
        pickle.dumps({"data": np.array([None]), "labels": [1]}),
    ],
)
def test_damaged_batches_are_named(folder, content):
    (folder / "train_data_batch_2").write_bytes(content)
    with pytest.raises(DataMissingError, match="train_data_batch_2 is damaged"):
        imagenet16()


def test_a_missing_batch_is_named(folder):
    (folder / "train_data_batch_7").unlink()
    with pytest.raises(DataMissingError, match="no train_data_batch_7"):
        imagenet16()


def test_npz_instead_of_batches(tmp_path, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataMissingError, match=r"train_data_batch_.*imagenet16\.npz"):
        imagenet16()
    x = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    y, names = np.arange(6) % 3, np.array(["a", "b", "c"])
    wnids = np.array(["n00000001", "n00000002", "n00000003"])
    np.savez(tmp_path / "imagenet16.npz", X_train=x, y_train=y, X_test=x, y_test=y, classes=names, wnids=wnids)
    found = imagenet16()
    assert (found.classes, found.wnids) == (("a", "b", "c"), tuple(wnids))
    assert np.array_equal(found.train[2].numpy(), x[2].transpose(2, 0, 1))
