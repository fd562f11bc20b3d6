"""Labelled images as files have them: MNIST's IDX, torchvision's CIFAR batches, npz."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnas_ray.errors import DataMissingError


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images as they were found.

    Attributes:
        train: uint8 ``n x channels x height x width``.
        train_labels: int64 ``n``.
        test: official test images; None when the source has no split of its own.
        test_labels: their labels.
        classes: names of the labels.
        source: where they came from.
        wnids: WordNet's ids of the labels, where a list of them was found.
        white: the brightest grey value that there can be.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor | None
    test_labels: Tensor | None
    classes: tuple[str, ...]
    source: str
    wnids: tuple[str, ...] | None = None
    white: int = 255


def idx_images(folders: Sequence[Path], classes: tuple[str, ...]) -> Images | None:
    """The images of the first folder that has all four files of MNIST's form, packed or not; None without one.

    Raises:
        DataMissingError: a file is damaged.
    """
    for folder in folders:
        paths = [
            _idx_path(folder, f"{part}-{kind}")
            for part in ("train", "t10k")
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        if all(paths):
            x, y, x_test, y_test = (_read_idx(path) for path in paths if path)
            return Images(
                x[:, None], y.long(), x_test[:, None], y_test.long(), classes, f"{len(x) + len(x_test):,} images"
            )
    return None


def _idx_path(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


def _read_idx(path: Path) -> Tensor:
    """An IDX file of unsigned bytes: magic ``00 00 08 ndim``, big-endian sizes, values."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    dims = raw[3] if len(raw) > 4 and raw[:3] == b"\x00\x00\x08" else 0
    sizes = struct.unpack(f">{dims}I", raw[4 : 4 + 4 * dims]) if dims and len(raw) >= 4 + 4 * dims else ()
    if not sizes or len(raw) != 4 + 4 * dims + int(np.prod(sizes)):
        raise DataMissingError(f"{path} is not a whole IDX file of bytes.", fix="Fetch it again.")
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dims).reshape(sizes).copy())


def cifar_batches(name: str, root: Path, classes: tuple[str, ...] | None = None) -> Images:
    """The images of torchvision's ``CIFAR10`` or ``CIFAR100``, whose files are below ``root``.

    Args:
        name: of torchvision's class.
        root: the folder above ``cifar-10-batches-py`` or ``cifar-100-python``.
        classes: names of the labels; by default those of the files.

    Raises:
        DataMissingError: a file is missing or is not the published one.
    """
    import torchvision.datasets

    reader, title = getattr(torchvision.datasets, name), name.replace("CIFAR", "CIFAR-")
    try:  # torchvision checks every file's MD5 before it unpickles, so that nothing else is ever unpickled
        train, test = reader(str(root), train=True), reader(str(root), train=False)
    except RuntimeError as error:
        raise DataMissingError(f"{title} in {root} is incomplete: {error}", fix="Fetch it again.") from None
    source = f"{title}, {len(train.data) + len(test.data):,} images"
    return _nhwc(train.data, train.targets, test.data, test.targets, classes or tuple(train.classes), source)


def npz_images(path: Path, classes: tuple[str, ...] | None = None) -> Images:
    """Images of an ``.npz`` file with ``X_train``, ``y_train``, ``X_test`` and ``y_test``.

    Images are uint8, ``n x height x width x channels``. The file may have ``wnids``.

    Args:
        path: the file.
        classes: names of the labels; by default what the file has as ``classes``.

    Raises:
        DataMissingError: it is damaged or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y, x_test, y_test = (file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
            names = classes or tuple(map(str, file["classes"]))
            wnids = tuple(map(str, file["wnids"])) if "wnids" in file.files else None
        if x.dtype != np.uint8 or x.ndim != 4 or x_test.shape[1:] != x.shape[1:]:
            raise ValueError(f"images have the shape {x.shape} and the type {x.dtype}")
        found = _nhwc(x, y, x_test, y_test, names, f"{path.name}, {len(x) + len(x_test):,} images")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataMissingError(f"{path} is damaged: {error}", field="XNAS_DATA", fix="Fetch it again.") from None
    return replace(found, wnids=wnids)


def _nhwc(
    x: np.ndarray,
    y: object,
    x_test: np.ndarray,
    y_test: object,
    classes: tuple[str, ...],
    source: str,
) -> Images:
    def images(a: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))

    def labels(a: object) -> Tensor:
        return torch.from_numpy(np.asarray(a, dtype=np.int64).reshape(-1))

    return Images(images(x), labels(y), images(x_test), labels(y_test), classes, source)
