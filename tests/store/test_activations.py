"""Class-mean activations: what is written comes back, and nothing that is read is run."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

import xnas_ray
from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.store import Layout, load_activation_classes, load_activations
from xnas_ray.store.activations import ACTIVATIONS_FILE, write_activations


@pytest.fixture
def mine(archive, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(archive.root, root)
    return root


def layers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("stem.0", "cells.1.edge/a", "classes", "relu#2")
    return {name: rng.standard_normal((3, 4 + i)).astype(np.float32) for i, name in enumerate(names)}


def test_layers_come_back_in_their_order(archive, mine):
    path = Layout(mine).artifacts(archive.finished, archive.best, (1, 0)) / ACTIVATIONS_FILE
    write_activations(path, (0, 4, 7), layers())
    found = xnas_ray.load_activations(mine, archive.finished, archive.best)
    assert list(found) == list(layers()) and all(np.array_equal(found[name], layers()[name]) for name in found)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert load_activation_classes(mine, archive.finished[:12], archive.best) == (0, 4, 7)
    assert {one.name for one in path.parent.iterdir()} == {"weights.pt", ACTIVATIONS_FILE}


def test_any_tool_reads_the_file(tmp_path):
    write_activations(tmp_path / "a" / ACTIVATIONS_FILE, (0, 1, 2), layers())
    with np.load(tmp_path / "a" / ACTIVATIONS_FILE, allow_pickle=False) as archive:
        assert archive.files == ["classes", *(f"layers/{name}" for name in layers())]


def test_what_is_not_there(archive, mine):
    with pytest.raises(StoreError, match="no finished trial 99"):
        load_activations(mine, archive.finished, 99)
    with pytest.raises(StoreError, match=r"no activations are kept.*keep_activations"):
        load_activations(mine, archive.finished, archive.best)
    with pytest.raises(SearchNotFoundError):
        load_activations(mine, "01ZZZZZZ", 0)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('it was run')",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nonsense", b"\x80\x04pickle"])
def test_damaged_files_are_refused(archive, mine, content):
    folder = Layout(mine).artifacts(archive.finished, archive.best, (1, 0))
    (folder / ACTIVATIONS_FILE).write_bytes(content)
    with pytest.raises(StoreError, match="cannot read"):
        load_activations(mine, archive.finished, archive.best)


def test_pickles_are_refused(archive, mine):
    folder = Layout(mine).artifacts(archive.finished, archive.best, (1, 0))
    with (folder / ACTIVATIONS_FILE).open("wb") as file:
        np.savez(file, classes=np.array([0]), **{"layers/x": np.array([Evil()], dtype=object)})
    with pytest.raises(StoreError, match="cannot read"):
        load_activations(mine, archive.finished, archive.best)
    (folder / ACTIVATIONS_FILE).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(StoreError, match="cannot read"):
        load_activations(mine, archive.finished, archive.best)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    from xnas_ray.store import activations

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(activations.npy, "write_array", full)
    with pytest.raises(OSError, match="No space"):
        write_activations(tmp_path / ACTIVATIONS_FILE, (0,), layers())
    assert list(tmp_path.iterdir()) == []
