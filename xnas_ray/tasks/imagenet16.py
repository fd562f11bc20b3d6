"""ImageNet16-120: 120 classes of ImageNet at 16 x 16 pixels (Chrabaszcz et al. 2017; Dong & Yang, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from xnas_ray.errors import DataMissingError, TableError
from xnas_ray.safe_pickle import PlainArray, load_pickle
from xnas_ray.tasks.datasets import data_folder, wnid_list
from xnas_ray.tasks.download import cache_root
from xnas_ray.tasks.image_files import Images, npz_images

CLASSES = 120
SIDE = 16
FOLDERS = ("ImageNet16", "ImageNet16-120", "imagenet16")
NPZ = "imagenet16.npz"
CLASS_LIST = "map_clsloc.txt"

_TRAIN = tuple(f"train_data_batch_{number}" for number in range(1, 11))
_TEST = "val_data"
_HOW = (
    f"Put the folder {FOLDERS[0]} with the ten train_data_batch_* and val_data of the NATS-Bench data, or {NPZ} with "
    "X_train, y_train, X_test, y_test and classes, into the folder that XNAS_DATA names."
)


def imagenet16() -> Images:
    """The images of 120 classes; ImageNet's validation images are the test images.

    The batches of the NATS-Bench distribution are pickles: they are read as plain data, and nothing that they say is
    run. They do not say what the classes are. ``map_clsloc.txt`` beside them does (it comes with the downsampled
    ImageNet); else ``imagenet16_wnids.txt`` in ``XNAS_DATA`` does; else classes are called by their numbers.

    Raises:
        DataMissingError: neither the batches nor ``imagenet16.npz`` are here, or they are damaged.
    """
    folder = data_folder()
    roots = [*([folder] if folder else []), cache_root()]
    for path in (root / name for root in roots for name in FOLDERS):
        if (path / _TEST).is_file():
            return _from_batches(path)
    if folder is not None and (folder / NPZ).is_file():
        return npz_images(folder / NPZ)
    raise DataMissingError("ImageNet16-120 is not on this machine.", field="XNAS_DATA", fix=_HOW)


def _from_batches(folder: Path) -> Images:
    x, y = zip(*map(_batch, _files(folder)), strict=True)
    x_test, y_test = _batch(folder / _TEST)
    train, labels = np.concatenate(x), np.concatenate(y)
    names, wnids = _names(folder)
    return Images(
        train=torch.from_numpy(train),
        train_labels=torch.from_numpy(labels),
        test=torch.from_numpy(x_test),
        test_labels=torch.from_numpy(y_test),
        classes=names,
        source=f"ImageNet16-120, {len(train) + len(x_test):,} images",
        wnids=wnids,
    )


def _files(folder: Path) -> Iterator[Path]:
    for name in _TRAIN:
        if not (folder / name).is_file():
            raise DataMissingError(f"{folder} has no {name}.", field="XNAS_DATA", fix=_HOW)
        yield folder / name


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (uint8 ``n x 3 x 16 x 16``) and labels from 0 of the first 120 classes of a batch of all 1,000."""
    try:
        with path.open("rb") as file:
            found = load_pickle(file, path, encoding="latin1")
        data, labels = found["data"], found["labels"]
        pixels = data.values.reshape(-1, 3, SIDE, SIDE)
        numbers = np.asarray(labels.values if isinstance(labels, PlainArray) else labels, dtype=np.int64)
        if pixels.dtype != np.uint8 or numbers.shape != (len(pixels),) or numbers.min() < 1:
            raise ValueError(f"{len(numbers)} labels of {len(pixels)} images of type {pixels.dtype}")
    except (OSError, KeyError, TypeError, AttributeError, ValueError, TableError) as error:
        raise DataMissingError(f"{path} is damaged: {error}", field="XNAS_DATA", fix=_HOW) from None
    kept = numbers <= CLASSES
    return np.ascontiguousarray(pixels[kept]), numbers[kept] - 1


def _names(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Names and wnids: of ``map_clsloc.txt``, whose lines are a wnid, a number from 1, a name."""
    try:
        lines = (folder / CLASS_LIST).read_text(encoding="utf-8").splitlines()
    except OSError:
        wnids = wnid_list("imagenet16", CLASSES)
        return wnids or tuple(map(str, range(1, CLASSES + 1))), wnids
    found = {int(line.split()[1]): line.split() for line in lines if len(line.split()) >= 3}
    missing = [number for number in range(1, CLASSES + 1) if number not in found]
    if missing:
        raise DataMissingError(f"{folder / CLASS_LIST} has no class {missing[0]}.", field="XNAS_DATA", fix=_HOW)
    rows = [found[number] for number in range(1, CLASSES + 1)]
    return tuple(row[2].replace("_", " ") for row in rows), tuple(row[0] for row in rows)
