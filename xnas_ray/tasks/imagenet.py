"""ImageNet (Russakovsky et al. 2015) and Tiny ImageNet: folders of images, brought by the user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xnas_ray.errors import DataMissingError
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import data_file, data_folder
from xnas_ray.tasks.image_folders import folder_data
from xnas_ray.tasks.selection import Selection

TINY = ("tiny-imagenet-200", "tiny_imagenet")
WHOLE = ("imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")


def tiny_imagenet(selection: Selection | None = None, *, side: int = 64, holdout: float = 0.2) -> Data:
    """Tiny ImageNet: 200 classes, 500 training images each, of 64 x 64 pixels; ``val`` is the test split.

    Args:
        selection: which classes and images.
        side: height and width to which they are scaled.
        holdout: share of the training images that are for validation.

    Raises:
        DataMissingError: it is not in the folder that ``XNAS_DATA`` names.
    """
    fix = f"Unpack tiny-imagenet-200.zip (cs231n.stanford.edu) as {TINY[0]}/ in the folder that XNAS_DATA names."
    return folder_data(_found(TINY, fix), _listed(selection), side=side, holdout=holdout, source="Tiny ImageNet")


def imagenet(selection: Selection | None = None, *, side: int = 64, holdout: float = 0.1) -> Data:
    """ImageNet of ILSVRC 2012: 1,000 classes, about 1,280 training images each; ``val`` is the test split.

    Args:
        selection: which classes and images.
        side: height and width to which they are scaled.
        holdout: share of the training images that are for validation.

    Raises:
        DataMissingError: it is not in the folder that ``XNAS_DATA`` names.
    """
    fix = f"Put train/WNID/*.JPEG and val/ as {WHOLE[0]}/ (or a link to them) into the folder that XNAS_DATA names."
    return folder_data(_found(WHOLE, fix), _listed(selection), side=side, holdout=holdout, source="ImageNet")


def _found(names: tuple[str, ...], fix: str) -> Path:
    folder = data_folder()
    found = next((folder / name for name in names if (folder / name / "train").is_dir()), None) if folder else None
    if found is None:
        where = f"{folder} has none of {', '.join(names)}" if folder else "XNAS_DATA is not set"
        raise DataMissingError(f"{names[0]} is missing: {where}.", field="XNAS_DATA", fix=fix)
    return found


def _listed(selection: Selection | None) -> Selection:
    """The selection with the classes of a list: ``classes = "some.txt"`` is a file in ``XNAS_DATA``, one a line."""
    selection = selection or Selection()
    if not isinstance(selection.classes, str):
        return selection
    path = data_file(selection.classes, "Write one wnid a line.")
    return replace(selection, classes=tuple(path.read_text(encoding="utf-8").split()))
