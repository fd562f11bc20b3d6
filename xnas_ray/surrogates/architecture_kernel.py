"""The kernel between architectures: Weisfeiler–Lehman, Hamming, numeric columns and fidelity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xnas_ray.surrogates.encodings import Encodings


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """Hyper-parameters of ``ArchitectureKernel``.

    Attributes:
        depth: h, layers 0 to h of the WL part are summed.
        wl_share: weight of the WL part beside the Hamming part, in [0, 1].
        hamming_length: in choices.
        numeric_length: in ranges of the numeric coordinates.
        fidelity_length: in doublings of the number of epochs.
    """

    depth: int = 2
    wl_share: float = 0.5
    hamming_length: float = 2.0
    numeric_length: float = 1.0
    fidelity_length: float = 4.0


@dataclass(frozen=True)
class Points:
    """What is observed or predicted: architectures, each at a fidelity.

    Attributes:
        rows: of the encodings, n whole numbers.
        epochs: how long each is trained, n values.
    """

    rows: np.ndarray
    epochs: np.ndarray

    def __len__(self) -> int:
        """Number of points."""
        return len(self.rows)

    def take(self, positions: np.ndarray | slice) -> Points:
        """Some of the points."""
        return Points(self.rows[positions], self.epochs[positions])

    def joined(self, others: Points) -> Points:
        """These points, then others."""
        return Points(np.concatenate([self.rows, others.rows]), np.concatenate([self.epochs, others.epochs]))


class Blocks:
    """What the kernel of two sets of points is made of, each part made once: hyper-parameters combine them.

    The kernel is ``[ω k_WL + (1 - ω) exp(-Hamming / l)] · k_numeric · k_fidelity``, every part with unit diagonal:

    - ``k_WL``: the mean over an architecture's cells of the cosine of their WL counts, layers 0 to h (Ru et al., ICLR
      2021; several cells as in NASLib).
    - Hamming: the number of unordered choices that differ.
    - ``k_numeric``: Matérn 5/2 of the root mean squared distance of the numeric coordinates (widths, recipe genes).
    - ``k_fidelity``: exponential in the difference of log2 epochs, so that a short training tells about a long one.

    Args:
        encodings: where the rows are.
        a: n points.
        b: m points.
    """

    def __init__(self, encodings: Encodings, a: Points, b: Points) -> None:
        """Nothing is computed yet."""
        self._encodings = encodings
        self._a, self._b = a, b
        self._raw: list[dict[str, np.ndarray]] = []
        self._wl: dict[int, np.ndarray] = {}
        self._differing: np.ndarray | None = None
        self._distance: np.ndarray | None = None

    def wl(self, depth: int) -> np.ndarray:
        """``k_WL``, n x m."""
        if depth not in self._wl:
            features = self._encodings.features
            rows_a, rows_b = self._a.rows, self._b.rows
            total = np.zeros((len(rows_a), len(rows_b)))
            for cell in features.cells:
                layers = range(depth + 1)
                raw = self._raw_sum(depth, cell)
                norm_a = np.sqrt(sum(features.squared_norms(rows_a, t, cell) for t in layers))
                norm_b = np.sqrt(sum(features.squared_norms(rows_b, t, cell) for t in layers))
                total += raw / (np.maximum(norm_a, 1e-12)[:, None] * np.maximum(norm_b, 1e-12))
            self._wl[depth] = total / max(len(features.cells), 1)
        return self._wl[depth]

    def hamming(self) -> np.ndarray:
        """Number of differing unordered choices, n x m."""
        if self._differing is None:
            a, b = self._encodings.options(self._a.rows), self._encodings.options(self._b.rows)
            self._differing = np.zeros((len(a), len(b)), dtype=np.intp)
            for choice in range(a.shape[1]):
                self._differing += a[:, choice, None] != b[:, choice]
        return self._differing

    def combine(self, settings: KernelSettings) -> np.ndarray:
        """The kernel, n x m."""
        choices = len(self._encodings.unordered)
        share = settings.wl_share if choices else 1.0
        gram = np.zeros((len(self._a), len(self._b)))
        if share > 0:
            gram += share * self.wl(settings.depth)
        if share < 1:
            decay = np.exp(-np.arange(choices + 1) / settings.hamming_length)
            gram += (1 - share) * decay[self.hamming()]
        return gram * self.factor(settings) if self._varies else gram

    def factor(self, settings: KernelSettings) -> np.ndarray:
        """``k_numeric · k_fidelity``, n x m; ones where there are no numeric coordinates and a single fidelity."""
        gram = np.ones((len(self._a), len(self._b)))
        if self._encodings.numeric_columns:
            gram *= matern52(self._numeric_distance() / settings.numeric_length)
        if self._mixed:
            doublings = np.abs(np.log2(self._a.epochs)[:, None] - np.log2(self._b.epochs))
            gram *= np.exp(-doublings / settings.fidelity_length)
        return gram

    @cached_property
    def _mixed(self) -> bool:
        return len(np.unique(np.concatenate([self._a.epochs, self._b.epochs]))) > 1

    @property
    def _varies(self) -> bool:
        return bool(self._encodings.numeric_columns) or self._mixed

    def _raw_sum(self, depth: int, cell: str) -> np.ndarray:
        """Dot products summed over layers 0 to ``depth``; whole numbers, so sums are exact in any order."""
        features = self._encodings.features
        while len(self._raw) <= depth:
            layer = len(self._raw)
            sums = {c: features.gram(self._a.rows, self._b.rows, layer, c) for c in features.cells}
            if layer:
                sums = {c: sums[c] + self._raw[layer - 1][c] for c in sums}
            self._raw.append(sums)
        return self._raw[depth][cell]

    def _numeric_distance(self) -> np.ndarray:
        """Root mean squared difference of the numeric columns, n x m."""
        if self._distance is None:
            a, b = self._encodings.numeric(self._a.rows), self._encodings.numeric(self._b.rows)
            squared = np.zeros((len(a), len(b)))
            for column in range(a.shape[1]):
                squared += (a[:, column, None] - b[:, column]) ** 2
            self._distance = np.sqrt(squared / max(a.shape[1], 1))
        return self._distance


def matern52(distance: np.ndarray) -> np.ndarray:
    """Matérn kernel with smoothness 5/2 of distances in lengthscales (Rasmussen & Williams 2006, eq. 4.17)."""
    scaled = np.sqrt(5.0) * distance
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
