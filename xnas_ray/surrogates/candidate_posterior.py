"""The posterior at fixed candidates, kept up to date while observations and fantasies come."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_triangular

from xnas_ray.surrogates.gram_gp import GramGP


class CandidatePosterior:
    """One GP's posterior at N candidates.

    It keeps ``V = L⁻¹ K(X, candidates)``, n x N; an observation adds a row in O(nN), where computing V anew takes
    O(n²N). A fantasy is an observation that is assumed at its posterior mean (kriging believer, Ginsbourger, Le Riche
    & Carraro 2010): it leaves the mean as it is and lowers the variance. Fantasies are rows W of the same kind below V.
    Posterior samples in their place shift the mean by ``s ε'W`` with standard normal ε.

    Args:
        gp: the posterior of the observations.
        cross: kernel values of the first observations with the candidates, n x N; the others follow by ``observe``.
    """

    def __init__(self, gp: GramGP, cross: np.ndarray) -> None:
        """Whiten the kernel values."""
        self._gp = gp
        first = len(cross)
        factor = gp.factor[:first, :first]
        whitened = solve_triangular(factor, cross, lower=True, check_finite=False) if first else cross
        self._seen = _Rows(whitened)
        self._explained = np.einsum("ij,ij->j", whitened, whitened)
        self.forget()

    def __len__(self) -> int:
        """Number of observations that are taken into account."""
        return len(self._seen)

    @property
    def fantasies(self) -> int:
        """Number of fantasies."""
        return len(self._assumed)

    def observe(self, column: np.ndarray) -> None:
        """The next observation of the GP, whose kernel values with the candidates are ``column`` (N values)."""
        count = len(self._seen)
        row = self._gp.factor[count]
        added = (column - row[:count] @ self._seen.view) / row[count]
        self._seen.append(added)
        self._explained = self._explained + added**2
        self.forget()

    def forget(self) -> None:
        """Drop all fantasies."""
        candidates = self._explained.size
        self._assumed = _Rows(np.zeros((0, candidates)))
        self._points = _Rows(np.zeros((0, len(self._seen))))  # whitened kernel columns of the fantasies' points
        self._small = np.zeros((0, 0))  # Cholesky factor of the fantasies' covariance
        self._imagined = np.zeros(candidates)

    def fantasise(self, point: np.ndarray, among: np.ndarray, column: np.ndarray) -> None:
        """Assume an observation.

        Args:
            point: its whitened kernel values with the n observations, ``L⁻¹ k``.
            among: its kernel values with the earlier fantasies, p values.
            column: its kernel values with the candidates, N values.
        """
        count = len(self._assumed)
        link = among - self._points.view @ point
        if count:
            link = solve_triangular(self._small, link, lower=True, check_finite=False)
        left = 1.0 + self._gp.noise_ratio - float(point @ point) - float(link @ link)
        larger = np.zeros((count + 1, count + 1))
        larger[:count, :count] = self._small
        larger[count, :count] = link
        larger[count, count] = math.sqrt(max(left, self._gp.noise_ratio))
        added = (column - point @ self._seen.view - link @ self._assumed.view) / larger[count, count]
        self._assumed.append(added)
        self._points.append(point)
        self._small = larger
        self._imagined = self._imagined + added**2

    def mean(self) -> np.ndarray:
        """Posterior mean of every candidate."""
        return self._gp.whitened_targets @ self._seen.view

    def variance(self, *, noise: bool = False) -> np.ndarray:
        """Posterior variance of every candidate after the fantasies, that of an observation with ``noise``."""
        left = np.maximum(1.0 - self._explained - self._imagined, 0.0)
        return self._gp.scale * (left + (self._gp.noise_ratio if noise else 0.0))

    def covariance(self, columns: np.ndarray, gram: np.ndarray) -> np.ndarray:
        """Posterior covariance of some candidates, after the fantasies.

        Args:
            columns: m positions among the candidates.
            gram: their kernel values with each other, m x m.
        """
        seen, assumed = self._seen.view[:, columns], self._assumed.view[:, columns]
        return self._gp.scale * (gram - seen.T @ seen - assumed.T @ assumed)

    def shifts(self, draws: np.ndarray) -> np.ndarray:
        """How the mean moves when the fantasies are posterior samples instead of means, S x N.

        Args:
            draws: standard normal numbers, S x p.
        """
        return math.sqrt(self._gp.scale) * (draws @ self._assumed.view)

    def fantasy_values(self, draws: np.ndarray) -> np.ndarray:
        """The sampled outcomes of the fantasies, S x p; their posterior means where ``draws`` are 0."""
        means = self._points.view @ self._gp.whitened_targets
        return means + math.sqrt(self._gp.scale) * (draws @ self._small.T)


class _Rows:
    """A matrix that grows by rows without being copied each time."""

    def __init__(self, first: np.ndarray) -> None:
        self._count, columns = first.shape
        self._buffer = np.empty((self._count + 8, columns))
        self._buffer[: self._count] = first

    def __len__(self) -> int:
        return self._count

    @property
    def view(self) -> np.ndarray:
        return self._buffer[: self._count]

    def append(self, row: np.ndarray) -> None:
        if self._count == len(self._buffer):
            larger = np.empty((2 * self._count + 8, self._buffer.shape[1]))
            larger[: self._count] = self.view
            self._buffer = larger
        self._buffer[self._count] = row
        self._count += 1
