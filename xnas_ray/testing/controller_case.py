"""What every controller must do: a plug-in's test inherits ``ControllerTestCase`` and gives ``make_controller``.

```python
class TestMyController(ControllerTestCase):
    def make_controller(self, space, objectives, seed) -> Controller:
        return MyController(space, objectives, seed=seed, population=8)
```
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.errors import ControllerError
from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace

GOALS = (Goal("val_accuracy", maximize=True), Goal("params", maximize=False), Goal("latency_ms", maximize=False))


@dataclass
class History:
    """What happened in a search: candidates as asked, outcomes as told, and both in order."""

    asked: list[Candidate] = field(default_factory=list)
    told: list[Outcome] = field(default_factory=list)
    events: list[Candidate | Outcome] = field(default_factory=list)


class ControllerTestCase:
    """Conformance of a controller, driven as the service drives it: several workers, results in any order.

    Attributes:
        trials: length of the searches.
        workers: candidates that are pending at once.
        small: architectures of the space that is searched to its end.
        seeded: whether another seed must give other candidates.
    """

    trials = 40
    workers = 4
    small = 30
    seeded = True

    @abstractmethod
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        """The controller under test, without knowledge."""

    def make_space(self) -> Space:
        """A space with at least ``trials + workers + 6`` architectures."""
        return NASBench201(cells_per_stage=1, channels=4, stages=1)

    def make_small_space(self) -> Space:
        """A space that is searched to its end."""
        space, rng = self.make_space(), np.random.default_rng(5)
        return RestrictedSpace(space, [space.sample(rng) for _ in range(self.small)])

    def measure(self, space: Space, candidate: Candidate) -> dict[str, float]:
        """Metrics of a candidate by objective: made up, but always the same for an architecture."""
        digest = hashlib.blake2b(space.key(candidate.genotype).encode(), digest_size=12).digest()
        return {goal.name: int.from_bytes(digest[4 * i : 4 * i + 4], "big") / 2**32 for i, goal in enumerate(GOALS)}

    # ---- drivers ------------------------------------------------------------------------------------------------

    def finish(
        self, space: Space, candidate: Candidate, *, fail: bool = False, kind: FailureKind = FailureKind.EXCEPTION
    ) -> Outcome:
        """The outcome of a candidate's trial."""
        if fail:
            failure = Failure(kind, type="RuntimeError", message="made to fail")
            return Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=failure)
        metrics = self.measure(space, candidate)
        return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=metrics, cost_s=1.0)

    def search(self, controller: Controller, *, trials: int, fail_every: int = 0, order: int = 0) -> History:
        """Run until ``trials`` were told: ``workers`` pending, a random one of them ends next."""
        history, running, dice = History(), list[Candidate](), np.random.default_rng(order)
        while len(history.told) < trials:
            while len(running) < self.workers:
                candidate = controller.propose()
                if candidate is None:
                    break
                history.asked.append(candidate)
                history.events.append(candidate)
                running.append(candidate)
            if not running:
                break
            candidate = running.pop(int(dice.integers(len(running))))
            fail = bool(fail_every) and candidate.ask_number % fail_every == 0
            outcome = self.finish(controller.space, candidate, fail=fail)
            history.told.append(outcome)
            history.events.append(outcome)
            controller.tell(outcome)
        return history

    def replay(self, controller: Controller, events: Sequence[Candidate | Outcome]) -> Controller:
        """Adopt and tell what was recorded, as a restarted service does."""
        for event in events:
            if isinstance(event, Candidate):
                controller.adopt(event)
            else:
                controller.tell(event)
        return controller

    def new(self, space: Space, seed: int = 1, goals: Sequence[Goal] = GOALS[:1]) -> Controller:
        """A fresh controller for some objectives."""
        return self.make_controller(space, goals, seed)

    # ---- proposals ----------------------------------------------------------------------------------------------

    def test_proposals_are_new_canonical_and_numbered(self) -> None:
        """Nothing is proposed that is evaluated or pending, everything is canonical, numbers count from 0."""
        space = self.make_space()
        history = self.search(self.new(space), trials=self.trials)
        assert len(history.told) == self.trials
        assert [candidate.ask_number for candidate in history.asked] == list(range(len(history.asked)))
        for candidate in history.asked:
            assert space.is_valid(candidate.genotype)
            assert space.canonical(candidate.genotype) == candidate.genotype
        seen = {(space.key(c.genotype), str(sorted(c.recipe.items())), c.replicate, c.fidelity) for c in history.asked}
        assert len(seen) == len(history.asked)

    def test_pending_are_those_that_run(self) -> None:
        """``pending`` holds what was asked and not told, however many workers wait."""
        controller = self.new(self.make_space())
        asked = [controller.propose() for _ in range(self.trials)]
        assert all(candidate is not None for candidate in asked)
        assert set(controller.pending) == {candidate.ask_number for candidate in asked if candidate}
        for candidate in asked[::2]:
            assert candidate is not None
            controller.tell(self.finish(controller.space, candidate))
        assert set(controller.pending) == {candidate.ask_number for candidate in asked[1::2] if candidate}

    def test_a_trial_is_told_once(self) -> None:
        """Telling twice is refused."""
        controller = self.new(self.make_space())
        history = self.search(controller, trials=3)
        with pytest.raises(ControllerError, match="twice"):
            controller.tell(history.told[0])

    def test_equal_seeds_give_equal_searches(self) -> None:
        """The same seed and order of results give the same proposals; another seed others."""
        space = self.make_space()
        first = self.search(self.new(space), trials=self.trials)
        assert self.search(self.new(space), trials=self.trials).events == first.events
        if self.seeded:
            assert self.search(self.new(space, seed=2), trials=self.trials).asked != first.asked

    def test_any_number_of_objectives(self) -> None:
        """The controller works with several objectives; all other tests have one."""
        for count in range(2, len(GOALS) + 1):
            controller = self.new(self.make_space(), goals=GOALS[:count])
            assert len(self.search(controller, trials=self.trials).told) == self.trials

    # ---- failures -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fail_every", [1, 3])
    def test_failures_are_survived(self, fail_every: int) -> None:
        """Proposals go on when every third trial fails, and when all do; explanations too."""
        controller = self.new(self.make_space())
        history = self.search(controller, trials=self.trials, fail_every=fail_every)
        assert len(history.told) == self.trials
        assert len({controller.space.key(c.genotype) for c in history.asked}) == len(history.asked)
        assert isinstance(dict(controller.explain()), dict)

    def test_cancelled_trials_teach_nothing(self) -> None:
        """A cancelled trial stops being pending and is not among the outcomes."""
        controller = self.new(self.make_space())
        candidate = controller.propose()
        assert candidate is not None
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.CANCELLED))
        assert not controller.pending
        assert controller.outcomes == []
        assert controller.propose() is not None

    # ---- replay -------------------------------------------------------------------------------------------------

    def test_replay_equals_the_uninterrupted_search(self) -> None:
        """A new instance that is given the recorded history, failures included, goes on with the same proposals."""
        space = self.make_space()
        original = self.new(space)
        history = self.search(original, trials=self.trials, fail_every=4)
        copy = self.replay(self.new(space), history.events)
        assert set(copy.pending) == set(original.pending)
        assert [copy.propose() for _ in range(6)] == [original.propose() for _ in range(6)]

    def test_adopt_and_tell_of_different_trials_commute(self) -> None:
        """Only the order of the tells counts: candidates may be adopted in any order, before or after them."""
        space = self.make_space()
        original = self.new(space)
        history = self.search(original, trials=self.trials)
        expected = [original.propose() for _ in range(6)]
        for seed in range(4):
            dice = np.random.default_rng(seed)
            moments = [(float(dice.uniform(-1, len(history.told))), candidate) for candidate in history.asked]
            tells = [(float(i), outcome) for i, outcome in enumerate(history.told)]
            timed: list[tuple[float, Candidate | Outcome]] = [*moments, *tells]
            events = [event for _, event in sorted(timed, key=lambda pair: pair[0])]
            copy = self.replay(self.new(space), events)
            assert set(copy.pending) == {c.ask_number for c in history.asked} - {o.trial for o in history.told}
            assert [copy.propose() for _ in range(6)] == expected

    # ---- exhaustion ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("order", [0, 1])
    def test_a_small_space_is_searched_to_its_end(self, order: int) -> None:
        """Every architecture is proposed exactly once, then None, for ever."""
        space = self.make_small_space()
        controller = self.new(space)
        history = self.search(controller, trials=10 * self.small, fail_every=7, order=order)
        assert {space.key(c.genotype) for c in history.asked} == {space.key(g) for g in space.enumerate()}
        assert len(history.asked) == len(history.told) == len(list(space.enumerate()))
        assert controller.propose() is None
        assert controller.propose() is None

    def test_the_end_is_replayed(self) -> None:
        """A search that is resumed shortly before a space is exhausted goes on as if never interrupted."""
        space = self.make_small_space()
        original = self.new(space)
        left = 5
        history = self.search(original, trials=len(list(space.enumerate())) - left - self.workers)
        copy = self.replay(self.new(space), history.events)
        expected = [original.propose() for _ in range(left + self.workers)]
        assert [copy.propose() for _ in range(left + self.workers)] == expected
        assert None in expected

    def test_a_space_of_one_architecture(self) -> None:
        """The only architecture is proposed once."""
        whole = self.make_space()
        space = RestrictedSpace(whole, [next(iter(whole.genotypes()))])
        controller = self.new(space)
        candidate = controller.propose()
        assert candidate is not None
        assert controller.propose() is None
        controller.tell(self.finish(space, candidate))
        assert controller.propose() is None
