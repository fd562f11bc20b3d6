"""Many architectures of one space as a kernel reads them: WL counts, unordered choices, numeric columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.wl_features import Backend, Kind, WLFeatures


class Encodings:
    """One row an architecture, appended one at a time; the same key gives the same row again.

    Rows do not depend on each other, so that their order leaves no trace in a kernel.

    Args:
        space: whose genotypes are encoded.
        depth: layers of WL features.
        kind: ``"subtree"`` or ``"oa"`` (see ``WLFeatures``).
        backend: ``"native"`` or ``"grakel"``.

    Attributes:
        space: as given.
        features: the WL part.
        unordered: positions of the choices whose options have no order: they are compared by equality.
    """

    def __init__(self, space: Space, *, depth: int = 3, kind: Kind = "subtree", backend: Backend = "native") -> None:
        """Start without rows."""
        self.space = space
        self.features = WLFeatures(depth, kind=kind, backend=backend)
        self.unordered = tuple(i for i, c in enumerate(space.choices) if len(c.options) > 1 and not c.ordered)
        self._options = _Table(len(self.unordered), np.int32)
        self._numeric: _Table | None = None
        self._row_of: dict[Genotype, int] = {}  # spares most keys, which some spaces compute slowly

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.features)

    @property
    def numeric_columns(self) -> int:
        """How many coordinates ``Space.numeric`` gives; 0 before the first row."""
        return self._numeric.columns if self._numeric else 0

    def add(self, genotype: Genotype) -> int:
        """The row of a canonical genotype, appended when its key is new."""
        known = self._row_of.get(genotype)
        if known is not None:
            return known
        key = self.space.key(genotype)
        if key in self.features:
            return self.features.row(key)
        row = self._row_of[genotype] = self.features.add(key, self.space.graphs(genotype))
        numeric = self.space.numeric(genotype)
        if self._numeric is None:
            self._numeric = _Table(len(numeric), np.float64)
        self._numeric.append(row, numeric)
        self._options.append(row, [genotype[i] for i in self.unordered])
        return row

    def add_all(self, genotypes: Iterable[Genotype]) -> np.ndarray:
        """Rows of several genotypes."""
        return np.array([self.add(genotype) for genotype in genotypes], dtype=np.intp)

    def options(self, rows: np.ndarray) -> np.ndarray:
        """Chosen options of the unordered choices, rows x choices."""
        return self._options.values[rows]

    def numeric(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates of the choices that are quantities, rows x columns."""
        return self._numeric.values[rows] if self._numeric else np.zeros((len(rows), 0))


class _Table:
    """A matrix that grows by rows."""

    def __init__(self, columns: int, dtype: type) -> None:
        self.columns = columns
        self.values: np.ndarray = np.zeros((16, columns), dtype=dtype)

    def append(self, row: int, values: Sequence[float]) -> None:
        if row == len(self.values):
            self.values = np.concatenate([self.values, np.zeros_like(self.values)])
        self.values[row] = values
