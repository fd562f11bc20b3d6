"""Genotypes as rows of numbers for a predictor: one-hot where options have no order, one number where they have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Choice, Space
from xnas_ray.spaces.joint import JointSpace


class MixedEncoding:
    """The encoding of FBNetV3's predictor (Dai et al., CVPR 2021): one-hot, and min-max to [0, 1].

    A choice whose options are ordered is one column, ``index / (options - 1)``; another is a column an option. A choice
    with a single option gives nothing: it tells no two genotypes apart, and its range is 0. Columns of the architecture
    come first; those of a joint space's recipe are the second part, so that what is learnt of architectures alone can
    be kept from it.

    Args:
        space: whose genotypes are encoded; parts of spaces are encoded like the whole.

    Attributes:
        space: as given.
        columns: the name of every column, such as ``"3.width"`` or ``"3.kernel=5"``.
        architecture: which columns say what is built; none where there is one architecture.
        recipe: which columns say how it is trained; none in a space of architectures alone.
    """

    def __init__(self, space: Space) -> None:
        """Lay the columns out."""
        self.space = space
        whole = space.unwrapped
        genes = len(whole.recipes.genes) if isinstance(whole, JointSpace) else 0
        first_gene = len(space.choices) - genes
        names = [_names(choice) for choice in space.choices]
        self.columns: tuple[str, ...] = tuple(name for part in names for name in part)
        cut = sum(len(part) for part in names[:first_gene])
        self.architecture = slice(0, cut)
        self.recipe = slice(cut, len(self.columns))
        self._tables = [_table(choice) for choice in space.choices]

    def encode(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """The rows of some genotypes, float64 n x columns, each between 0 and 1.

        Indices are checked against the choices; whether a genotype is valid is not asked, for thousands are encoded
        at once and a predictor can read them all.

        Raises:
            GenotypeError: a genotype has the wrong length, or an index that is out of range or no whole number.
        """
        if not len(genotypes):
            return np.zeros((0, len(self.columns)))
        indices = self._checked(genotypes)
        return np.concatenate([table[indices[:, i]] for i, table in enumerate(self._tables)], axis=1)

    def _checked(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """The genotypes as one matrix of indices; the first at fault is told in the words of ``Space.check``."""
        options = np.array([len(choice.options) for choice in self.space.choices])
        try:
            indices = np.array(genotypes)
        except ValueError:  # of different lengths
            indices = np.empty(0)
        if indices.shape == (len(genotypes), len(options)) and indices.dtype.kind in "iu":
            inside = np.all((indices >= 0) & (indices < options), axis=1)
            if inside.all():
                return indices
            genotypes = [genotypes[int(np.argmin(inside))]]
        for genotype in genotypes:
            self.space.unwrapped.check(genotype)
        raise GenotypeError("a genotype is a sequence of whole numbers.", field="genotype")


def _names(choice: Choice) -> list[str]:
    """Names of a choice's columns."""
    if len(choice.options) == 1:
        return []
    return [choice.name] if choice.ordered else [f"{choice.name}={option}" for option in choice.options]


def _table(choice: Choice) -> np.ndarray:
    """Every option's values in the columns of its choice, options x columns."""
    options = len(choice.options)
    if options == 1:
        return np.zeros((1, 0))
    return np.linspace(0.0, 1.0, options)[:, None] if choice.ordered else np.eye(options)
