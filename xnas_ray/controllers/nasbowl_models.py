"""What NAS-BOWL has learnt: a model of every objective and of every constrained metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.limits import Limit
from xnas_ray.controllers.nasbowl_settings import Settings
from xnas_ray.errors import ControllerError
from xnas_ray.messages import Genotype, Outcome, TrialStatus
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.metric_model import MetricModel, mixture_moments
from xnas_ray.surrogates.prior_mean import PriorMean
from xnas_ray.surrogates.tracked_candidates import Evaluation, TrackedCandidates


class Surrogates:
    """Models of the metrics, fed with outcomes in the order of the tells.

    A trial that failed because of its architecture or recipe (an exception, no memory, NaN, a timeout) counts as bad as
    the poorest outcome that is told apart; one that died with its machine says nothing.

    Args:
        encodings: where architectures get their rows.
        settings: of the controller.
        goals: its objectives.
        epochs: fidelity of its candidates.
        priors: what finished searches make expect of some objectives, by name.

    Attributes:
        encodings: as given.
        goals: one model an objective.
        limits: constraints on metrics, each with its model.
        genotypes: architecture of every observation.
    """

    def __init__(
        self,
        encodings: Encodings,
        settings: Settings,
        goals: Sequence[Goal],
        epochs: int,
        priors: Mapping[str, PriorMean] | None = None,
    ) -> None:
        """Nothing is learnt yet."""
        priors = priors or {}
        self.encodings = encodings
        self._settings = settings
        self._goals = tuple(goals)
        options = settings.model
        # Neither clipped targets nor ranks could tell how far a limit is from everything that was observed.
        whole = dataclasses.replace(options, clip=False, transform="auto")
        self.goals = tuple(
            MetricModel(
                encodings,
                goal.name,
                maximize=goal.maximize,
                epochs=epochs,
                options=options,
                prior=priors.get(goal.name),
            )
            for goal in goals
        )
        self.limits: tuple[tuple[Limit, MetricModel], ...] = tuple(
            (limit, MetricModel(encodings, limit.metric, maximize=limit.maximize, epochs=epochs, options=whole))
            for limit in settings.limits
        )
        self.genotypes: list[Genotype] = []
        self._rows: list[int] = []
        self._feasible: list[bool] = []

    @property
    def ready(self) -> bool:
        """Whether candidates can be judged."""
        return all(model.ready for model in self.goals)

    @property
    def feasible(self) -> np.ndarray:
        """Which observations satisfy every constraint."""
        return np.array(self._feasible, dtype=bool)

    @property
    def models(self) -> tuple[MetricModel, ...]:
        """All models, those of objectives first."""
        return (*self.goals, *(model for _, model in self.limits))

    def learn(self, outcome: Outcome) -> None:
        """Add an outcome.

        Raises:
            ControllerError: it completed without a metric that is constrained.
        """
        failed = outcome.status == TrialStatus.FAILED
        if outcome.failure is not None and outcome.failure.kind.infrastructure:
            return
        candidate, metrics = outcome.candidate, outcome.metrics
        missing = [limit.metric for limit, _ in self.limits if limit.metric not in metrics]
        if missing and not failed:
            raise ControllerError(
                f"trial {outcome.trial} reports no {missing[0]!r}, which is constrained.",
                field="controller.params.constraints",
                got=missing[0],
                valid=sorted(metrics),
            )
        row = self.encodings.add(candidate.genotype)
        for goal, model in zip(self._goals, self.goals, strict=True):
            model.add(row, None if failed else metrics[goal.name], candidate.fidelity)
        for limit, model in self.limits:
            if not failed:
                model.add(row, metrics[limit.metric], candidate.fidelity)
        self.genotypes.append(candidate.genotype)
        self._rows.append(row)
        self._feasible.append(not failed and all(limit.holds(metrics[limit.metric]) for limit, _ in self.limits))

    def targets(self) -> np.ndarray:
        """Standardised targets of the objectives, observations x objectives, larger is better."""
        return np.stack([model.targets for model in self.goals], axis=1)

    def move(self, encodings: Encodings) -> None:
        """Go on with other encodings; what was learnt stays, since kernels do not depend on where rows are."""
        rows = {old: encodings.add(genotype) for old, genotype in zip(self._rows, self.genotypes, strict=True)}
        self._rows = [rows[old] for old in self._rows]
        for model in self.models:
            model.move(encodings, rows)
        self.encodings = encodings


class Beliefs:
    """The posteriors of all models at some candidates, pending evaluations assumed.

    Args:
        surrogates: the models.
        rows: of the N candidates.

    Attributes:
        rows: as given.
        goals: what is believed of every objective.
        limits: what is believed of every constrained metric whose model has enough outcomes.
    """

    def __init__(self, surrogates: Surrogates, rows: np.ndarray) -> None:
        """Nothing is computed yet."""
        self.rows = rows
        self._goals = [TrackedCandidates(model, rows) for model in surrogates.goals]
        self._limits = [(limit, TrackedCandidates(model, rows)) for limit, model in surrogates.limits]
        self.goals: list[Belief] = []
        self.limits: list[tuple[Limit, Belief]] = []

    def update(self, pending: Sequence[Evaluation]) -> None:
        """Take all observations in, and assume the pending evaluations, in the order of their asks."""
        self.goals = [Belief(tracked, pending) for tracked in self._goals]
        self.limits = [(limit, Belief(t, pending)) for limit, t in self._limits if t.model.ready]


class Belief:
    """One metric at the N candidates: a mixture of E normal distributions each.

    Attributes:
        model: of the metric.
        weights: of the mixture, E values.
        means: of the targets, E x N.
        deviations: of an observation, noise included, since the objective is a single training; E x N.
        pending: number of assumed evaluations.
    """

    def __init__(self, tracked: TrackedCandidates, pending: Sequence[Evaluation]) -> None:
        """Bring the posterior up to date."""
        tracked.update(pending)
        self._tracked = tracked
        self.model: MetricModel = tracked.model
        self.weights = np.array([member.weight for member in self.model.members])
        expected = self.model.prior_mean(tracked.rows)
        self.means = expected + np.stack([posterior.mean() for posterior in tracked.posteriors])
        self._assumed_prior = self.model.prior_mean([row for row, _ in pending])
        self.deviations = np.sqrt([posterior.variance(noise=True) for posterior in tracked.posteriors])
        self.pending = len(pending)

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the mixtures, N values each."""
        mean, variance = mixture_moments(list(self.weights), list(self.means), list(self.deviations**2))
        return mean, np.sqrt(variance)

    def assumed(self, draws: np.ndarray) -> np.ndarray:
        """Outcomes of the pending evaluations, E x S x p.

        Args:
            draws: standard normal numbers, S x p; zeros give the posterior means.
        """
        return self._assumed_prior + np.stack([one.fantasy_values(draws) for one in self._tracked.posteriors])

    def shifted(self, draws: np.ndarray) -> np.ndarray:
        """The means after such outcomes, E x S x N."""
        shifts = [posterior.shifts(draws) for posterior in self._tracked.posteriors]
        return self.means[:, None] + np.stack(shifts)

    def sample(self, columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A joint draw of the function at some candidates."""
        member = int(rng.choice(self.weights.size, p=self.weights / self.weights.sum()))
        return self._tracked.sample(member, columns, rng) + self.model.prior_mean(self._tracked.rows[columns])
