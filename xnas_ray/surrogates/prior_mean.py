"""What finished searches make a model expect before its first outcome, and how far its outcomes bear that out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.messages import Genotype
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.gram_gp import GramGP
from xnas_ray.surrogates.metric_model import MetricModel
from xnas_ray.surrogates.targets import TargetScale

WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.25)
"""Of a source; 0 stands beside them, once, for giving all sources up."""
BELIEF = (0.15, 0.2, 0.2, 0.25, 0.1)
"""Prior probabilities of these weights; what is left to 1 is that of giving up."""
PSEUDO_OUTCOMES = 2.0


class SourceMean:
    """The posterior mean of what one source search measured.

    Args:
        name: id of the search.
        genotypes: its n architectures.
        values: the metric of each.
        model: without observations; of the same metric and encodings as the model that learns.
    """

    def __init__(self, name: str, genotypes: Sequence[Genotype], values: Sequence[float], model: MetricModel) -> None:
        """Tell the model; it is fitted when it is first asked."""
        self.name = name
        self.model = model
        self._genotypes = tuple(genotypes)
        self._rows = [model.encodings.add(genotype) for genotype in genotypes]
        for row, value in zip(self._rows, values, strict=True):
            model.add(row, value, model.epochs)
        self._known = np.full(16, np.nan)  # by row

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Mean of the source's standardised targets at N architectures; 0 where its outcomes tell none apart."""
        if not self.model.ready:
            return np.zeros(len(rows))
        if rows.size and rows.max() >= self._known.size:
            larger = np.full(2 * int(rows.max()) + 1, np.nan)
            larger[: self._known.size] = self._known
            self._known = larger
        new = np.unique(rows[np.isnan(self._known[rows])])
        if new.size:
            self._known[new] = self._predict(new)
        return self._known[rows]

    def best(self, number: int) -> list[Genotype]:
        """The architectures that the source search found to be the best, best first, each once."""
        if not self.model.ready:
            return []
        found = {self._rows[i]: self._genotypes[i] for i in np.argsort(-self.model.targets, kind="stable")}
        return list(found.values())[:number]

    def move(self, encodings: Encodings) -> None:
        """Go on with other encodings."""
        rows = {old: encodings.add(genotype) for old, genotype in zip(self._rows, self._genotypes, strict=True)}
        self._rows = [rows[old] for old in self._rows]
        self.model.move(encodings, rows)
        self._known = np.full(16, np.nan)

    def _predict(self, rows: np.ndarray) -> np.ndarray:
        """Sums in the order of the observations: the same bits, whichever architectures are asked for together."""
        total = np.zeros(len(rows))
        for member, gram in zip(
            self.model.members, self.model.grams(self.model.points, self.model.points_at(rows)), strict=True
        ):
            for weight, column in zip(member.weight * member.gp.alpha, gram, strict=True):
                total += weight * column
        return total


@dataclass(frozen=True, slots=True)
class Expectation:
    """A prior mean: ``max(offset + weights · source means, lowest)`` in standardised targets.

    Attributes:
        weights: of the J sources' means, in targets of the model that learns a unit of the source's target.
        offset: what is expected where all sources are at their mean.
        lowest: no target is poorer, -inf without clipping.
        trust: posterior probability that any source says something.
        shares: posterior mean of every source's weight, relative to a source that says the same of this task.
    """

    weights: np.ndarray
    offset: float
    lowest: float
    trust: float
    shares: np.ndarray

    def of(self, means: np.ndarray) -> np.ndarray:
        """The prior mean where the sources' means are these, J x N."""
        return np.maximum(self.offset + self.weights @ means, self.lowest)


class PriorMean:
    """A prior mean function from source searches, with weights that the marginal likelihood averages.

    The model of the target task is ``y = b + Σ_j a_j u_j m_j(x) + f(x) + e`` with the sources' posterior means m_j and
    the GP f of the model: f is what this task has of its own. The unit u_j makes a = 1 mean "the same here": where
    both tasks model a logarithm (of an error, a time, a size), the same ratio, else as many standard deviations. The
    weights ``a`` are from a small grid: one source alone, or two, or all, sharing a weight of ``WEIGHTS``; or none,
    a = 0. Every point of it has a closed-form marginal likelihood under the model's kernel, whose scale has
    ``PSEUDO_OUTCOMES`` outcomes of unit variance as prior, so that two or three outcomes decide nothing. The average
    over the grid, weighted by the posterior probabilities, is the prior mean. So a source that is contradicted is given
    up by degrees (negative transfer), and without it the model is the one that knows no source.

    Args:
        sources: J source searches.
    """

    def __init__(self, sources: Sequence[SourceMean]) -> None:
        """Nothing is fitted yet."""
        self.sources = tuple(sources)
        count = len(self.sources)
        mixtures: list[tuple[int, ...]] = [(i,) for i in range(count)]
        mixtures += [(i, j) for i in range(count) for j in range(i)]
        if count > 2:
            mixtures.append(tuple(range(count)))
        grid, belief = [np.zeros(count)], [1.0 - sum(BELIEF)]
        for mixture in mixtures:
            for weight, probability in zip(WEIGHTS, BELIEF, strict=True):
                point = np.zeros(count)
                point[list(mixture)] = weight / len(mixture)
                grid.append(point)
                belief.append(probability / len(mixtures))
        self._grid = np.array(grid)
        self._log_belief = np.log(belief)

    def means(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The sources' posterior means in their own standardised targets, J x N."""
        return np.stack([source.at(np.asarray(rows, dtype=np.intp)) for source in self.sources])

    def ranking(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """What the sources together expect of N architectures before there is any outcome."""
        return self.means(rows).mean(axis=0)

    def expectation(
        self,
        rows: Sequence[int] | np.ndarray,
        y: np.ndarray,
        scale: TargetScale,
        posteriors: Sequence[tuple[float, GramGP]],
    ) -> Expectation:
        """The prior mean after some outcomes.

        Args:
            rows: of the n architectures that were observed.
            y: their standardised targets.
            scale: by which they were standardised.
            posteriors: kernels with their noise, factorised for these observations, each with its probability.
        """
        means, lowest = self.means(rows), (scale.lowest - scale.mean) / scale.spread
        slopes = self._grid * self._units(scale)
        offsets = np.median(y - slopes @ means, axis=1)
        expected = np.maximum(offsets[:, None] + slopes @ means, lowest)
        chance = sum(weight * self._posterior(gp, (y - expected).T) for weight, gp in posteriors)
        chance = np.asarray(chance) / np.sum(chance)
        return Expectation(
            weights=chance @ slopes,
            offset=float(chance @ offsets),
            lowest=lowest,
            trust=float(1.0 - chance[0]),
            shares=chance @ self._grid,
        )

    def move(self, encodings: Encodings) -> None:
        """Go on with other encodings."""
        for source in self.sources:
            source.move(encodings)

    def _units(self, scale: TargetScale) -> np.ndarray:
        """u, one a source."""
        units = []
        for source in self.sources:
            theirs = source.model.scale if source.model.ready else scale
            ratios = theirs.transform == scale.transform and scale.ratios
            units.append(theirs.spread / scale.spread if ratios else 1.0)
        return np.array(units)

    def _posterior(self, gp: GramGP, residuals: np.ndarray) -> np.ndarray:
        """Probability of every point of the grid under one kernel; ``residuals`` is n x points."""
        count = len(residuals)
        quadratic = np.sum(gp.whiten(residuals) ** 2, axis=0)
        log_likelihood = -0.5 * (count + PSEUDO_OUTCOMES) * np.log(quadratic + PSEUDO_OUTCOMES)
        score = log_likelihood + self._log_belief
        chance = np.exp(score - score.max())
        return np.asarray(chance / chance.sum())
