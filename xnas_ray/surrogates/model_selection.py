"""Which kernels explain the targets: all hyper-parameters together, by the marginal likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xnas_ray.surrogates.architecture_kernel import Blocks, KernelSettings, Points
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.gram_gp import NOISE_CEILING, NOISE_FLOOR, Evidence, evidences


@dataclass(frozen=True, slots=True)
class KernelGrid:
    """The hyper-parameters among which is chosen; see ``KernelSettings`` for their meaning.

    Attributes:
        depths: of the WL part.
        wl_shares: weights of the WL part.
        hamming_lengths: in choices.
        numeric_lengths: only where the space has numeric coordinates.
        fidelity_lengths: only where outcomes of several fidelities are known.
        noise_floor: smallest noise variance over output scale.
        noise_ceiling: largest one.
        scale: a fixed output scale, None to take the most likely one.
        members: most settings that are averaged.
        least_weight: settings with a smaller posterior probability are left out.
        max_points: of more observations than these, as many, evenly spread over time, choose the hyper-parameters
            (an eigendecomposition is O(n³)); all of them make the posterior.
    """

    depths: tuple[int, ...] = (1, 2, 3)
    wl_shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    hamming_lengths: tuple[float, ...] = (1.0, 2.0, 4.0)
    numeric_lengths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    fidelity_lengths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    noise_floor: float = NOISE_FLOOR
    noise_ceiling: float = NOISE_CEILING
    scale: float | None = None
    members: int = 8
    least_weight: float = 0.02
    max_points: int = 300


@dataclass(frozen=True, slots=True)
class Selection:
    """Hyper-parameters, and how well they explain the targets.

    Attributes:
        settings: of the kernel.
        evidence: noise, scale and likelihood under them.
        weight: their posterior probability among those that were kept.
    """

    settings: KernelSettings
    evidence: Evidence
    weight: float = 1.0


def select(
    encodings: Encodings, points: Points, y: np.ndarray, grid: KernelGrid, *, blocks: Blocks | None = None
) -> list[Selection]:
    """The settings that explain the targets best, with their posterior probabilities, best first.

    With few observations many kernels explain them about equally well and predict differently. So the likely ones are
    averaged (a flat prior over the grid), which finds better architectures than the likeliest one alone.

    WL depth, share and Hamming length are searched jointly; where the space has numeric coordinates or outcomes of
    several fidelities are known, their lengths each by itself first, under the best of the former.

    Args:
        encodings: where the points' rows are.
        points: n observations.
        y: n standardised targets.
        grid: what to choose from.
        blocks: of the points with themselves, where the caller needs them too.
    """
    total = len(points)
    if total > grid.max_points:
        chosen = np.linspace(0, total - 1, grid.max_points).round().astype(np.intp)
        points, y, blocks = points.take(chosen), y[chosen], None
    blocks = blocks or Blocks(encodings, points, points)
    shapes = list(_shapes(grid, bool(encodings.unordered)))
    stages: list[list[dict[str, Any]]] = []
    if encodings.numeric_columns:
        stages += [shapes, [{"numeric_length": length} for length in grid.numeric_lengths]]
    if len(np.unique(points.epochs)) > 1:
        stages += [shapes, [{"fidelity_length": length} for length in grid.fidelity_lengths]]
    found = [Selection(KernelSettings(), Evidence(-np.inf, grid.noise_floor, 1.0))]
    for changes in [*stages, shapes]:
        found = _ranked(blocks, y, grid, [dataclasses.replace(found[0].settings, **change) for change in changes])
    # As many points as there are would tell so much more of the settings apart.
    return _likely(found, total / len(points), grid)


def _ranked(blocks: Blocks, y: np.ndarray, grid: KernelGrid, candidates: Sequence[KernelSettings]) -> list[Selection]:
    """The candidates with their evidence, best first, earlier ones first among equals."""
    grams = np.stack([blocks.combine(settings) for settings in candidates])
    made = evidences(grams, y, floor=grid.noise_floor, ceiling=grid.noise_ceiling, scale=grid.scale)
    found = [Selection(settings, one) for settings, one in zip(candidates, made, strict=True)]
    return sorted(found, key=lambda selection: -selection.evidence.log_likelihood)


def _likely(ranked: list[Selection], points_each: float, grid: KernelGrid) -> list[Selection]:
    """Those that are kept, weighted by their likelihoods."""
    kept = ranked[: grid.members]
    likelihoods = np.array([selection.evidence.log_likelihood for selection in kept])
    weights = np.exp(points_each * (likelihoods - likelihoods[0]))
    chosen = [i for i, weight in enumerate(weights) if weight >= grid.least_weight * weights.sum()]
    total = float(weights[chosen].sum())
    return [dataclasses.replace(kept[i], weight=float(weights[i]) / total) for i in chosen]


def _shapes(grid: KernelGrid, hamming: bool) -> Iterator[dict[str, Any]]:
    """Depths, shares and Hamming lengths that make different kernels."""
    for share in grid.wl_shares if hamming else (1.0,):
        for depth in grid.depths if share > 0 else grid.depths[:1]:
            for length in grid.hamming_lengths if share < 1 else grid.hamming_lengths[:1]:
                yield {"depth": depth, "wl_share": share, "hamming_length": length}
