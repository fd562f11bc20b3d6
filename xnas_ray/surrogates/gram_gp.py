"""Gaussian-process regression in closed form over Gram matrices: exact, deterministic, growing a row at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

NOISE_FLOOR = 1e-2
NOISE_CEILING = 10.0
_RATIOS = 32


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well a kernel explains targets, at its best noise.

    Attributes:
        log_likelihood: ``log p(y)`` at the best noise and scale.
        noise_ratio: noise variance over output scale.
        scale: output scale s², the prior variance of the function.
    """

    log_likelihood: float
    noise_ratio: float
    scale: float


def evidences(
    grams: np.ndarray,
    y: np.ndarray,
    *,
    floor: float = NOISE_FLOOR,
    ceiling: float = NOISE_CEILING,
    scale: float | None = None,
) -> list[Evidence]:
    """The marginal likelihood of ``y ~ N(0, s² (K + r I))`` for several K, highest over noise ratio r and scale s².

    One eigendecomposition ``K = U diag(λ) U'`` makes every r cost O(n): with ``q = (U'y)²`` the best scale is
    ``s² = Σ q / (λ + r) / n`` and the log-likelihood ``-n/2 log(2πe s²) - 1/2 Σ log(λ + r)`` (Rasmussen & Williams
    2006, eq. 5.8, with s² profiled out). r is looked for on a geometric grid and again around its best point.

    Args:
        grams: k matrices K, k x n x n, symmetric with unit diagonals.
        y: n targets.
        floor: smallest r; below some hundred observations a free one collapses and ruins the predictive density.
        ceiling: largest r.
        scale: a fixed s² instead of the profiled one.
    """
    eigenvalues, vectors = np.linalg.eigh(grams)
    spectra = np.maximum(eigenvalues, 0.0)
    energies = (vectors.transpose(0, 2, 1) @ y) ** 2
    ratios = np.tile(np.geomspace(floor, ceiling, _RATIOS), (len(grams), 1))
    best = np.argmax(_profile(spectra, energies, ratios, scale)[0], axis=1)
    each = np.arange(len(grams))
    below, above = ratios[each, np.maximum(best - 1, 0)], ratios[each, np.minimum(best + 1, _RATIOS - 1)]
    ratios = np.geomspace(below, above, _RATIOS, axis=1)
    likelihoods, scales = _profile(spectra, energies, ratios, scale)
    best = np.argmax(likelihoods, axis=1)
    chosen = (likelihoods[each, best], ratios[each, best], scales[each, best])
    return [Evidence(float(a), float(b), float(c)) for a, b, c in zip(*chosen, strict=True)]


def evidence(
    gram: np.ndarray,
    y: np.ndarray,
    *,
    floor: float = NOISE_FLOOR,
    ceiling: float = NOISE_CEILING,
    scale: float | None = None,
) -> Evidence:
    """The evidence of one Gram matrix, n x n; see ``evidences``."""
    return evidences(gram[None], y, floor=floor, ceiling=ceiling, scale=scale)[0]


def _profile(
    spectra: np.ndarray, energies: np.ndarray, ratios: np.ndarray, scale: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(log-likelihoods, scales) at every ratio, k x ratios."""
    count = spectra.shape[1]
    damped = spectra[:, :, None] + ratios[:, None]
    quadratic = np.sum(energies[:, :, None] / damped, axis=1)
    scales = profiled_scale(quadratic, count) if scale is None else np.full(ratios.shape, scale)
    likelihoods = -0.5 * (quadratic / scales + count * np.log(2 * math.pi * scales) + np.log(damped).sum(axis=1))
    return likelihoods, scales


def profiled_scale(quadratic: np.ndarray, count: int) -> np.ndarray:
    """The most likely output scale, ``y'C⁻¹y / n``, above 0 also for constant targets."""
    return np.maximum(quadratic / max(count, 1), 1e-12)


class GramGP:
    """The posterior of ``f ~ GP(0, s² k)`` given ``y = f + e``, ``e ~ N(0, s² r)``, for a kernel with unit diagonal.

    Keeps the Cholesky factor L of ``C = K + r I``. An observation appends one row, O(n²), so that the factor depends on
    the order of the observations alone and not on how many came at once: a replayed search has the same bits. Targets
    may change as a whole at any time (they are standardised anew with every observation), O(n²).

    Args:
        gram: K of the first n points, n x n.
        noise_ratio: r, noise variance over output scale, above 0.
        scale: a fixed output scale s²; by default the most likely one, ``y'C⁻¹y / n``.

    Attributes:
        noise_ratio: as given.
        scale: output scale s², known once there are targets.
    """

    def __init__(self, gram: np.ndarray, noise_ratio: float, *, scale: float | None = None) -> None:
        """Factorise."""
        self.noise_ratio = noise_ratio
        self._fixed_scale = scale
        self.scale = 1.0 if scale is None else scale
        self._count = len(gram)
        self._buffer = np.zeros((2 * self._count + 16,) * 2)
        if self._count:
            noisy = gram + noise_ratio * np.eye(self._count)
            self._buffer[: self._count, : self._count] = cholesky(noisy, lower=True, check_finite=False)
        self._targets = np.zeros(self._count)
        self._whitened = np.zeros(self._count)

    def __len__(self) -> int:
        """Number of observations."""
        return self._count

    @property
    def factor(self) -> np.ndarray:
        """L, n x n, lower triangular; a view."""
        return self._buffer[: self._count, : self._count]

    def append(self, column: np.ndarray) -> None:
        """A further observation, whose kernel values with the earlier ones are ``column`` (n values)."""
        count = self._count
        row = self.whiten(column)
        if count + 1 > len(self._buffer):
            larger = np.zeros((2 * count + 16,) * 2)
            larger[:count, :count] = self.factor
            self._buffer = larger
        self._buffer[count, :count] = row
        # r bounds what is left from below; rounding alone could push it under.
        self._buffer[count, count] = math.sqrt(max(1.0 + self.noise_ratio - float(row @ row), self.noise_ratio))
        self._count = count + 1

    def whiten(self, columns: np.ndarray) -> np.ndarray:
        """``L⁻¹ columns`` for one vector of n values or a matrix of n rows."""
        return solve_triangular(self.factor, columns, lower=True, check_finite=False) if self._count else columns

    def set_targets(self, y: np.ndarray) -> None:
        """The targets of all observations, in their order; the output scale follows."""
        self._targets = np.asarray(y, dtype=np.float64)
        self._whitened = self.whiten(self._targets)
        if self._fixed_scale is None:
            self.scale = float(profiled_scale(np.array(self._whitened @ self._whitened), self._count))

    @property
    def targets(self) -> np.ndarray:
        """The targets, n values."""
        return self._targets

    @property
    def whitened_targets(self) -> np.ndarray:
        """``L⁻¹ y``: the posterior mean at a point whose whitened kernel column is v is ``v'L⁻¹y``."""
        return self._whitened

    @property
    def noise(self) -> float:
        """Noise variance s² r."""
        return self.scale * self.noise_ratio

    @property
    def alpha(self) -> np.ndarray:
        """``C⁻¹ y``, n weights: the posterior mean is ``k(x, X) alpha``."""
        if not self._count:
            return np.zeros(0)
        return solve_triangular(self.factor, self._whitened, lower=True, trans="T", check_finite=False)

    def precision(self) -> np.ndarray:
        """``(s² C)⁻¹``, n x n."""
        return cho_solve((self.factor, True), np.eye(self._count), check_finite=False) / self.scale

    @property
    def log_likelihood(self) -> float:
        """``log p(y)`` at the current scale."""
        quadratic = float(self._whitened @ self._whitened) / self.scale
        logarithms = 2 * float(np.log(np.diag(self.factor)).sum())
        return -0.5 * (quadratic + logarithms + self._count * math.log(2 * math.pi * self.scale))

    def predict(self, cross: np.ndarray, *, noise: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and variance of the function at N points, of a noisy observation there with ``noise``.

        Args:
            cross: kernel values of the n observations (rows) with the N points (columns).
            noise: whether the variance includes that of the noise.
        """
        whitened = self.whiten(cross)
        variance = np.maximum(1.0 - np.einsum("ij,ij->j", whitened, whitened), 0.0)
        return self._whitened @ whitened, self.scale * (variance + (self.noise_ratio if noise else 0.0))

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) at every observation given all others (R. & W. 2006, eq. 5.12)."""
        inverse = cho_solve((self.factor, True), np.eye(self._count), check_finite=False)
        precision = np.diag(inverse)
        return self._targets - (inverse @ self._targets) / precision, self.scale / precision
