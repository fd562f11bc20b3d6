"""Average gradients of a posterior mean by the counts of Weisfeiler–Lehman subtrees (NAS-BOWL, Ru et al., ICLR 2021).

With unit-norm features ``a = phi / |phi|`` and the posterior mean ``m(phi) = sum_k alpha_k <a, a_k> = <a, w>``,

    dm / dphi = w / |phi| - m(phi) phi / |phi|^2,    w = sum_k alpha_k a_k,

and the average gradient AG_j of subtree j is the mean of the j-th component over the training graphs that contain it.
The published code averages the whole row instead of the component and confuses the signs; tests show what is here to
equal automatic differentiation and finite differences.

AG_j moves one count and holds all others, also that of the subtree's own root: it tells what the continuation adds. A
motif that is added to an architecture brings the smaller subtrees at its root along, so the slope in that direction
stands beside AG_j; it is the one that other architectures bear out (``docs/motifs.md`` has figures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse

from xnas_ray.explain.wl_part import Block, Term, WLPart

if TYPE_CHECKING:
    from xnas_ray.surrogates.wl_features import FeatureId, WLFeatures

Column = tuple["FeatureId", int]
"""What is counted: a subtree, or its t-th occurrence; see ``WLFeatures.columns``."""


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Average slopes of the posterior mean in some directions, with their spread; arrays of one value a direction.

    Attributes:
        average: mean over the architectures in question.
        std: standard deviation over these architectures, 0 for a single one.
        low: lower end of the bootstrap interval.
        high: its upper end.
        posterior_std: standard deviation of ``average`` under the posterior; NaN without ``WLPart.precision``.
        weights: n observations x directions, with ``average = alpha @ weights``; without ``WLPart.precision`` none is
            computed, 0 x directions.
    """

    average: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    posterior_std: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Gradients by the counts of one layer of one cell, for its columns with enough support.

    Attributes:
        layer: of the subtrees.
        cell: whose graphs.
        columns: (id, t) of every column kept, as ``WLFeatures.columns``.
        own: AG of every column, as published: its own count grows and all other counts stay.
        whole: the slope when the counts of the smaller subtrees at the same root grow with it, one of every lower
            layer, as they do whenever a motif is added; those that every architecture has equally often stay.
        support: number of architectures that contain it; slopes are averaged over these.
        total: how often it occurs in all of them together.
        constant: whether it occurs equally often in every architecture.
    """

    layer: int
    cell: str
    columns: list[Column]
    own: Slopes
    whole: Slopes
    support: np.ndarray
    total: np.ndarray
    constant: np.ndarray


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How the spread of averages over architectures is estimated.

    Attributes:
        resamples: how many, at least 1.
        level: probability of the interval.
    """

    resamples: int = 1000
    level: float = 0.9

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """How often each of ``count`` architectures is in each resample: count x resamples."""
        if not count:
            return np.zeros((0, self.resamples))
        return rng.multinomial(count, np.full(count, 1 / count), size=self.resamples).T.astype(np.float64)

    def interval(self, values: np.ndarray, present: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Percentile interval of every column's average over what is present; resamples without any do not count."""
        if not values.shape[1]:
            return np.zeros(0), np.zeros(0)
        sums, sizes = values.T @ draws, present.T @ draws
        averages = np.full_like(sums, np.nan)
        np.divide(sums, sizes, out=averages, where=sizes > 0)
        tail, met = (1 - self.level) / 2, sizes.any(axis=1)
        low, high = np.full((2, len(averages)), np.nan)
        low[met], high[met] = np.nanquantile(averages[met], [tail, 1 - tail], axis=1)
        return low, high


def average_gradients(
    features: WLFeatures,
    part: WLPart,
    rng: np.random.Generator,
    *,
    min_support: int = 1,
    bootstrap: Bootstrap | None = None,
) -> list[Gradients]:
    """Slopes of the posterior mean by the count of every subtree, averaged over the architectures that contain it.

    The bootstrap draws architectures anew and averages their slopes under the one fitted posterior: it tells how much
    an average depends on which architectures were met, not how sure the model is (``posterior_std`` does).

    Args:
        features: counts; with ``kind="oa"`` a column is the t-th occurrence of a subtree.
        part: the posterior.
        rng: draws the resamples.
        min_support: least number of architectures that contain a column.
        bootstrap: its settings.

    Returns:
        One entry a term, terms in the order of the blocks; slopes are in the units of the target.
    """
    bootstrap = bootstrap or Bootstrap()
    draws = bootstrap.draw(rng, len(part.positions))
    found = []
    for block in part.blocks:
        prepared = _Prepared(features, part, block)
        found += [_of_term(prepared, term, max(1, min_support), bootstrap, draws) for term in block.terms]
    return found


def _of_term(prepared: _Prepared, term: Term, min_support: int, bootstrap: Bootstrap, draws: np.ndarray) -> Gradients:
    counts = prepared.counts[term]
    support = np.diff(counts.indptr)
    kept = np.flatnonzero(support >= min_support)
    chosen = counts[:, kept].toarray()
    columns = [prepared.columns[term][j] for j in kept]

    def slopes(directions: scipy.sparse.csc_matrix) -> Slopes:
        return prepared.slopes(directions, chosen > 0, bootstrap, draws)

    total = chosen.sum(axis=0)
    layer, cell = term
    return Gradients(
        layer=layer,
        cell=cell,
        columns=columns,
        own=slopes(prepared.directions(term, columns, whole=False)),
        whole=slopes(prepared.directions(term, columns, whole=True)),
        support=support[kept],
        total=total,
        constant=prepared.constant[term][kept],
    )


def wl_mean(features: WLFeatures, part: WLPart) -> np.ndarray:
    """What the part contributes to the posterior mean of the observations, length n."""
    total = np.zeros(len(part.rows))
    for block in part.blocks:
        total += block.weight * _Prepared(features, part, block).means
    return total


# ---- one block -------------------------------------------------------------------------------------------------------


class _Prepared:
    """One block's features: ``unit`` holds the unit-norm ones of the n observations, n x D, all terms side by side.

    ``counts`` are the raw ones at the architectures over which slopes are averaged, by term.
    """

    def __init__(self, features: WLFeatures, part: WLPart, block: Block) -> None:
        self.part = part
        self.block = block
        self.trees = features.trees
        self.columns = {term: features.columns(*term) for term in block.terms}
        raw = {term: features.matrix(*term)[part.rows] for term in block.terms}
        self.counts = {term: counts[part.positions].tocsc() for term, counts in raw.items()}
        squared = np.zeros(len(part.rows))
        for term, weight in block.terms.items():
            squared += weight * features.squared_norms(part.rows, *term)
        self.constant = {term: _constant(counts) for term, counts in self.counts.items()}
        norms = np.sqrt(squared)
        self.inverse_norms = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)  # graphs without nodes
        widths = [counts.shape[1] for counts in raw.values()]
        self.starts = dict(zip(block.terms, np.cumsum([0, *widths]), strict=False))
        self.roots = np.repeat(np.sqrt(list(block.terms.values())), widths)
        stacked = scipy.sparse.hstack(list(raw.values()), format="csr")
        self.unit = (scipy.sparse.diags(self.inverse_norms) @ stacked @ scipy.sparse.diags(self.roots)).tocsr()

    @cached_property
    def cosines(self) -> np.ndarray:
        """<a, a'> of all observations, n x n, times the gate."""
        cosines = (self.unit @ self.unit.T).toarray()
        return cosines if self.part.gate is None else cosines * self.part.gate

    @cached_property
    def means(self) -> np.ndarray:
        """What the block adds to the posterior mean of the observations, before its weight."""
        if self.part.gate is None:
            return self.unit @ (self.unit.T @ self.part.alpha)
        return self.cosines @ self.part.alpha

    def directions(self, term: Term, columns: Sequence[Column], *, whole: bool) -> scipy.sparse.csc_matrix:
        """By how much the features grow with a count, before they are normalised: D x len(columns).

        Args:
            term: whose columns.
            columns: the counts.
            whole: also the counts of the subtrees of lower layers at the same root, but for those that never vary:
                nobody adds an input.
        """
        place = {t: {c: i for i, c in enumerate(known)} for t, known in self.columns.items()}
        rows, at = [], []
        for j, (subtree, occurrence) in enumerate(columns):
            layer, cell = term
            current: FeatureId | None = subtree
            while current is not None:
                index = place.get((layer, cell), {}).get((current, occurrence))
                if index is not None and (current == subtree or not self.constant[layer, cell][index]):
                    rows.append(self.starts[layer, cell] + index)
                    at.append(j)
                current = self.trees[current].root if whole else None
                layer -= 1
        return scipy.sparse.csc_matrix((self.roots[rows], (rows, at)), shape=(len(self.roots), len(columns)))

    def slopes(
        self, directions: scipy.sparse.csc_matrix, present: np.ndarray, bootstrap: Bootstrap, draws: np.ndarray
    ) -> Slopes:
        """Averages of the mean's slopes in some directions, each over the architectures where it is present.

        Args:
            directions: D x K.
            present: architectures x K.
            bootstrap: of the interval.
            draws: see ``Bootstrap.draw``.
        """
        at, part = self.part.positions, self.part
        along = (self.unit @ directions).toarray()  # <a, t> of all observations and directions
        if part.gate is None:
            steepest = np.broadcast_to(directions.T @ (self.unit.T @ part.alpha), along[at].shape)
        else:
            steepest = (part.gate[at] * part.alpha) @ along
        values = self.block.weight * self.inverse_norms[at, None] * (steepest - self.means[at, None] * along[at])
        values = np.where(present, values, 0.0)
        support = np.maximum(present.sum(axis=0), 1)
        average = values.sum(axis=0) / support
        squares = np.where(present, (values - average) ** 2, 0.0).sum(axis=0)
        low, high = bootstrap.interval(values, present.astype(np.float64), draws)
        lengths = np.asarray(directions.multiply(directions).sum(axis=0)).ravel()
        posterior_std, weights = self._posterior(along, present / support, lengths)
        return Slopes(
            average=average,
            std=np.sqrt(squares / np.maximum(support - 1, 1)),
            low=low,
            high=high,
            posterior_std=posterior_std,
            weights=weights,
        )

    def _posterior(self, along: np.ndarray, shares: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviation of the average slopes under the posterior, and their weights ``q`` (see ``Slopes``).

        An average slope is a linear functional L of the Gaussian process, so its variance is ``L L' k - q' K^-1 q``
        with ``q_k = L k(., x_k)``. Of the cosine kernel, in direction t, with ``u = 1 / |phi|`` and J = u (I - a a'),
        ``L L' k`` averages ``t' J J' t = u u' (<t, t> - <a, t>^2 - <a', t>^2 + <a, t> <a', t> <a, a'>)``.

        Args:
            along: <a, t>, n x K.
            shares: weight of every architecture in every average, architectures x K.
            lengths: <t, t>, K values.
        """
        part, at = self.part, self.part.positions
        if part.precision is None:
            return np.full(len(lengths), np.nan), np.zeros((0, len(lengths)))
        gate = np.ones((len(at), len(part.rows))) if part.gate is None else part.gate[at]
        cosines = self.cosines[at]
        flat = shares * self.inverse_norms[at, None]
        tilted = flat * along[at]
        prior = np.einsum("ij,ij->j", flat, gate[:, at] @ (flat * (lengths - 2 * along[at] ** 2)))
        prior += np.einsum("ij,ij->j", tilted, cosines[:, at] @ tilted)
        q = self.block.weight * (along * (gate.T @ flat) - cosines.T @ tilted)
        variance = self.block.weight * prior - np.einsum("ij,ij->j", q, part.precision @ q)
        return np.sqrt(np.maximum(variance, 0.0)), q


def _constant(counts: scipy.sparse.csc_matrix) -> np.ndarray:
    """Which columns have the same value in every row."""
    total = np.asarray(counts.sum(axis=0)).ravel()
    squares = np.asarray(counts.multiply(counts).sum(axis=0)).ravel()
    return total**2 == squares * counts.shape[0]  # equality of Cauchy-Schwarz, exact for whole numbers
