"""The Weisfeiler–Lehman part of a Gaussian process: what explanations need to know of a fitted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import SpecError

if TYPE_CHECKING:
    from xnas_ray.surrogates.wl_features import WLFeatures

Term = tuple[int, str]
"""One layer of one cell."""


@dataclass(frozen=True, slots=True)
class Block:
    """Layers and cells whose counts are normalised together.

    The kernel of a block is ``weight * <Phi, Phi'> / (|Phi| |Phi'|)``, where ``Phi`` holds ``sqrt(terms[t]) * phi_t``
    for every term t.

    Attributes:
        terms: weight of every layer of every cell, above 0.
        weight: of the block, output scale included.
    """

    terms: Mapping[Term, float]
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class WLPart:
    """What the Weisfeiler–Lehman part of a Gaussian process contributes to its posterior.

    The covariance is ``K = gate * sum of blocks + other parts + noise``; other parts need not be known here.

    Attributes:
        rows: the n training architectures, as rows of the features; one that was observed twice is there twice.
        alpha: ``K^-1 (y - mean)``, length n.
        blocks: kernels that are linear in the features; no term is in two of them.
        gate: n x n, what the blocks are multiplied by where the kernel is a product (its other factor between the
            observations); None for a plain sum.
        precision: ``K^-1``, n x n, for the posterior uncertainty of gradients; None when that is not wanted.
        at: positions in ``rows`` at which gradients are averaged, every architecture once (its observation at the
            highest fidelity, say); None for all.
    """

    rows: np.ndarray
    alpha: np.ndarray
    blocks: tuple[Block, ...]
    gate: np.ndarray | None = None
    precision: np.ndarray | None = None
    at: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Bring positions and weights into arrays; refuse sizes that do not fit.

        Raises:
            SpecError: sizes differ, or a term is in two blocks.
        """
        n = len(self.rows)
        object.__setattr__(self, "rows", np.asarray(self.rows, dtype=np.intp))
        object.__setattr__(self, "alpha", np.asarray(self.alpha, dtype=np.float64))
        object.__setattr__(self, "at", np.arange(n) if self.at is None else np.asarray(self.at, dtype=np.intp))
        for name, value, shape in (
            ("alpha", self.alpha, (n,)),
            ("gate", self.gate, (n, n)),
            ("precision", self.precision, (n, n)),
        ):
            if value is not None and np.shape(value) != shape:
                raise SpecError(f"has the shape {np.shape(value)}, the {n} rows need {shape}.", field=name)
        terms = [term for block in self.blocks for term in block.terms]
        if len(set(terms)) < len(terms):
            raise SpecError("a layer of a cell is in two blocks.", field="blocks")

    @property
    def positions(self) -> np.ndarray:
        """``at``, whether it was given or not."""
        assert self.at is not None
        return self.at

    @classmethod
    def by_cell(
        cls,
        features: WLFeatures,
        rows: Sequence[int] | np.ndarray,
        alpha: np.ndarray,
        depth: int,
        weight: float = 1.0,
        **further: np.ndarray | None,
    ) -> WLPart:
        """The usual kernel: layers 0 to ``depth`` normalised together, and the mean over cells.

        Args:
            features: the training architectures and perhaps others.
            rows: as the attribute.
            alpha: as the attribute.
            depth: number of refinements h of the kernel, at most that of the features.
            weight: of the whole part, output scale included.
            **further: the other attributes.
        """
        share = weight / max(1, len(features.cells))
        blocks = [Block({(t, cell): 1.0 for t in range(depth + 1)}, share) for cell in features.cells]
        return cls(np.asarray(rows), alpha, tuple(blocks), **further)


def explained_share(wl: np.ndarray, whole: np.ndarray) -> float:
    """The share of the posterior mean's variance that a part explains: ``cov(part, mean) / var(mean)``.

    Shares of parts that add up to the mean add up to 1; a part that works against the others has a negative one.

    Args:
        wl: what the part contributes, length n (see ``wl_mean``).
        whole: the whole posterior mean of the same architectures, length n; a constant prior mean does not matter.

    Returns:
        The share; NaN when the whole mean is constant.
    """
    centred = whole - whole.mean()
    variance = float(centred @ centred)
    return float(centred @ (wl - wl.mean())) / variance if variance > 0 else float("nan")
