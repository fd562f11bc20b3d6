"""A search as its store has it, and what a comparison of searches needs of it: costs in epochs, and trainings anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.service.archive import stored_card
from xnas_ray.service.resolve import Search, open_search
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.store import resolve_search_id
from xnas_ray.store.replay import replay
from xnas_ray.tasks.base import Data
from xnas_ray.training.context import LocalContext

FIRST_SEED = 1_000_003
"""Of trainings anew; seeds of a search are hashes of 64 bits, so that none of them is met again."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A search and its outcomes.

    Attributes:
        search_id: whole.
        search: opened again; its task is imported from the store.
        outcomes: in the order of the tells.
    """

    search_id: str
    search: Search
    outcomes: tuple[Outcome, ...]

    @classmethod
    def read(cls, root: Path, search: str) -> Stored:
        """A search of a store.

        Args:
            root: folder of the store.
            search: its id, a unique prefix of it, or ``"latest"``.

        Raises:
            XnasError: there is no such search, or its task cannot be imported.
        """
        whole = resolve_search_id(root, search)
        return cls(whole, open_search(root, stored_card(root, whole)), tuple(replay(root, whole).outcomes))

    @property
    def name(self) -> str:
        """Of the controller."""
        return self.search.spec.controller.name

    @property
    def goal(self) -> Goal:
        """The first objective."""
        return self.search.goals[0]

    @property
    def fidelity(self) -> int:
        """Epochs of a whole training."""
        assert self.search.spec.fidelity is not None
        return self.search.spec.fidelity

    @property
    def epochs(self) -> int:
        """That were trained in all."""
        return sum(map(trained_epochs, self.outcomes))

    def told(self) -> Controller:
        """The controller as it was when the search ended."""
        controller = self.search.controller()
        for outcome in self.outcomes:
            controller.tell(outcome)
        return controller

    def flops(self, outcomes: Sequence[Outcome]) -> np.ndarray:
        """FLOPs of some trials, int64 [n]."""
        space = self.search.space.unwrapped
        found = [space.canonical(outcome.candidate.genotype) for outcome in outcomes]
        return space.costs(found, self.search.shape)[0] if found else np.zeros(0, dtype=np.int64)

    def best(self, outcomes: Sequence[Outcome], *, above: float = 0, most: float = np.inf) -> Outcome | None:
        """The best completed one with more than ``above`` and at most ``most`` FLOPs, the first of equals.

        Values of different epochs do not compare: give trials that were trained alike.
        """
        flops = self.flops(outcomes)
        within = [outcome for outcome, cost in zip(outcomes, flops, strict=True) if above < cost <= most]
        completed = [outcome for outcome in within if outcome.status == TrialStatus.COMPLETED]
        return max(completed, key=lambda outcome: self.goal.signed(outcome.metrics), default=None)

    def whole(self, limit: float = np.inf) -> list[Outcome]:
        """Trials that completed their whole training, of those that ``limit`` epochs pay for."""
        return [
            outcome
            for outcome in affordable(self.outcomes, limit)
            if outcome.status == TrialStatus.COMPLETED and outcome.candidate.fidelity == self.fidelity
        ]

    def text(self, genotype: Genotype) -> str:
        """An architecture without its recipe."""
        space = self.search.space.unwrapped
        if isinstance(space, JointSpace):
            return space.architectures.format(space.split(genotype)[0])
        return space.format(genotype)

    def data(self) -> Data:
        """The task's, as the search had them."""
        return self.search.task.load_data(**self.search.spec.data)

    def trained(self, data: Data, genotype: Genotype, seed: int) -> dict[str, float]:
        """Metrics of a candidate that is trained anew to its end, those of the test split too.

        Args:
            data: see ``data``.
            genotype: of the search's space; its constraints need not hold.
            seed: of the training.

        Raises:
            TrainingError: it failed.
        """
        spec, space = self.search.spec, self.search.space.unwrapped
        whole = spec.schedule_epochs or self.fidelity
        candidate = Candidate(0, genotype, recipe=space.recipe(genotype), fidelity=self.fidelity, schedule_epochs=whole)
        return evaluate_candidate(
            problem=self.search.task.problem,
            space=space,
            candidate=candidate,
            objectives=self.search.objectives,
            seed=seed,
            context=LocalContext(),
            data=data,
            recipe=spec.recipe,
            report_test=True,
        ).metrics


def trained_epochs(outcome: Outcome) -> int:
    """Epochs that a trial cost: those it was asked for when it completed, else those of its curve."""
    return outcome.candidate.fidelity if outcome.status == TrialStatus.COMPLETED else len(outcome.curve)


def affordable(outcomes: Sequence[Outcome], limit: float) -> list[Outcome]:
    """The first ones, in the order of the tells, which cost at most ``limit`` epochs together."""
    spent = np.cumsum([trained_epochs(outcome) for outcome in outcomes])
    return list(outcomes[: int(np.searchsorted(spent, limit, side="right"))])


def on_test(metrics: dict[str, float], name: str) -> float:
    """The metric of the test split that a validation metric has beside it, NaN without one."""
    return metrics.get(f"test_{name.removeprefix('val_')}", float("nan"))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation of a sample."""
    return f"{mean(values):.{digits}f} ± {stdev(values) if len(values) > 1 else 0:.{digits}f}"
