"""What is left of a space that can be listed: how a controller finds the last candidates, and knows the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space


class Remaining:
    """One entry a key of a space, struck off when it is asked for.

    A mask over the space's own enumeration: the order in which keys are struck off leaves no trace, as replay needs.
    Listing costs one pass over the space (0.05 s for the 15,625 cells of NAS-Bench-201, a few seconds at the limit of a
    million); striking off is O(1), choosing O(keys) in numpy.

    Args:
        space: what to list, ``space.enumerate()`` must not refuse.
        known: whether a genotype is struck off from the start.
    """

    def __init__(self, space: Space, known: Callable[[Genotype], bool]) -> None:
        """List the space."""
        self._genotypes = tuple(space.enumerate())
        self._index = {space.key(genotype): i for i, genotype in enumerate(self._genotypes)}
        self._open = np.array([not known(genotype) for genotype in self._genotypes], dtype=bool)

    def strike(self, key: str) -> None:
        """The architectures of this key were asked for."""
        index = self._index.get(key)
        if index is not None:
            self._open[index] = False

    def choose(self, rng: np.random.Generator) -> Genotype | None:
        """A canonical genotype that is left, uniformly over keys; None when nothing is left."""
        left = np.flatnonzero(self._open)
        return self._genotypes[left[rng.integers(left.size)]] if left.size else None
