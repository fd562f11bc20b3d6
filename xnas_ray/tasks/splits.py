"""Seeded, stratified, disjoint splits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from xnas_ray.errors import TaskError
from xnas_ray.randomness import Domain, rng
from xnas_ray.tasks.base import Split


def split_indices(
    count: int, fractions: Sequence[float], seed: int, labels: Sequence[int] | np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Disjoint index sets that together are ``0 .. count - 1``, each sorted.

    Every sample gets a place in [0, 1): shuffled ranks, with ``labels`` the rank within its class; the samples in
    order of their places are cut at the fractions. Sizes are exact up to rounding, and each class is spread over the
    sets in proportion, up to one sample at each cut.

    Args:
        count: number of samples.
        fractions: share of each set; they sum to 1.
        seed: of the shuffling (``Domain.SPLIT``).
        labels: class of each sample, for a stratified split.

    Raises:
        TaskError: fractions are not positive or do not sum to 1, or a set would be empty.
    """
    if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise TaskError(f"fractions must be positive and sum to 1, got {list(fractions)}.", field="fractions")
    cuts = np.rint(np.cumsum([0.0, *fractions]) * count).astype(int)
    if np.any(np.diff(cuts) == 0):
        raise TaskError(f"{count} samples are too few for the fractions {list(fractions)}.", field="fractions")
    order = rng(seed, Domain.SPLIT).permutation(count)
    if labels is not None:
        classes = np.asarray(labels)[order]
        place = np.empty(count)
        for label in np.unique(classes):
            members = np.flatnonzero(classes == label)
            place[members] = (np.arange(len(members)) + 0.5) / len(members)
        order = order[np.argsort(place, kind="stable")]
    return tuple(np.sort(order[start:stop]) for start, stop in pairwise(cuts))


def split_tensors(
    inputs: Tensor | Sequence[Tensor],
    targets: Tensor,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    *,
    seed: int = 0,
    stratify: bool = True,
) -> tuple[Split, ...]:
    """One ``Split`` a fraction; ``stratify`` spreads every class over all of them (class labels only)."""
    tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    labels = targets.numpy() if stratify else None
    parts = split_indices(len(targets), fractions, seed, labels)
    whole = Split(tensors, targets)
    return tuple(whole.take(torch.from_numpy(part)) for part in parts)
