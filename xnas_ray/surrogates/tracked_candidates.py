"""A metric's posterior at fixed architectures, as outcomes come and evaluations are pending."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky

from xnas_ray.surrogates.architecture_kernel import Blocks, Points
from xnas_ray.surrogates.candidate_posterior import CandidatePosterior
from xnas_ray.surrogates.metric_model import Member, MetricModel

JITTER = 1e-8

Evaluation = tuple[int, int]
"""(row of the architecture, epochs)."""


class TrackedCandidates:
    """Every member's posterior at N architectures.

    Args:
        model: the metric.
        rows: of the architectures.

    Attributes:
        model: as given.
        rows: as given.
        posteriors: one a member, after ``update``.
    """

    def __init__(self, model: MetricModel, rows: np.ndarray) -> None:
        """Nothing is computed yet."""
        self.model = model
        self.rows = rows
        self.posteriors: list[CandidatePosterior] = []
        self._points = model.points_at(rows)
        self._members: tuple[Member, ...] = ()
        self._assumed: list[Evaluation] = []

    def update(self, pending: Sequence[Evaluation]) -> None:
        """Take in all observations so far, and assume the outcomes of pending evaluations at their posterior means.

        Args:
            pending: in the order in which they were asked.
        """
        observed, members = self.model.points, self.model.members
        if self._members is not members:
            # Observations after those for which the members were made come one by one, as in their factors.
            self._members, self._assumed = members, []
            crosses = self.model.grams(observed.take(slice(self.model.fitted_at)), self._points)
            self.posteriors = [CandidatePosterior(m.gp, cross) for m, cross in zip(members, crosses, strict=True)]
        known = len(self.posteriors[0])
        if known < len(observed):
            self._assumed = []
            rows = self.model.grams(observed.take(slice(known, None)), self._points)
            for posterior, columns in zip(self.posteriors, rows, strict=True):
                for column in columns:
                    posterior.observe(column)
        if self._assumed != list(pending[: len(self._assumed)]):
            self._assumed = []
            for posterior in self.posteriors:
                posterior.forget()
        self._assume(observed, pending)

    def sample(self, member: int, columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A joint draw of the function at some of the candidates from one member's posterior.

        Args:
            member: which one.
            columns: positions among the candidates.
            rng: draws.
        """
        posterior, one = self.posteriors[member], self._members[member]
        points = self._points.take(columns)
        gram = Blocks(self.model.encodings, points, points).combine(one.settings)
        # Equal architectures make the covariance singular; the jitter is far below the noise.
        covariance = posterior.covariance(columns, gram) + JITTER * one.gp.scale * np.eye(len(columns))
        factor = cholesky(covariance, lower=True, check_finite=False)
        return posterior.mean()[columns] + factor @ rng.standard_normal(len(columns))

    def _assume(self, observed: Points, pending: Sequence[Evaluation]) -> None:
        """Fantasies one by one, so that those of one more pending evaluation only add to what is there."""
        first = len(self._assumed)
        every = Points(
            np.array([row for row, _ in pending], dtype=np.intp), np.array([float(epochs) for _, epochs in pending])
        )
        new = every.take(slice(first, None))
        if not len(new):
            return
        columns = self.model.grams(new, self._points)
        earlier = self.model.grams(new, observed.joined(every))
        for k, posterior in enumerate(self.posteriors):
            for i in range(len(new)):
                seen, among = np.split(earlier[k][i, : len(observed) + first + i], [len(observed)])
                posterior.fantasise(self._members[k].gp.whiten(seen), among, columns[k][i])
        self._assumed = list(pending)
