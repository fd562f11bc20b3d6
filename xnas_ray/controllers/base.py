"""What a controller is: it proposes candidates and learns from outcomes, and knows what is pending."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.controllers.remaining import Remaining
from xnas_ray.errors import ControllerError, GenotypeError
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.randomness import Domain, canonical_json, rng
from xnas_ray.spaces.base import MAX_ENUMERATION, DataShape, Space

if TYPE_CHECKING:
    import pandas as pd

DRAWS_BEFORE_LISTING = 100
DRAWS = 10_000

Identity = tuple[str, str, int]
"""What makes two candidates the same evaluation, whatever their fidelity: key, recipe as JSON, replicate."""


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
    shape: DataShape = field(default_factory=lambda: DataShape(inputs=((3, 32, 32),), outputs=10))


@dataclass(frozen=True, slots=True)
class Source:
    """What a finished search found, for one that learns from it.

    Attributes:
        search_id: its id.
        genotypes: of its completed trials, in the order of the tells.
        metrics: of each, by name.
    """

    search_id: str
    genotypes: tuple[Genotype, ...]
    metrics: tuple[Mapping[str, float], ...]


class Controller(ABC):
    """Proposes candidates; its state is a function of its seed, the ordered tells and the set of adopted candidates.

    Subclasses implement ``_propose`` (and usually ``_learn``); the base class keeps what is evaluated and pending,
    makes every proposal canonical and new, and hands out ask numbers. ``adopt`` and ``tell`` of different trials
    commute, except for the order of the tells: a subclass must not let its proposals depend on the order of
    ``adopt`` calls, nor on random numbers other than those of the generator it is given.

    ``known`` takes O(1), ``draw_new`` at most ``DRAWS_BEFORE_LISTING`` draws in a space that can be listed (at most a
    million genotypes); when they meet nothing new the space is listed, once. So None means exactly that nothing is
    left; in larger spaces it means that ``DRAWS`` draws in a row met nothing new.

    Args:
        space: what can be searched.
        objectives: what is optimised, the first one the most important.
        seed: of every random number of the search.
        horizon: fidelity and shapes of the candidates.

    Attributes:
        pending: candidates that were asked and have not ended, by trial number; in no particular order.
        outcomes: what was told, completed and failed, in that order.
    """

    def __init__(self, space: Space, objectives: Sequence[Goal], *, seed: int, horizon: Horizon | None = None) -> None:
        """Start without any knowledge."""
        if not objectives:
            raise ControllerError("a controller needs at least one objective.", field="objectives")
        self.space = space
        self.objectives = tuple(objectives)
        self.seed = seed
        self.horizon = horizon or Horizon()
        self.pending: dict[int, Candidate] = {}
        self.outcomes: list[Outcome] = []
        self._ended: set[int] = set()
        self._next_ask = 0
        self._fidelity_of: dict[Identity, int] = {}  # highest fidelity evaluated or pending
        self._remaining: Remaining | None = None  # listed when random draws fail

    # ---- the interface ------------------------------------------------------------------------------------------

    def propose(self, rng: np.random.Generator | None = None) -> Candidate | None:
        """A candidate that is canonical and neither evaluated nor pending; it becomes pending. None: none for now.

        Args:
            rng: the generator of this ask; by default the one counted from the controller's seed.

        Raises:
            ControllerError: the subclass proposed something that is not new, not canonical or out of turn.
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
        self._remember(candidate)
        if candidate.ask_number not in self._ended:
            self.pending[candidate.ask_number] = candidate

    def tell(self, outcome: Outcome) -> None:
        """Learn from a trial that completed or failed; a cancelled one only stops being pending, and is not repeated.

        Raises:
            ControllerError: the trial was told before, is not the candidate's, or completed without an objective.
        """
        if outcome.trial in self._ended:
            raise ControllerError(f"trial {outcome.trial} was told twice.")
        if outcome.trial != outcome.candidate.ask_number:
            raise ControllerError(f"trial {outcome.trial} is told with candidate {outcome.candidate.ask_number}.")
        missing = [g.name for g in self.objectives if g.name not in outcome.metrics]
        if outcome.status == TrialStatus.COMPLETED and missing:
            raise ControllerError(f"trial {outcome.trial} completed without {missing}.", valid=sorted(outcome.metrics))
        self._ended.add(outcome.trial)
        self.pending.pop(outcome.trial, None)
        self._remember(outcome.candidate)
        if outcome.status != TrialStatus.CANCELLED:
            self.outcomes.append(outcome)
            self._learn(outcome)

    def inherit(self, sources: Sequence[Source]) -> None:
        """Learn from finished searches, before the first proposal.

        Raises:
            ControllerError: this controller cannot.
        """
        raise ControllerError(
            f"{type(self).__name__} does not learn from other searches.",
            field="warm_start",
            fix="Leave the ids of searches out, or take a controller that does, such as nasbowl.",
        )

    def explain(self) -> Mapping[str, pd.DataFrame]:
        """Explanation tables by kind; none by default."""
        return {}

    # ---- for subclasses -----------------------------------------------------------------------------------------

    @abstractmethod
    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        """A new candidate (use ``candidate``, ``known`` and ``draw_new``), or None when there is none for now."""

    def _learn(self, outcome: Outcome) -> None:  # noqa: B027 - learning is optional
        """Update the model; called once a completed or failed trial, in the order of the tells."""

    def ask_rng(self, ask_number: int) -> np.random.Generator:
        """The generator from which proposal ``ask_number`` is drawn."""
        return rng(self.seed, Domain.ASK, ask_number)

    def candidate(self, genotype: Genotype, **origin: Any) -> Candidate:
        """The next candidate: the canonical form of ``genotype``, with its recipe, at the search's fidelity."""
        genotype = self.space.canonical(genotype)
        return Candidate(
            ask_number=self._next_ask,
            genotype=genotype,
            recipe=self.space.recipe(genotype),
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
        """Whether the architecture is evaluated or pending at this fidelity or a higher one.

        Args:
            genotype: any member of its key class.
            recipe: how it is trained; by default as its space says.
            replicate: which repetition.
            fidelity: epochs; by default the search's.
        """
        trained = self.space.recipe(genotype) if recipe is None else recipe
        highest = self._fidelity_of.get(self._identity(genotype, trained, replicate), 0)
        return highest >= (self.horizon.fidelity if fidelity is None else fidelity)

    def first_new(self, genotypes: Iterable[Genotype]) -> Genotype | None:
        """The canonical form of the first of ``genotypes`` that is not known, None if all are."""
        for genotype in genotypes:
            if not self.known(genotype):
                return self.space.canonical(genotype)
        return None

    def mutants(self, genotype: Genotype, rng: np.random.Generator, tries: int) -> Iterator[Genotype]:
        """``tries`` mutants in one choice, then as many in two, up to all of them."""
        for changes in range(1, len(self.space.choices) + 1):
            for _ in range(tries):
                try:
                    yield self.space.mutate(genotype, rng, changes)
                except GenotypeError:  # no valid mutant at this distance
                    break

    def draw_new(self, rng: np.random.Generator) -> Genotype | None:
        """A canonical genotype that is not known: uniform over genotypes, over keys when few are left.

        None: nothing is left, or in a space of more than a million genotypes ``DRAWS`` draws met nothing new.
        """
        listable = self.space.size <= MAX_ENUMERATION
        try:
            found = self.first_new(self.space.sample(rng) for _ in range(DRAWS_BEFORE_LISTING if listable else DRAWS))
        except GenotypeError:  # valid genotypes are too rare for the space's sampler
            if not listable:
                raise
            found = None
        if found is not None or not listable:
            return found
        # The draws above come first also when the list exists already: a replayed controller has none yet.
        if self._remaining is None:
            self._remaining = Remaining(self.space, self.known)
        return self._remaining.choose(rng)

    def completed(self) -> list[Outcome]:
        """Outcomes with metrics, in the order of the tells."""
        return [o for o in self.outcomes if o.status == TrialStatus.COMPLETED]

    def _remember(self, candidate: Candidate) -> None:
        """The candidate was asked: it is known at its fidelity, and its number is used."""
        self._next_ask = max(self._next_ask, candidate.ask_number + 1)
        identity = self._identity(candidate.genotype, candidate.recipe, candidate.replicate)
        self._fidelity_of[identity] = max(self._fidelity_of.get(identity, 0), candidate.fidelity)
        if self._remaining is not None and self.known(candidate.genotype):
            self._remaining.strike(identity[0])

    def _identity(self, genotype: Genotype, recipe: Mapping[str, Any], replicate: int) -> Identity:
        return self.space.key(genotype), canonical_json(recipe) if recipe else "", replicate
