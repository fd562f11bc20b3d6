"""What a controller is: it proposes candidates and learns from outcomes, and knows what is pending."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import ControllerError
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.randomness import Domain, candidate_identity, rng
from xnas_ray.spaces.base import DataShape, Space

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Goal:
    """One objective as a controller sees it: a metric's name and its direction."""

    name: str
    maximize: bool

    def signed(self, metrics: Mapping[str, float]) -> float:
        """The metric with the sign that makes larger better."""
        return metrics[self.name] if self.maximize else -metrics[self.name]


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long candidates train, and on what: what a controller puts into the candidates that it proposes.

    Attributes:
        fidelity: epochs of a candidate.
        schedule_epochs: epochs of the learning-rate schedule.
        shape: inputs and outputs of the networks, for analytic costs.
    """

    fidelity: int = 1
    schedule_epochs: int = 1
    shape: DataShape = DataShape(inputs=((3, 32, 32),), outputs=10)


class Controller(ABC):
    """Proposes candidates; its state is a function of its seed, the ordered tells and the set of adopted candidates.

    Subclasses implement ``_propose`` (and usually ``_learn``); the base class keeps what is evaluated and pending,
    makes every proposal canonical and new, and hands out ask numbers. ``adopt`` and ``tell`` of different trials
    commute, except for the order of the tells.

    Args:
        space: what can be searched.
        objectives: what is optimised, the first one the most important.
        seed: of every random number of the search.
        horizon: fidelity and shapes of the candidates.
        **params: settings of the subclass, as in the specification's ``controller.params``.
    """

    def __init__(
        self, space: Space, objectives: Sequence[Goal], *, seed: int, horizon: Horizon | None = None, **params: Any
    ) -> None:
        """Start without any knowledge."""
        if params:
            raise TypeError(f"unknown parameters {sorted(params)}")
        self.space = space
        self.objectives = tuple(objectives)
        self.seed = seed
        self.horizon = horizon or Horizon()
        self.pending: dict[int, Candidate] = {}
        self.outcomes: list[Outcome] = []
        self._ended: set[int] = set()
        self._next_ask = 0
        self._fidelity_of: dict[str, int] = {}  # identity -> highest fidelity evaluated or pending

    # ---- the interface ------------------------------------------------------------------------------------------

    def propose(self, rng: np.random.Generator | None = None) -> Candidate | None:
        """A candidate that is canonical and neither evaluated nor pending; it becomes pending. None: none for now.

        Args:
            rng: the generator of this ask; by default the one counted from the controller's seed.
        """
        generator = rng if rng is not None else self.ask_rng(self._next_ask)
        candidate = self._propose(generator)
        if candidate is None:
            return None
        if candidate.ask_number != self._next_ask:
            raise ControllerError(f"proposal {candidate.ask_number} is out of turn: expected {self._next_ask}.")
        if self.space.canonical(candidate.genotype) != candidate.genotype:
            raise ControllerError(f"proposal {candidate.genotype} is not canonical.", fix="Build it with candidate().")
        if self.known(candidate.genotype, candidate.recipe, candidate.replicate, candidate.fidelity):
            raise ControllerError(f"proposal {candidate.genotype} is already evaluated or pending.")
        self.adopt(candidate)
        return candidate

    def adopt(self, candidate: Candidate) -> None:
        """Replay: this candidate was asked; it is pending unless its outcome was told before."""
        self._next_ask = max(self._next_ask, candidate.ask_number + 1)
        identity = self._identity(candidate.genotype, candidate.recipe, candidate.replicate)
        self._fidelity_of[identity] = max(self._fidelity_of.get(identity, 0), candidate.fidelity)
        if candidate.ask_number not in self._ended:
            self.pending[candidate.ask_number] = candidate

    def tell(self, outcome: Outcome) -> None:
        """Learn from a trial that completed or failed; a cancelled one only stops being pending."""
        if outcome.trial in self._ended:
            raise ControllerError(f"trial {outcome.trial} was told twice.")
        self._ended.add(outcome.trial)
        self._next_ask = max(self._next_ask, outcome.candidate.ask_number + 1)
        self.pending.pop(outcome.trial, None)
        identity = self._identity(outcome.candidate.genotype, outcome.candidate.recipe, outcome.candidate.replicate)
        self._fidelity_of[identity] = max(self._fidelity_of.get(identity, 0), outcome.candidate.fidelity)
        self.outcomes.append(outcome)
        self._learn(outcome)

    def explain(self) -> Mapping[str, pd.DataFrame]:
        """Explanation tables by kind; none by default."""
        return {}

    # ---- for subclasses -----------------------------------------------------------------------------------------

    @abstractmethod
    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        """A new candidate (use ``candidate`` and ``known``), or None when there is none for now."""

    def _learn(self, outcome: Outcome) -> None:
        """Update the model; called once a trial, in the order of the tells."""

    def ask_rng(self, ask_number: int) -> np.random.Generator:
        """The generator from which proposal ``ask_number`` is drawn."""
        return rng(self.seed, Domain.ASK, ask_number)

    def candidate(self, genotype: Genotype, **origin: Any) -> Candidate:
        """The next candidate: the canonical form of ``genotype`` at the search's fidelity."""
        return Candidate(
            ask_number=self._next_ask,
            genotype=self.space.canonical(genotype),
            fidelity=self.horizon.fidelity,
            schedule_epochs=self.horizon.schedule_epochs,
            origin=origin,
        )

    def known(
        self,
        genotype: Genotype,
        recipe: Mapping[str, Any] | None = None,
        replicate: int = 0,
        fidelity: int | None = None,
    ) -> bool:
        """Whether the architecture is evaluated or pending at this fidelity or a higher one."""
        highest = self._fidelity_of.get(self._identity(genotype, recipe or {}, replicate), 0)
        return highest >= (self.horizon.fidelity if fidelity is None else fidelity)

    def completed(self) -> list[Outcome]:
        """Outcomes with metrics, in the order of the tells."""
        return [o for o in self.outcomes if o.status == TrialStatus.COMPLETED]

    def _identity(self, genotype: Genotype, recipe: Mapping[str, Any], replicate: int) -> str:
        return candidate_identity(self.space.key(genotype), recipe, replicate)
