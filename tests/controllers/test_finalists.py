"""The controller of finalists: exactly the given ones, once a seed, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.finalists import Finalists
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import SpecError
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.spec import FINALISTS
from xnas_ray.testing.controller_case import ControllerTestCase
from xnas_ray.testing.tiny import TinySpace

SPACE, GOAL = TinySpace(), Goal("test_accuracy", maximize=True)
GIVEN = [{"trial": 7, "genotype": [0, 1, 0]}, {"trial": 3, "genotype": [2, 0, 1]}]


def finalists(seeds: int = 3, candidates: Sequence[dict] = GIVEN) -> Finalists:
    return Finalists(SPACE, [GOAL], seed=0, candidates=candidates, seeds=seeds)


class TestConformance(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        drawn = np.random.default_rng(seed)
        genotypes = dict.fromkeys(space.canonical(space.sample(drawn)) for _ in range(300))
        candidates = [{"trial": n, "genotype": list(genotype)} for n, genotype in enumerate(genotypes)]
        return Finalists(space, objectives, seed=seed, candidates=candidates, seeds=1)


def test_it_is_named_by_its_path_and_in_no_list() -> None:
    assert CONTROLLERS.get(FINALISTS) is Finalists and "finalists" not in CONTROLLERS.names()


def test_all_with_the_first_seed_then_all_with_the_next() -> None:
    one, asked = finalists(), []
    while (candidate := one.propose()) is not None:
        asked.append((candidate.origin["finalist"], candidate.replicate, candidate.genotype))
    assert asked == [(n, r, g) for r in (1, 2, 3) for n, g in ((7, (0, 1, 0)), (3, (2, 0, 1)))]
    assert 0 not in {replicate for _, replicate, _ in asked}, "the seed that they were selected with is not used"


@given(st.integers(0, 6), st.permutations(range(6)))
def test_restarted_it_goes_on_with_what_is_left(asked: int, order: list[int]) -> None:
    whole = finalists()
    everything = [whole.propose() for _ in range(6)]
    other = finalists()
    for number in order:
        if number < asked:
            other.adopt(everything[number])
    for number in range(0, asked, 2):
        other.tell(Outcome(number, everything[number], TrialStatus.COMPLETED, {"test_accuracy": 1.0}))
    assert [other.propose() for _ in range(asked, 6)] == everything[asked:] and other.propose() is None


def test_outcomes_change_nothing() -> None:
    one, other = finalists(), finalists()
    for number in range(6):
        candidate = one.propose()
        assert candidate == other.propose()
        one.tell(Outcome(number, candidate, TrialStatus.COMPLETED, {"test_accuracy": float(number)}))


def test_one_architecture_given_twice_is_trained_once() -> None:
    one = finalists(seeds=1, candidates=[*GIVEN, {"trial": 9, "genotype": [0, 1, 0]}])
    assert [one.propose().origin["finalist"] for _ in range(2)] == [7, 3] and one.propose() is None


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"seeds": 0}, r"params\.seeds"),
        ({"candidates": [{"trial": 1}]}, r"candidates\.0: must have"),
        ({"candidates": [3]}, r"candidates\.0: must have"),
        ({"candidates": [{"trial": -1, "genotype": [0, 0, 0]}]}, r"candidates\.0\.trial"),
        ({"candidates": [{"trial": 1, "genotype": [0, 0, 9]}]}, r"candidates\.0\.genotype"),
        ({"candidates": [{"trial": 1, "genotype": None}]}, r"candidates\.0\.genotype"),
    ],
)
def test_malformed_parameters(params: dict, named: str) -> None:
    with pytest.raises(SpecError, match=named):
        Finalists(SPACE, [GOAL], seed=0, **params)
