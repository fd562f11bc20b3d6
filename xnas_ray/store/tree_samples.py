"""Samples on their ways through a trial's decision tree: one ``.npz`` beside the weights, for pictures of the tree.

The tree itself is the table ``decision_tree`` of the search, a row a node; here are a few samples that are worth a
look, with their images, so that a report shows them without the network and without the data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from xnas_ray.durable import whole_file
from xnas_ray.errors import StoreError
from xnas_ray.store.arrays import read_arrays
from xnas_ray.store.reader import kept_file, resolve_search_id

TREE_SAMPLES_FILE = "decision_tree.npz"
AMBIGUOUS, SIMILAR = "ambiguous", "similar"
GROUPS = (AMBIGUOUS, SIMILAR)

_INTEGERS = ("node", "sample", "target", "network", "soft", "hard")


@dataclass(frozen=True, eq=False)
class TreeSamples:
    """N samples of the validation split and a tree of V nodes over K classes.

    Attributes:
        classes: names of the classes, in label order.
        group: text ``N``: ``"ambiguous"`` of those with the largest path entropy, the largest first, or ``"similar"``
            of the examples of a node, those whose features are most like its weights.
        node: int64 ``N``: the node that a sample is an example of, as the table ``decision_tree`` numbers them; -1 of
            the ambiguous ones.
        sample: int64 ``N``: its place in the validation split.
        target: int64 ``N``: its class.
        network: int64 ``N``: the class that the network predicts.
        soft: int64 ``N``: the class that the tree predicts by soft inference.
        hard: int64 ``N``: the class that it predicts by hard inference.
        path_entropy: float32 ``N``, in nats.
        reach: float32 ``N x V``: the probability of arriving at every node, 1 at the root; of a node divided by that of
            its parent it is the probability of the decision.
        images: uint8 ``N x H x W x C``, C being 1 or 3; of ``N x 0 x 0 x 1`` where the samples are no images.

    Raises:
        StoreError: sizes, groups or numbers do not fit together.
    """

    classes: tuple[str, ...]
    group: np.ndarray
    node: np.ndarray
    sample: np.ndarray
    target: np.ndarray
    network: np.ndarray
    soft: np.ndarray
    hard: np.ndarray
    path_entropy: np.ndarray
    reach: np.ndarray
    images: np.ndarray

    def __post_init__(self) -> None:
        """Check what a reader relies on: files can be damaged, or not ours."""
        count, kinds = len(self.group), {"i": _INTEGERS, "f": ("path_entropy", "reach")}
        wrong = [name for kind, names in kinds.items() for name in names if getattr(self, name).dtype.kind != kind]
        wrong += [name for name in (*_INTEGERS, "path_entropy") if getattr(self, name).shape != (count,)]
        if self.reach.ndim != 2 or len(self.reach) != count or not np.isfinite(self.reach).all():
            wrong.append("reach")
        if (
            self.images.dtype != np.uint8
            or self.images.ndim != 4
            or len(self.images) != count
            or self.images.shape[3] not in (1, 3)
        ):
            wrong.append("images")
        if self.group.dtype.kind != "U" or not set(self.group.tolist()) <= set(GROUPS):
            wrong.append("group")
        if not wrong:
            limits = {"node": (-1, self.reach.shape[1]), "sample": (0, 2**62)}
            limits |= dict.fromkeys(("target", "network", "soft", "hard"), (0, len(self.classes)))
            wrong += [
                n for n, (low, high) in limits.items() if not ((low <= (v := getattr(self, n))) & (v < high)).all()
            ]
        if wrong:
            raise StoreError(f"samples of a tree do not fit together: {', '.join(wrong)}.", field="samples")

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.group)

    @property
    def has_images(self) -> bool:
        """Whether the samples are images."""
        return bool(self.images.size)


def write_tree_samples(path: Path, samples: TreeSamples) -> None:
    """Write the file whole: beside, then renamed.

    Args:
        path: the file; its folder is made.
        samples: what is in it.

    Raises:
        OSError: the disk is full or the folder is not writable; nothing is left behind.
    """
    arrays = {name: getattr(samples, name) for name in _MEMBERS}
    with whole_file(path) as file:
        np.savez_compressed(file, classes=np.array(samples.classes, dtype=np.str_), **arrays)


def load_tree_samples(root: Path | str, search_id: str, trial: int) -> TreeSamples:
    """Samples on their ways through the tree of a trial.

    Args:
        root: folder of the store.
        search_id: an id, a unique prefix of one, or ``"latest"``.
        trial: number of a finished trial.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: no such trial, it has none or they were removed, or the file is damaged.
    """
    whole = resolve_search_id(root, search_id)
    path = kept_file(root, whole, trial, TREE_SAMPLES_FILE)
    if path is None:
        raise StoreError(
            f"no samples of the tree of trial {whole}/{trial} are kept.",
            field="trial",
            fix="Search with keep_weights = 'best', 'front' or 'all' and an objective of decision trees, as nbdt_gap.",
        )
    return read_tree_samples(path)


def read_tree_samples(path: Path) -> TreeSamples:
    """The samples of one file; nothing in it is run.

    Raises:
        StoreError: it is damaged or no such file.
    """
    arrays = read_arrays(path, ("classes", *_MEMBERS))
    if odd := [name for name, array in arrays.items() if not array.ndim]:
        raise StoreError(f"cannot read {path}: {', '.join(odd)} should have a length.", field="trial")
    classes = tuple(map(str, arrays.pop("classes").tolist()))
    return TreeSamples(classes=classes, **arrays)


_MEMBERS = tuple(field.name for field in fields(TreeSamples) if field.name != "classes")
