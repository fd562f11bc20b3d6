"""Images in folders, one a class, as ImageNet has them: which are used, and tensors of them that are read as needed."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xnas_ray.errors import DataMissingError
from xnas_ray.randomness import Domain, rng
from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.datasets import image_range
from xnas_ray.tasks.mapped import MappedImages
from xnas_ray.tasks.selection import Selection
from xnas_ray.tasks.splits import split_indices
from xnas_ray.tasks.squares import square_pixels

SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
ANNOTATIONS = ("val_annotations.txt", "LOC_val_solution.csv")
WORDS = ("words.txt", "LOC_synset_mapping.txt")

_MEASURED = 4  # counter of the choice of them: ``selection`` has those below
_STATISTICS = 20_000
"""Images of which mean and deviation are taken, at most."""


@dataclass(frozen=True)
class LabelledFiles:
    """Files of images and the numbers of their classes."""

    paths: tuple[Path, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def take(self, rows: np.ndarray) -> LabelledFiles:
        """Some of them, in the order of ``rows``."""
        return LabelledFiles(tuple(self.paths[row] for row in rows), self.labels[rows])


def folder_data(root: Path, selection: Selection, *, side: int, holdout: float = 0.2, source: str = "") -> Data:
    """Data of ``root/train/CLASS/**`` and ``root/val``: what is labelled there is the test split, never selected on.

    ``val`` has a folder a class too, or a list of its files: ``val_annotations.txt`` (Tiny ImageNet) or
    ``LOC_val_solution.csv`` (ImageNet at Kaggle). Names of classes that look like wnids are taken as such; their words
    are read from ``words.txt`` or ``LOC_synset_mapping.txt`` where one is there.

    Images are scaled so that their shorter side is ``side`` pixels, the middle square is taken. This happens once a
    machine: squares are kept as bytes in the download cache, and only those of a batch are read into memory.

    Args:
        root: the folder.
        selection: which part of it.
        side: height and width of the images.
        holdout: share of the training images of the part that are for validation, stratified by class.
        source: where the data came from.

    Raises:
        DataMissingError: the folder has another layout, or an image cannot be read.
        TaskError: the selection does not fit.
    """
    found = sorted(path.name for path in _subfolders(root / "train"))
    if not found:
        raise DataMissingError(f"{root}/train has no folders, one a class.", field="XNAS_DATA", fix=_LAYOUT)
    classes = selection.choose(found)
    files = _in_folders(root / "train", classes)
    files = files.take(selection.images(files.labels))
    test = _validation_files(root, classes)
    parts = split_indices(len(files), (1 - holdout, holdout), selection.seed, files.labels)
    pixels = square_pixels(files.paths + test.paths, side)
    train_rows, validation_rows = parts
    test_rows = np.arange(len(files), len(files) + len(test))
    labels = torch.from_numpy(np.concatenate([files.labels, test.labels]))
    mean, deviation = _statistics(pixels, train_rows, selection.seed)

    def split(rows: np.ndarray) -> Split:
        return Split((MappedImages(pixels, rows, mean, deviation),), labels[torch.from_numpy(rows)])

    words = _words(root)
    return Data(
        train=split(train_rows),
        validation=split(validation_rows),
        test=split(test_rows),
        classes=_distinct([words.get(name, name) for name in classes], classes),
        source=f"{source or root.name}, {len(files):,} of its images for training, {len(classes)} classes",
        wnids=classes if all(_is_wnid(name) for name in classes) else None,
        image_range=image_range(mean, deviation),
    )


_LAYOUT = "It needs train/CLASS/*.JPEG, and val/CLASS/*.JPEG or val with a list of its files and classes."


# ---- files -----------------------------------------------------------------------------------------------------------


def _subfolders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images_below(folder: Path) -> list[Path]:
    """Images in a folder and below, in the order of their names."""
    found = [Path(above) / name for above, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _in_folders(folder: Path, classes: Sequence[str]) -> LabelledFiles:
    by_class = [_images_below(folder / name) for name in classes]
    empty = next((name for name, paths in zip(classes, by_class, strict=True) if not paths), None)
    if empty is not None:
        raise DataMissingError(f"{folder / empty} has no images.", field="XNAS_DATA", fix=_LAYOUT)
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in by_class])
    return LabelledFiles(tuple(path for paths in by_class for path in paths), labels)


def _validation_files(root: Path, classes: Sequence[str]) -> LabelledFiles:
    """The labelled images of ``val`` that belong to these classes."""
    if any(path.name in classes for path in _subfolders(root / "val")):
        return _in_folders(root / "val", classes)
    annotated = _annotations(root)
    number = {name: index for index, name in enumerate(classes)}
    paths = {path.name: path for path in _images_below(root / "val")}
    rows = [(file, number[name]) for file, name in sorted(annotated.items()) if name in number]
    missing = next((file for file, _ in rows if file not in paths), None)
    if missing is not None or not rows:
        what = f"lacks {missing}" if missing else "has no images of these classes"
        raise DataMissingError(f"{root / 'val'} {what}.", field="XNAS_DATA", fix=_LAYOUT)
    return LabelledFiles(tuple(paths[file] for file, _ in rows), np.array([label for _, label in rows]))


def _annotations(root: Path) -> dict[str, str]:
    """Classes by file names."""
    tabs, commas = (
        root / "val" / ANNOTATIONS[0],
        next((folder / ANNOTATIONS[1] for folder in (root, root / "val") if (folder / ANNOTATIONS[1]).is_file()), None),
    )
    if tabs.is_file():
        lines = (line.split("\t") for line in tabs.read_text(encoding="utf-8").splitlines())
        return {fields[0]: fields[1] for fields in lines if len(fields) > 1}
    if commas is None:
        raise DataMissingError(f"{root / 'val'} has neither folders nor a list.", field="XNAS_DATA", fix=_LAYOUT)
    with commas.open(encoding="utf-8", newline="") as file:
        return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in csv.DictReader(file)}


def _words(root: Path) -> dict[str, str]:
    """The first word of every class, of a list that begins its lines with the class."""
    path = next((root / name for name in WORDS if (root / name).is_file()), None)
    if path is None:
        return {}
    lines = (line.replace("\t", " ").partition(" ") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: text.split(",")[0].strip() for name, _, text in lines if text.strip()}


def _distinct(names: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Names, with the class where two classes have one name (ImageNet has two cranes)."""
    return tuple(
        name if names.count(name) == 1 else f"{name} ({wnid})" for name, wnid in zip(names, classes, strict=True)
    )


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _statistics(pixels: np.ndarray, rows: np.ndarray, seed: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over the training images, at most 20,000 of them."""
    if len(rows) > _STATISTICS:
        rows = np.sort(rng(seed, Domain.SPLIT, _MEASURED).choice(rows, _STATISTICS, replace=False))
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for start in range(0, len(rows), 256):
        part = pixels[rows[start : start + 256]].astype(np.float64)
        count += part[:, 0].size
        total += part.sum(axis=(0, 2, 3))
        squares += np.square(part).sum(axis=(0, 2, 3))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return mean.tolist(), np.maximum(deviation, 1e-6).tolist()
