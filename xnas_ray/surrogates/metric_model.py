"""What the outcomes so far say of one metric: Gaussian processes that are refitted as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.surrogates.architecture_kernel import Blocks, KernelSettings, Points
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.gram_gp import GramGP
from xnas_ray.surrogates.model_selection import KernelGrid, select
from xnas_ray.surrogates.targets import TargetScale, Transform

if TYPE_CHECKING:
    from xnas_ray.surrogates.prior_mean import Expectation, PriorMean

MIN_AT_FIDELITY = 4
REFIT_GROWTH = 0.1
PLAIN_NOISE = 0.1
"""Noise ratio under which a prior is weighed before a kernel is chosen."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a metric is modelled.

    Attributes:
        grid: hyper-parameters to choose from.
        transform: of the metric (see ``TargetScale``).
        clip: whether the poor tail is clipped.
        refit_growth: hyper-parameters are chosen anew when the observations have grown by this share.
    """

    grid: KernelGrid = field(default_factory=KernelGrid)
    transform: Transform = "auto"
    clip: bool = True
    refit_growth: float = REFIT_GROWTH


@dataclass(frozen=True, slots=True)
class Member:
    """One of the Gaussian processes that are averaged.

    Attributes:
        weight: posterior probability of its hyper-parameters.
        settings: of its kernel.
        gp: posterior of the observations.
    """

    weight: float
    settings: KernelSettings
    gp: GramGP


class MetricModel:
    """One metric's observations and their posterior: a mixture of Gaussian processes over likely hyper-parameters.

    Everything is a function of the observations in their order: hyper-parameters are chosen at fixed numbers of
    observations (``last_refit``), whatever was chosen before, and factors grow one row at a time from there. So a
    model that is given a search's history at once agrees with the one that lived through it, to the last bit.

    Args:
        encodings: where architectures have their rows.
        name: of the metric.
        maximize: its direction.
        epochs: the fidelity at which candidates will be evaluated.
        options: how it is modelled.
        prior: what other searches make expect; the Gaussian processes model what differs from it.

    Attributes:
        prior: as given.
        fitted_at: number of observations for which hyper-parameters were chosen, 0 before the first time.
    """

    def __init__(
        self,
        encodings: Encodings,
        name: str,
        *,
        maximize: bool,
        epochs: int,
        options: ModelOptions | None = None,
        prior: PriorMean | None = None,
    ) -> None:
        """No observations."""
        self.encodings = encodings
        self.name = name
        self.maximize = maximize
        self.epochs = epochs
        self.options = options or ModelOptions()
        self.prior = prior
        self.fitted_at = 0
        self._members: tuple[Member, ...] = ()
        self._rows: list[int] = []
        self._values: list[float | None] = []
        self._at: list[int] = []
        self._scale: TargetScale | None = None
        self._targets = np.zeros(0)
        self._expectation: Expectation | None = None

    def __len__(self) -> int:
        """Number of observations, failed ones included."""
        return len(self._rows)

    def add(self, row: int, value: float | None, epochs: int) -> None:
        """An observation: the architecture's row, the metric (None when the trial failed) and the epochs trained."""
        self._rows.append(row)
        self._values.append(value)
        self._at.append(epochs)

    @property
    def ready(self) -> bool:
        """Whether two architectures at least have a value."""
        return sum(value is not None for value in self._values) >= 2

    @property
    def points(self) -> Points:
        """Where was observed."""
        return Points(np.array(self._rows, dtype=np.intp), np.array(self._at, dtype=np.float64))

    @property
    def members(self) -> tuple[Member, ...]:
        """The posteriors of all observations, most probable first; ``ready`` must hold."""
        self._catch_up()
        return self._members

    @property
    def gp(self) -> GramGP:
        """The most probable member's posterior."""
        return self.members[0].gp

    @property
    def scale(self) -> TargetScale:
        """Of the targets at the fidelity of the candidates."""
        self._catch_up()
        assert self._scale is not None
        return self._scale

    @property
    def targets(self) -> np.ndarray:
        """Standardised targets of all observations, larger is better; failed trials have the poorest one."""
        self._catch_up()
        return self._targets

    @property
    def expectation(self) -> Expectation | None:
        """How far the sources are believed, None without a prior."""
        self._catch_up()
        return self._expectation

    def prior_mean(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """What is expected of architectures apart from what the Gaussian processes add: zeros without a prior."""
        if self.prior is None or self.expectation is None:
            return np.zeros(len(rows))
        return self.expectation.of(self.prior.means(rows))

    def points_at(self, rows: Sequence[int] | np.ndarray) -> Points:
        """Architectures at the fidelity of the candidates."""
        return Points(np.asarray(rows, dtype=np.intp), np.full(len(rows), float(self.epochs)))

    def grams(self, a: Points, b: Points) -> list[np.ndarray]:
        """Every member's kernel values, len(a) x len(b) each."""
        blocks = Blocks(self.encodings, a, b)
        return [blocks.combine(member.settings) for member in self.members]

    def factor_gram(self, points: Points, member: Member) -> np.ndarray:
        """What the WL and Hamming parts of a member's kernel are multiplied by, n x n (see ``Blocks.factor``)."""
        return Blocks(self.encodings, points, points).factor(member.settings)

    def best(self, allowed: np.ndarray | None = None) -> float:
        """The best target that was observed at the candidates' fidelity or above, the best mean without any.

        Args:
            allowed: which observations count, by default all.
        """
        full = np.array([v is not None and at >= self.epochs for v, at in zip(self._values, self._at, strict=True)])
        allowed = np.ones(len(self), dtype=bool) if allowed is None else allowed
        if (full & allowed).any():
            return float(self.targets[full & allowed].max())
        rows = self.points.rows[allowed]
        return float(self.predict(rows)[0].max()) if rows.size else float(self.targets.min())

    def believed_best(self) -> float:
        """The target of the observation whose posterior mean is the best."""
        means = self.targets - sum(m.weight * m.gp.noise_ratio * m.gp.alpha for m in self.members)
        return float(self.targets[int(np.argmax(means))])

    def predict(self, rows: Sequence[int] | np.ndarray, *, noise: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the targets at N architectures, at the candidates' fidelity: N values each.

        Args:
            rows: of the architectures, N.
            noise: whether the variance is that of an observation.
        """
        grams = self.grams(self.points, self.points_at(rows))
        found = [m.gp.predict(gram, noise=noise) for m, gram in zip(self.members, grams, strict=True)]
        mean, variance = self._mixed([mean for mean, _ in found], [variance for _, variance in found])
        return mean + self.prior_mean(rows), variance

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of every observation given all others, n values each."""
        found = [m.gp.leave_one_out() for m in self.members]
        mean, variance = self._mixed([mean for mean, _ in found], [variance for _, variance in found])
        return mean + self.prior_mean(self._rows), variance

    def move(self, encodings: Encodings, rows: Mapping[int, int]) -> None:
        """Go on with other encodings.

        Args:
            encodings: they hold all architectures that were observed.
            rows: new row of every old one.
        """
        self.encodings = encodings
        self._rows = [rows[old] for old in self._rows]
        if self.prior is not None:
            self.prior.move(encodings)

    def _mixed(self, means: list[np.ndarray], variances: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return mixture_moments([member.weight for member in self.members], means, variances)

    # ---- bringing the posterior up to date ----------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Choose hyper-parameters if it is time, append what is new, set the targets."""
        count = len(self)
        if self._members and count == len(self._members[0].gp):
            return
        refit = last_refit(count, self.options.refit_growth)
        if sum(value is not None for value in self._values[:refit]) < 2:
            refit = count
        points = self.points
        if refit != self.fitted_at or not self._members:
            self._fit(points.take(slice(refit)))
        appended = len(self._members[0].gp)
        if count > appended:
            blocks = Blocks(self.encodings, points, points.take(slice(appended, None)))
            for member in self._members:
                for column in blocks.combine(member.settings).T:
                    member.gp.append(column[: len(member.gp)])
        self._targets, self._scale = self._standardised(count)
        residuals, self._expectation = self._residuals(
            self._targets, self._scale, [(member.weight, member.gp) for member in self._members]
        )
        for member in self._members:
            member.gp.set_targets(residuals)

    def _fit(self, points: Points) -> None:
        """Choose hyper-parameters for the first observations."""
        blocks = Blocks(self.encodings, points, points)
        targets, scale = self._standardised(len(points))
        if self.prior is not None:
            plain = GramGP(blocks.combine(KernelSettings()), PLAIN_NOISE)
            targets, _ = self._residuals(targets, scale, [(1.0, plain)])
        chosen = select(self.encodings, points, targets, self.options.grid, blocks=blocks)
        self._members = tuple(
            Member(
                weight=one.weight,
                settings=one.settings,
                gp=GramGP(blocks.combine(one.settings), one.evidence.noise_ratio, scale=self.options.grid.scale),
            )
            for one in chosen
        )
        self.fitted_at = len(points)

    def _residuals(
        self, targets: np.ndarray, scale: TargetScale, posteriors: list[tuple[float, GramGP]]
    ) -> tuple[np.ndarray, Expectation | None]:
        """What the prior leaves of the first targets, and how far it is believed under these kernels."""
        if self.prior is None:
            return targets, None
        rows = np.array(self._rows[: len(targets)], dtype=np.intp)
        found = self.prior.expectation(rows, targets, scale, posteriors)
        return targets - found.of(self.prior.means(rows)), found

    def _standardised(self, count: int) -> tuple[np.ndarray, TargetScale]:
        """Targets of the first observations, and the scale of those at the candidates' fidelity.

        Every fidelity with ``MIN_AT_FIDELITY`` values has a scale of its own, since less training moves all accuracies;
        the others share the scale of everything.
        """
        values, at = self._values[:count], np.array(self._at[:count])
        common = self._fit_scale(values)
        found, targets = common, np.empty(count)
        for epochs in np.unique(at):
            chosen = np.flatnonzero(at == epochs)
            own = [values[i] for i in chosen]
            enough = sum(value is not None for value in own) >= MIN_AT_FIDELITY
            scale = self._fit_scale(own) if enough else common
            targets[chosen] = scale.standardise(own)
            if epochs == self.epochs:
                found = scale
        return targets, found

    def _fit_scale(self, values: list[float | None]) -> TargetScale:
        options = self.options
        return TargetScale.fit(
            values, name=self.name, maximize=self.maximize, transform=options.transform, clip=options.clip
        )


def mixture_moments(
    weights: Sequence[float], means: Sequence[np.ndarray], variances: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a mixture of normal distributions, element by element."""
    mean = sum((w * m for w, m in zip(weights, means, strict=True)), np.zeros_like(means[0]))
    second = sum((w * (v + (m - mean) ** 2) for w, m, v in zip(weights, means, variances, strict=True)), 0.0 * mean)
    return mean, second


def last_refit(count: int, growth: float) -> int:
    """The largest number of observations up to ``count`` at which hyper-parameters are chosen.

    Every number at first, then numbers that grow by the share ``growth``.
    """
    size = 0
    while size + max(1, int(growth * size)) <= count:
        size += max(1, int(growth * size))
    return size
