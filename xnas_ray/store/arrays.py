"""Reading files of arrays that can be damaged, or not ours."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xnas_ray.errors import StoreError

_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise of files in which bytes are missing or wrong."""


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file; nothing in it is run.

    Args:
        path: the file.
        names: which ones, all of which it must have; by default those that it has.

    Raises:
        StoreError: it is damaged, lacks an array, or there is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except _DAMAGED as error:
        raise StoreError(f"cannot read {path}: {type(error).__name__}: {error}", field="trial") from None
