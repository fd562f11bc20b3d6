"""The conformance suite of controllers finds what is wrong with a controller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.random_search import RandomSearch
from xnas_ray.errors import ControllerError
from xnas_ray.messages import Candidate, Outcome
from xnas_ray.spaces.base import Space
from xnas_ray.testing.controller_case import ControllerTestCase


class Repeating(RandomSearch):
    """Forgets what is pending."""

    def known(self, *arguments: object, **keywords: object) -> bool:
        return False


class Carrying(RandomSearch):
    """Carries its random state along instead of counting."""

    def __init__(self, space: Space, objectives: Sequence[Goal], *, seed: int) -> None:
        super().__init__(space, objectives, seed=seed)
        self.dice = np.random.default_rng(seed)

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        return super()._propose(np.random.default_rng(int(self.dice.integers(2**31))))


class OrderBound(RandomSearch):
    """Lets the order of adoption count."""

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        latest = next(reversed(self.pending), 0)
        return super()._propose(np.random.default_rng([self._next_ask, latest]))


class Fragile(RandomSearch):
    """Expects metrics of failed trials."""

    def _learn(self, outcome: Outcome) -> None:
        self.best = outcome.metrics[self.objectives[0].name]


class GivingUp(RandomSearch):
    """Tries once."""

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        genotype = self.first_new([self.space.sample(rng)])
        return None if genotype is None else self.candidate(genotype)


class Unseeded(RandomSearch):
    """Ignores its seed."""

    def ask_rng(self, ask_number: int) -> np.random.Generator:
        return np.random.default_rng(ask_number)


@pytest.mark.parametrize(
    ("kind", "test", "arguments"),
    [
        (Repeating, "test_a_small_space_is_searched_to_its_end", (0,)),
        (Carrying, "test_replay_equals_the_uninterrupted_search", ()),
        (OrderBound, "test_adopt_and_tell_of_different_trials_commute", ()),
        (Fragile, "test_failures_are_survived", (3,)),
        (GivingUp, "test_a_small_space_is_searched_to_its_end", (0,)),
        (Unseeded, "test_equal_seeds_give_equal_searches", ()),
    ],
)
def test_broken_controllers_fail(kind: type[RandomSearch], test: str, arguments: tuple[int, ...]):
    class Case(ControllerTestCase):
        def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
            return kind(space, objectives, seed=seed)

    with pytest.raises((AssertionError, KeyError, ControllerError)):
        getattr(Case(), test)(*arguments)
