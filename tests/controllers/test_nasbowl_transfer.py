"""NAS-BOWL that learns from finished searches: conformance, where it begins, when it gives a source up, its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xnas_ray.controllers.base import Controller, Goal, Source
from xnas_ray.controllers.nasbowl import NASBOWL
from xnas_ray.controllers.nasbowl_transfer import FIRST, TRUSTED
from xnas_ray.errors import SpecError
from xnas_ray.explain.motifs import best_motifs
from xnas_ray.explain.occurrences import presence
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.testing.controller_case import ControllerTestCase

WHOLE = NASBench201(cells_per_stage=1, channels=4, stages=1)
_DICE = np.random.default_rng(0)
SMALL = RestrictedSpace(WHOLE, [WHOLE.sample(_DICE) for _ in range(300)])
GOAL = Goal("val_accuracy", maximize=True)
CONV3 = WHOLE.choices[0].options.index("nor_conv_3x3")
POOL = WHOLE.choices[0].options.index("avg_pool_3x3")


def planted(genotype: Genotype) -> float:
    """Accuracy in percent: convolutions help, poolings harm."""
    canonical = WHOLE.canonical(genotype)
    return 70.0 + 4.0 * canonical.count(CONV3) - 5.0 * canonical.count(POOL) + 0.01 * canonical[0]


def source(value: Callable[[Genotype], float] = planted, *, seed: int = 1, count: int = 60) -> Source:
    """A finished random search."""
    dice = np.random.default_rng(seed)
    genotypes = tuple(WHOLE.sample(dice) for _ in range(count))
    return Source(f"source {seed}", genotypes, tuple({GOAL.name: value(genotype)} for genotype in genotypes))


def contradicting(genotype: Genotype) -> float:
    return 140.0 - planted(genotype)


def heir(*sources: Source, space: Space = SMALL, seed: int = 0, **params: Any) -> NASBOWL:
    controller = NASBOWL(space, [GOAL], seed=seed, **params)
    if sources:
        controller.inherit(sources)
    return controller


def search(
    controller: NASBOWL, trials: int, value: Callable[[Genotype], float] = planted, workers: int = 3
) -> list[Candidate]:
    """Ends first what was asked first."""
    asked = [controller.propose() for _ in range(workers)]
    for number in range(trials):
        candidate = asked[number]
        assert candidate is not None
        metrics = {GOAL.name: value(candidate.genotype)}
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=metrics))
        asked.append(controller.propose())
    return [candidate for candidate in asked if candidate is not None]


def values(asked: Sequence[Candidate]) -> np.ndarray:
    return np.array([planted(candidate.genotype) for candidate in asked])


@pytest.mark.parametrize(("form", "candidates"), [("prior", "all"), ("motifs", "evolved")])
class TestConformance(ControllerTestCase):
    """Replay included: what is taken from sources is a function of seed, sources and tells."""

    trials = 12
    small = 16
    sources = (source(count=30), source(contradicting, seed=2, count=30))

    @pytest.fixture(autouse=True)
    def _way(self, form: str, candidates: str) -> None:
        self.params = {"transfer": form, "candidates": candidates}

    def make_space(self) -> Space:
        return SMALL

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        controller = NASBOWL(space, objectives, seed=seed, initial=6, pool=12, **self.params)
        controller.inherit(self.sources)
        return controller


# ---- the prior ------------------------------------------------------------------------------------------------------


def test_it_begins_where_the_source_says() -> None:
    best = max(planted(genotype) for genotype in SMALL.enumerate())
    asked = search(heir(source()), 12)
    assert [candidate.origin["stage"] for candidate in asked[:FIRST]] == ["prior"] * FIRST
    assert values(asked)[:FIRST].max() == best
    assert values(asked)[:8].mean() > values(search(heir(), 12))[:8].mean() + 5


def test_where_the_space_is_not_listed_it_looks_around_the_best_of_the_source() -> None:
    asked = search(heir(source(), space=WHOLE, candidates="evolved", pool=40), FIRST)
    best = max(metrics[GOAL.name] for metrics in source().metrics)
    assert values(asked)[:FIRST].min() >= best - 4


def test_a_confirmed_source_keeps_its_weight() -> None:
    controller = heir(source())
    search(controller, 15)
    expectation = controller.surrogates.goals[0].expectation
    assert expectation is not None and expectation.trust > 0.9
    assert 0.5 < expectation.shares[0] < 1.25


def test_a_contradicted_source_is_given_up() -> None:
    controller = heir(source(contradicting))
    asked = search(controller, 30)
    expectation = controller.surrogates.goals[0].expectation
    assert expectation is not None and expectation.trust < TRUSTED
    assert expectation.shares[0] < 0.2
    assert "random" in {candidate.origin["stage"] for candidate in asked[FIRST:10]}
    best = max(planted(genotype) for genotype in SMALL.enumerate())
    assert values(asked).max() == best


def test_of_two_sources_the_right_one_counts() -> None:
    controller = heir(source(contradicting), source(seed=2))
    search(controller, 20)
    expectation = controller.surrogates.goals[0].expectation
    assert expectation is not None
    assert expectation.shares[1] > 0.6
    assert abs(expectation.shares[0]) < 0.2


def test_a_source_that_tells_nothing_changes_nothing_but_its_name() -> None:
    once = Source("one trial", (next(iter(SMALL.genotypes())),), ({GOAL.name: 3.0},))
    for sources in ((once,), (Source("another metric", source().genotypes, ({"f1": 1.0},) * 60),)):
        alone = search(heir(transform="auto"), 14)
        assert [c.genotype for c in search(heir(*sources), 14)] == [c.genotype for c in alone]


def test_none_takes_nothing() -> None:
    assert search(heir(source(), transfer="none"), 14) == search(heir(), 14)


def test_a_search_of_several_objectives_takes_what_was_measured() -> None:
    controller = NASBOWL(SMALL, [GOAL, Goal("params", maximize=False)], seed=0)
    controller.inherit([source()])
    candidate = controller.propose()
    assert candidate is not None and candidate.origin == {"stage": "prior"}
    assert [model.prior is None for model in controller.surrogates.goals] == [False, True]


# ---- motifs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", ["all", "evolved"])
def test_candidates_have_a_good_motif(candidates: str) -> None:
    controller = heir(source(), transfer="motifs", candidates=candidates, pool=20)
    asked = search(controller, 14)
    motifs = controller._heritage.motifs["source 1"]
    assert motifs[0].text == "nor_conv_3x3"
    whole = list(SMALL.enumerate())
    allowed = controller._heritage.allows(whole)
    assert 0 < allowed.sum() < len(whole)
    assert controller._heritage.allows([candidate.genotype for candidate in asked]).all()
    encodings = Encodings(SMALL, depth=1)
    assert (presence(encodings.features, encodings.add_all(whole), motifs).any(axis=1) == allowed).all()


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_the_table_says_what_was_taken() -> None:
    controller = heir(source(), source(contradicting, seed=2))
    search(controller, 15)
    table = controller.explain()["transfer"]
    assert list(table["source"]) == ["source 1", "source 2"]
    assert set(table["form"]) == {"prior"} and set(table["metric"]) == {GOAL.name}
    assert table["correlation"][0] > 0.5 > -0.5 > table["correlation"][1]
    assert table["weight"][0] > table["weight"][1]
    assert table["trust"].between(0.9, 1.0).all()

    filtering = heir(source(), transfer="motifs")
    search(filtering, 15)
    (row,) = filtering.explain()["transfer"].to_dict("records")
    assert (row["form"], row["source"], row["motifs"]) == (
        "motifs",
        "source 1",
        len(filtering._heritage.motifs["source 1"]),
    )
    assert "transfer" not in heir().explain()


def test_motifs_are_those_of_the_searchs_own_outcomes() -> None:
    controller, plain = heir(source()), heir(transform="auto")
    for candidate in search(controller, 25):
        if candidate.ask_number not in controller.pending:
            plain.adopt(candidate)
            metrics = {GOAL.name: planted(candidate.genotype)}
            plain.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=metrics))
    table = controller.explain()["motifs"]
    pd.testing.assert_frame_equal(table, plain.explain()["motifs"])
    assert best_motifs(table)


@pytest.mark.parametrize("transfer", ["prior", "motifs"])
def test_the_order_in_which_a_source_is_stored_counts_for_nothing_else(transfer: str) -> None:
    """Two controllers with the same sources agree, although one was asked for other architectures meanwhile."""
    first, second = (heir(source(), transfer=transfer, space=WHOLE, candidates="evolved", pool=20) for _ in range(2))
    second._heritage.allows([WHOLE.sample(np.random.default_rng(9)) for _ in range(50)])
    assert search(first, 12) == search(second, 12)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(SpecError, match="prior, motifs, none") as error:
        heir(transfer="everything")
    assert error.value.field == "controller.params.transfer"
