"""Samples on their ways through a tree: what is written comes back, and what is damaged is refused."""

from __future__ import annotations

import dataclasses
import pickle
import shutil

import numpy as np
import pytest

import xnas_ray
from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.store import Layout, load_tree_samples
from xnas_ray.store.tree_samples import TREE_SAMPLES_FILE, TreeSamples, read_tree_samples, write_tree_samples

MEMBERS = tuple(field.name for field in dataclasses.fields(TreeSamples))


def samples(**changed: object) -> TreeSamples:
    rng = np.random.default_rng(0)
    given = {
        "classes": ("cat", "dog", "car"),
        "group": np.array(["ambiguous", "ambiguous", "similar", "similar"]),
        "node": np.array([-1, -1, 0, 4]),
        "sample": np.array([7, 3, 0, 900]),
        **{name: rng.integers(0, 3, 4) for name in ("target", "network", "soft", "hard")},
        "path_entropy": rng.random(4, dtype=np.float32),
        "reach": rng.random((4, 5), dtype=np.float32),
        "images": rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8),
    }
    return TreeSamples(**{**given, **changed})


def same(first: TreeSamples, second: TreeSamples) -> bool:
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(TreeSamples)]
    return all(np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype for a, b in pairs)


def test_samples_come_back(archive, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(archive.root, root)
    with pytest.raises(StoreError, match=r"no samples of the tree.*keep_weights"):
        load_tree_samples(root, archive.finished, archive.best)
    path = Layout(root).artifacts(archive.finished, archive.best, (1, 0)) / TREE_SAMPLES_FILE
    write_tree_samples(path, samples())
    found = xnas_ray.load_tree_samples(root, archive.finished[:12], archive.best)
    assert same(found, samples()) and len(found) == 4 and found.has_images
    assert {one.name for one in path.parent.iterdir()} == {"weights.pt", TREE_SAMPLES_FILE}
    with pytest.raises(StoreError, match="no finished trial 99"):
        load_tree_samples(root, archive.finished, 99)
    with pytest.raises(SearchNotFoundError):
        load_tree_samples(root, "01ZZZZZZ", 0)


def test_without_images(tmp_path):
    plain = samples(images=np.zeros((4, 0, 0, 1), dtype=np.uint8))
    write_tree_samples(tmp_path / "new" / TREE_SAMPLES_FILE, plain)
    found = read_tree_samples(tmp_path / "new" / TREE_SAMPLES_FILE)
    assert same(found, plain) and not found.has_images


@pytest.mark.parametrize(
    "changed",
    [
        {"group": np.array(["ambiguous", "ambiguous", "similar", "<b>"])},
        {"node": np.array([-1, -1, 0, 5])},
        {"node": np.array([-2, -1, 0, 4])},
        {"node": np.array([-1.0, -1, 0, 4])},
        {"target": np.array([0, 1, 2, 3])},
        {"soft": np.array([0, 1, 2])},
        {"sample": np.array([0, 1, 2, -1])},
        {"path_entropy": np.zeros(3, dtype=np.float32)},
        {"reach": np.zeros((3, 5), dtype=np.float32)},
        {"reach": np.full((4, 5), np.nan, dtype=np.float32)},
        {"images": np.zeros((4, 6, 5, 2), dtype=np.uint8)},
        {"images": np.zeros((4, 6, 5, 3), dtype=np.float32)},
        {"images": np.zeros((3, 6, 5, 3), dtype=np.uint8)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_does_not_fit(changed):
    with pytest.raises(StoreError, match=f"do not fit together: .*{next(iter(changed))}"):
        samples(**changed)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('it was run')",)


def test_damaged_files_are_said_to_be(tmp_path):
    path = tmp_path / TREE_SAMPLES_FILE
    write_tree_samples(path, samples())
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], pickle.dumps(Evil()), b"PK\x03\x04 nonsense"):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="cannot read"):
            read_tree_samples(path)
    np.savez(path, classes=np.array([Evil()], dtype=object))
    with pytest.raises(StoreError, match="cannot read"):
        read_tree_samples(path)
    np.savez(path, **{**{name: getattr(samples(), name) for name in MEMBERS}, "classes": np.array("cat")})
    with pytest.raises(StoreError, match="classes should have a length"):
        read_tree_samples(path)


def test_bytes_that_are_wrong_are_a_store_error_whatever_reads_them(tmp_path):
    path = tmp_path / TREE_SAMPLES_FILE
    write_tree_samples(path, samples())
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            spoilt[rng.integers(len(spoilt))] = rng.integers(256)
        path.write_bytes(bytes(spoilt))
        try:
            read_tree_samples(path)
        except StoreError:
            refused += 1
    assert refused > 200
