"""Class-mean activations of a trial: one uncompressed ``.npz`` in its attempt's folder, written layer by layer.

The numbers are float32, in which activations are added up: with them the score that was stored comes out again,
whatever the size of the network and of its activations. Half precision would take half the room, but it ends at 65,504
and its rounding shows in the score of small networks.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from xnas_ray.errors import StoreError
from xnas_ray.store.arrays import read_arrays
from xnas_ray.store.reader import kept_file, resolve_search_id

ACTIVATIONS_FILE = "activations.npz"
CLASSES = "classes"
"""Member with the numbers of the classes, the rows of every layer."""

_LAYERS = "layers/"


def write_activations(path: Path, classes: Sequence[int], layers: Mapping[str, np.ndarray]) -> None:
    """Write the file whole: beside, then renamed.

    Args:
        path: the file; its folder is made.
        classes: numbers of the C classes that have samples.
        layers: by name, in the order of the calls: C x D mean activations.

    Raises:
        OSError: the disk is full or the folder is not writable; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_STORED) as archive:
            _write(archive, CLASSES, np.asarray(classes, dtype=np.int64))
            for name, means in layers.items():
                _write(archive, _LAYERS + name, np.asarray(means, dtype=np.float32))
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _write(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        npy.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def load_activations(root: Path | str, search_id: str, trial: int) -> dict[str, np.ndarray]:
    """Mean activations of every class that a trial predicts, layer by layer.

    Args:
        root: folder of the store.
        search_id: an id, a unique prefix of one, or ``"latest"``.
        trial: number of a finished trial.

    Returns:
        C x D float32 by layer, in the order of the calls: a row a class (see ``load_activation_classes``), a column an
        activation of the flattened output. Side by side they are the vectors whose mean cosine distance is the
        trial's introspectability.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: no such trial, it has none or they were removed, or the file is damaged.
    """
    members = read_arrays(_file(root, search_id, trial))
    return {name.removeprefix(_LAYERS): array for name, array in members.items() if name.startswith(_LAYERS)}


def load_activation_classes(root: Path | str, search_id: str, trial: int) -> tuple[int, ...]:
    """Numbers of the classes that the rows of ``load_activations`` belong to.

    Args:
        root: folder of the store.
        search_id: an id, a unique prefix of one, or ``"latest"``.
        trial: number of a finished trial.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: as for ``load_activations``.
    """
    return tuple(read_arrays(_file(root, search_id, trial), (CLASSES,))[CLASSES].tolist())


def _file(root: Path | str, search_id: str, trial: int) -> Path:
    whole = resolve_search_id(root, search_id)
    path = kept_file(root, whole, trial, ACTIVATIONS_FILE)
    if path is None:
        raise StoreError(
            f"no activations are kept of trial {whole}/{trial}.",
            field="trial",
            fix="Search with keep_activations = 'front' or 'all' and the objective introspectability.",
        )
    return path
