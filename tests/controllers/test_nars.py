"""NARS: its stages, bins, early stopping and winners, that nobody waits, and that it finds more than chance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.nars import NARS
from xnas_ray.controllers.nars_predictions import Unit
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import SpecError
from xnas_ray.messages import Candidate, Cost, Failure, FailureKind, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
from xnas_ray.testing.controller_case import GOALS, ControllerTestCase

ACCURACY, ERROR = GOALS[0], Goal("val_error", maximize=False)
SHAPE = DataShape(((3, 8, 8),), 10)
EPOCHS = 8
HORIZON = Horizon(fidelity=EPOCHS, schedule_epochs=12, shape=SHAPE)
CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
RECIPE = {"learning_rate": {"log": [0.001, 0.1], "levels": 9}, "optimizer": ["sgd", "adam"], "ema": [True, False]}
SMALL = {"pool": 200, "bins": 6, "rounds": 3, "winners": 4, "members": 1}


class TestConformance(ControllerTestCase):
    """Forty trials go through three rounds and then batches of winners."""

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return NARS(space, objectives, seed=seed, pool=200, bins=7, rounds=3, winners=15, members=1)


class TestConformanceOfThePaper(ControllerTestCase):
    """Forty trials do not fill the paper's first round."""

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return NARS(space, objectives, seed=seed, mode="paper", pool=300)


class Widths(Space):
    """Six widths of eight channels and an unordered choice that changes no cost."""

    name = "widths"
    builder = "nowhere:build"
    choices = (
        *(Choice(f"w{i}", tuple(range(1, 9)), ordered=True) for i in range(6)),
        Choice("kind", ("a", "b", "c")),
    )

    def key(self, genotype):
        return str(genotype)

    def graphs(self, genotype):
        raise NotImplementedError

    def cost(self, genotype, shape):
        return Cost(sum((i + 1) ** 2 for i in genotype[:6]), sum(genotype[:6]) + 6)

    def format(self, genotype):
        return "-".join(map(str, genotype))

    def parse(self, text):
        return tuple(map(int, text.split("-")))


class TestConformanceWithRecipes(ControllerTestCase):
    """Cells with recipes, and limits on their FLOPs."""

    def make_space(self) -> Space:
        limit = CELLS.cost((3, 3, 3, 3, 3, 2), SHAPE).flops
        return ConstrainedSpace(JointSpace(architecture=CELLS, recipe=RECIPE), [f"flops <= {limit}"], SHAPE)

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return NARS(space, objectives, seed=seed, pool=100, bins=10, rounds=4, winners=15, members=2, caution=1.0)


def quality(space: Space, genotype: Genotype) -> float:
    """Percent: wide networks are better, every width has its own best, and the kind matters."""
    widths = np.array(genotype[:6])
    return float(50 + 20 * np.log1p(widths).mean() - np.abs(widths - np.arange(6)).mean() + 3 * (genotype[6] == 1))


def finished(space: Space, candidate: Candidate, goal: Goal = ACCURACY, *, at: int = 5) -> Outcome:
    """The outcome of a trial whose curve ranks as its end does from epoch ``at`` on, and at random before."""
    end = quality(space, candidate.genotype)
    dice = np.random.default_rng(candidate.genotype)
    noise = dice.normal(scale=30.0, size=EPOCHS)
    values = [end - 10 + e + (noise[e] if e + 1 < at else 0.0) for e in range(EPOCHS)][: candidate.fidelity]
    records = tuple({"epoch": e + 1.0, "val_accuracy": value} for e, value in enumerate(values))
    last = values[-1] if goal == ACCURACY else 100.0 - values[-1]
    return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics={goal.name: last}, curve=records)


def failed(candidate: Candidate) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=Failure(FailureKind.NAN))


def ask(controller: Controller) -> Candidate:
    candidate = controller.propose()
    assert candidate is not None
    return candidate


def search(
    controller: Controller, trials: int, *, workers: int = 1, goal: Goal = ACCURACY, at: int = 5
) -> list[Candidate]:
    """Run with ``workers``, which end in the order in which they began."""
    asked: list[Candidate] = []
    running: list[Candidate] = []
    for _ in range(trials):
        asked.append(ask(controller))
        running.append(asked[-1])
        if len(running) == workers:
            controller.tell(finished(controller.space, running.pop(0), goal, at=at))
    return asked


def widths(goal: Goal = ACCURACY, *, seed: int = 0, space: Space | None = None, **params: Any) -> NARS:
    return NARS(space or Widths(), [goal], seed=seed, horizon=HORIZON, **{**SMALL, **params})


def flops(candidate: Candidate, space: Space | None = None) -> int:
    return (space or Widths()).cost(candidate.genotype, SHAPE).flops


# ---- stages ---------------------------------------------------------------------------------------------------------


def test_it_is_registered_with_its_defaults_and_the_papers():
    controller = CONTROLLERS.create("nars", {}, Widths(), [ACCURACY], seed=0)
    assert isinstance(controller, NARS)
    settings = controller.settings
    assert (settings.bins, settings.rounds, settings.members, settings.first_round) == (24, 4, 4, "space_filling")
    assert settings.curves == 18
    paper = widths(mode="paper", bins=None, rounds=None, members=None).settings
    assert (paper.bins, paper.rounds, paper.recipe_rounds, paper.members, paper.first_round) == (48, 5, 4, 1, "random")
    assert paper.curves == 48
    assert settings.clip and not paper.clip


@pytest.mark.parametrize("workers", [1, 4, 9])
def test_rounds_are_cut_by_count_and_nobody_waits(workers: int):
    controller = widths()
    asked = search(controller, 30, workers=workers)
    assert [c.origin["round"] for c in asked] == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 4 + [4] * 4 + [5] * 4
    # A round knows what had been told when its first candidate was asked for; all its candidates say the same.
    first = {c.origin["round"]: c.ask_number for c in reversed(asked)}
    for candidate in asked:
        assert candidate.origin["told"] == max(0, first[candidate.origin["round"]] - workers + 1)
    stages = [c.origin["stage"] for c in asked]
    assert stages[:6] == ["space_filling"] * 6
    assert stages[18:] == ["evolved"] * 12
    # With four workers three are told when the second round begins, too few: it is drawn like the first.
    assert set(stages[6:12]) == ({"predicted"} if workers == 1 else {"space_filling"})
    assert set(stages[12:18]) == {"predicted"}


@pytest.mark.parametrize("first_round", ["space_filling", "random"])
def test_every_round_takes_one_of_each_bin_in_an_order_of_its_own(first_round: str):
    controller = widths(first_round=first_round, pool=2_000)
    asked = search(controller, 18)
    edges = np.linspace(controller.ranked.pool.flops.min(), controller.ranked.pool.flops.max(), 7)
    orders = []
    for number in range(3):
        members = [c for c in asked if c.origin["round"] == number]
        orders.append(tuple(c.origin["bin"] for c in members))
        assert sorted(orders[-1]) == list(range(6))
        for candidate in members:
            low, high = edges[candidate.origin["bin"] : candidate.origin["bin"] + 2]
            assert low <= flops(candidate) <= high
    assert len(set(orders)) > 1
    assert {c.origin["stage"] for c in asked[:6]} == {first_round}


def test_predicted_candidates_are_the_best_of_their_bin():
    controller = widths()
    search(controller, 6)
    candidate = ask(controller)
    ranked = controller.ranked
    open_ = (ranked.bins == candidate.origin["bin"]) & (ranked.asked == 0)
    here = [g for g, is_open in zip(ranked.pool.genotypes, open_, strict=True) if is_open]
    means, _ = controller.predictor.predict([*here, candidate.genotype])
    assert means[-1] >= means.max() - 1e-12
    assert candidate.origin["predicted"]["mean"] == pytest.approx(means[-1], rel=1e-5)


def test_an_empty_bin_takes_the_best_anywhere():
    narrow = [
        (1,) * 6 + (0,),
        *((7, 7, 7, 7, 7, i, 0) for i in range(2, 8)),
        *((7, 7, 7, 7, i, 7, 1) for i in range(7)),
    ]
    controller = widths(space=RestrictedSpace(Widths(), narrow))
    asked = search(controller, 12)
    assert len({c.genotype for c in asked}) == 12
    bins = [c.origin["bin"] for c in asked[:6]]
    assert 0 in bins and bins.count(0) == 1 and set(bins) <= {0, 4, 5}


def test_space_filling_rounds_are_farther_apart_than_random_ones():
    def nearest(first_round: str) -> float:
        distances = []
        for seed in range(5):
            controller = widths(seed=seed, first_round=first_round, pool=1_000, bins=12)
            rows = controller.predictor.encoding.encode([ask(controller).genotype for _ in range(12)])
            apart = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=2)) + np.diag(np.full(12, np.inf))
            distances.append(apart.min())
        return float(np.mean(distances))

    assert nearest("space_filling") > 1.1 * nearest("random")


def test_failed_trials_are_no_labels_and_no_winners():
    controller = widths(rounds=1, bins=12, early_stopping=False)
    lost = set()
    for i in range(40):
        candidate = ask(controller)
        assert candidate.genotype not in lost
        if i % 3 == 1:
            lost.add(candidate.genotype)
            controller.tell(failed(candidate))
        else:
            controller.tell(finished(controller.space, candidate))
    plan = controller._plan(controller._turn(40)[0])
    assert len(plan.labels) == sum(o.status == TrialStatus.COMPLETED for o in controller.outcomes[: plan.told])
    assert not lost & set(plan.labels.genotypes)


def test_when_everything_fails_proposals_go_on():
    controller = widths()
    stages = []
    for _ in range(30):
        candidate = ask(controller)
        stages.append(candidate.origin["stage"])
        controller.tell(failed(candidate))
    assert stages == ["space_filling"] * 18 + ["random"] * 12


# ---- early stopping -------------------------------------------------------------------------------------------------


def test_later_candidates_stop_where_curves_tell_their_end_on_the_same_schedule():
    controller = widths(share=1.0)
    asked = search(controller, 26, at=5)
    assert controller.stopping.epoch == 5
    assert [c.fidelity for c in asked] == [EPOCHS] * 6 + [5] * 12 + [EPOCHS] * 8
    assert {c.schedule_epochs for c in asked} == {12}


def test_the_epoch_waits_for_its_share_of_the_curves():
    controller = widths(bins=8, share=0.5)
    asked = search(controller, 12, workers=1)
    assert controller.stopping.decided_at == 4
    assert [c.fidelity for c in asked] == [EPOCHS] * 4 + [5] * 8
    slow = widths(bins=8, share=1.0)
    asked = search(slow, 16, workers=5)
    assert [c.fidelity for c in asked] == [EPOCHS] * 12 + [5] * 4, "eight are told when the thirteenth is asked for"


@pytest.mark.parametrize("reason", ["switched off", "one epoch", "no curves", "no order before the end"])
def test_without_a_reason_nothing_stops_early(reason: str):
    horizon = Horizon(fidelity=1, schedule_epochs=1, shape=SHAPE) if reason == "one epoch" else HORIZON
    controller = NARS(Widths(), [ACCURACY], seed=0, horizon=horizon, **SMALL, early_stopping=reason != "switched off")
    for _ in range(20):
        candidate = ask(controller)
        assert candidate.fidelity == horizon.fidelity
        outcome = finished(controller.space, candidate, at=EPOCHS)
        if reason == "no curves":
            outcome = Outcome(outcome.trial, candidate, outcome.status, outcome.metrics)
        controller.tell(outcome)
    assert controller.stopping.epoch is None


@pytest.mark.parametrize("goal", [ACCURACY, ERROR], ids=["maximised", "minimised"])
def test_labels_are_read_at_the_epoch(goal: Goal):
    controller = widths(goal)
    asked = search(controller, 13, goal=goal)
    assert [c.fidelity for c in asked[:6]] == [8, 8, 8, 8, 8, 5]
    plan = controller._plan(2)
    assert (plan.epoch, plan.told, plan.unit) == (5, 12, Unit(goal.maximize, 1.0, 0.0, 100.0))
    expected = {c.genotype: quality(controller.space, c.genotype) - 10 + 4 for c in asked[:12]}
    sign, offset = (1.0, 0.0) if goal == ACCURACY else (1.0, -100.0)
    assert dict(zip(plan.labels.genotypes, plan.labels.values.tolist(), strict=True)) == pytest.approx(
        {genotype: sign * value + offset for genotype, value in expected.items()}
    )


def test_winners_train_to_the_end_even_after_an_early_stop_and_once():
    members = [Widths().sample(np.random.default_rng(i)) for i in range(14)]
    controller = widths(space=RestrictedSpace(Widths(), members), share=0.5)
    seen: dict[Genotype, list[int]] = {}
    while (candidate := controller.propose()) is not None:
        seen.setdefault(candidate.genotype, []).append(candidate.fidelity)
        controller.tell(finished(controller.space, candidate))
    assert controller.propose() is None
    assert set(seen) == set(members)
    assert {tuple(fidelities) for fidelities in seen.values()} == {(EPOCHS,), (5, EPOCHS)}


# ---- constraints ----------------------------------------------------------------------------------------------------


def test_every_proposal_keeps_to_the_range_and_every_winner_to_its_budget():
    budgets = [110.0, 160.0, 130.0]
    controller = widths(flops_range=[80, 180], budgets=budgets)
    asked = search(controller, 34, workers=3)
    assert all(80 <= flops(candidate) <= 180 for candidate in asked)
    winners = [c for c in asked if c.origin["stage"] == "evolved"]
    assert len(winners) == 16
    for batch in range(4):
        members = [c for c in asked if c.origin["round"] == 3 + batch]
        assert [c.origin["budget"] for c in members] == [budgets[i % 3] for i in range(4)], "each in turn"
    assert all(flops(candidate) <= candidate.origin["budget"] for candidate in winners)


def test_constraints_of_the_search_hold_for_winners_too():
    joint = JointSpace(architecture=Widths(), recipe=RECIPE)
    space = ConstrainedSpace(joint, ["params <= 30", "flops > 60"], SHAPE)
    controller = widths(space=space)
    for _ in range(30):
        candidate = ask(controller)
        cost = joint.cost(candidate.genotype, SHAPE)
        assert cost.params <= 30 and cost.flops > 60
        assert candidate.recipe == joint.recipe(candidate.genotype)
        controller.tell(finished(space, candidate))


def test_winners_beat_what_was_known_under_their_budget():
    gains = []
    for seed in range(3):
        controller = widths(seed=seed, bins=12, budgets=[120.0], pool=500)
        asked = search(controller, 44)
        found = {True: 0.0, False: 0.0}
        for candidate in asked:
            if flops(candidate) <= 120:
                late = candidate.origin["stage"] == "evolved"
                found[late] = max(found[late], quality(controller.space, candidate.genotype))
        gains.append(found[True] - found[False])
    assert np.mean(gains) > 0, gains


def test_recipes_alone_have_no_bins():
    space = JointSpace(architecture=RestrictedSpace(Widths(), [(3,) * 6 + (0,)]), recipe=RECIPE)
    controller = widths(space=space, mode="paper", rounds=None, bins=4)
    assert controller.rounds == 4
    asked = [ask(controller) for _ in range(4)]
    good = {"sgd": 1.0, "adam": 0.0}
    for candidate in asked:
        value = 60 + 5 * good[candidate.recipe["optimizer"]] + 2 * candidate.recipe["ema"]
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, {"val_accuracy": value}))
    second = [ask(controller) for _ in range(4)]
    assert not any("bin" in c.origin for c in [*asked, *second])
    ranked = controller.ranked
    means, _ = controller.predictor.predict([c.genotype for c in second])
    left = [g for g, asked_at in zip(ranked.pool.genotypes, ranked.asked, strict=True) if not asked_at]
    assert means.tolist() == sorted(means, reverse=True)
    assert means.min() >= controller.predictor.predict(left)[0].max(), "the best four of all"


# ---- replay and cost ------------------------------------------------------------------------------------------------


class Fits:
    """Counts the fits and pretrainings of every predictor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fits = self.pretrainings = 0
        fit, pretrain = AccuracyPredictor.fit, AccuracyPredictor.pretrain

        def counted_fit(predictor, *args):
            self.fits += 1
            return fit(predictor, *args)

        def counted_pretraining(predictor, *args):
            self.pretrainings += 1
            return pretrain(predictor, *args)

        monkeypatch.setattr(AccuracyPredictor, "fit", counted_fit)
        monkeypatch.setattr(AccuracyPredictor, "pretrain", counted_pretraining)


def test_a_round_is_one_fit_and_a_replay_too(monkeypatch: pytest.MonkeyPatch):
    counts = Fits(monkeypatch)
    original = widths()
    asked = search(original, 60, workers=3)
    assert (counts.fits, counts.pretrainings) == (2 + 11, 1)
    copy = widths()
    for candidate in asked:
        copy.adopt(candidate)
    for outcome in original.outcomes:
        copy.tell(outcome)
    assert (counts.fits, counts.pretrainings) == (13, 1), "nothing is learnt before the first proposal"
    assert copy.propose() == original.propose()
    assert counts.pretrainings == 2 and counts.fits <= 15


def test_a_replay_in_the_middle_of_a_round_goes_on_with_its_plan():
    for end in (5, 6, 11, 19, 24):
        original = widths()
        asked = search(original, end, workers=4)
        copy = widths()
        for outcome in original.outcomes:
            copy.tell(outcome)
        for candidate in reversed(asked):
            copy.adopt(candidate)
        for _ in range(3):
            expected = original.propose()
            assert copy.propose() == expected
        assert copy.stopping.epoch == original.stopping.epoch


def test_first_architectures_of_a_specification_have_no_origin_of_ours():
    controller = widths()
    for number in range(3):
        controller.adopt(Candidate(number, (number,) * 6 + (0,), fidelity=EPOCHS, schedule_epochs=12))
    asked = search(controller, 20)
    assert asked[0].ask_number == 3 and asked[0].origin["round"] == 0
    assert not {(number,) * 6 + (0,) for number in range(3)} & {c.genotype for c in asked}


# ---- explanations ---------------------------------------------------------------------------------------------------


def test_there_is_nothing_to_explain_at_first():
    assert dict(widths().explain()) == {}


@pytest.mark.parametrize("goal", [ACCURACY, ERROR], ids=["maximised", "minimised"])
def test_explanations(goal: Goal):
    controller = widths(goal)
    asked = search(controller, 22, goal=goal)
    tables = controller.explain()
    stages = tables["stages"]
    assert stages["round"].tolist() == [0, 1, 2, 3]
    assert stages["stage"].tolist() == ["space_filling", "predicted", "predicted", "evolved"]
    assert stages["told"].tolist() == [0, 6, 12, 18]
    assert stages["completed"].tolist() == [6, 6, 6, 4] and not stages["failed"].any()
    best = [
        (max if goal == ACCURACY else min)(o.metrics[goal.name] for o in controller.outcomes[a:b])
        for a, b in ((0, 6), (6, 12), (12, 18), (18, 22))
    ]
    assert stages["best"].tolist() == best

    predictor = tables["predictor"]
    assert predictor["trial"].tolist() == list(range(6, 22)) and set(predictor["epoch"]) == {5}
    by_trial = {c.ask_number: c for c in asked}
    for row in predictor.itertuples():
        end = quality(controller.space, by_trial[row.trial].genotype) - 10 + 4
        assert row.observed == pytest.approx(end if goal == ACCURACY else 100 - end)
        assert row.predicted == by_trial[row.trial].origin["predicted"]["mean"]
    assert predictor["predicted"].between(0, 100).all()
    assert predictor["predicted"].corr(predictor["observed"]) > 0

    stopping = tables["early_stopping"]
    assert stopping["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert stopping.loc[stopping["chosen"], "epoch"].tolist() == [5]
    assert stopping["correlation"].tolist()[4:] == pytest.approx([1.0] * 4)
    assert stopping["correlation"].tolist()[3] < 0.92 and set(stopping["curves"]) == {5}


def test_what_stopped_before_the_predicted_epoch_is_no_check_of_the_prediction():
    """The second round is planned before the epoch is decided: predictions of the end, trials that stop earlier."""
    controller = widths(bins=8, share=0.75, rounds=2)
    asked = search(controller, 20, workers=4)
    assert [c.fidelity for c in asked[:16]] == [EPOCHS] * 9 + [5] * 7
    assert [c.origin["predicted"]["epoch"] for c in asked[8:]] == [EPOCHS] * 8 + [5] * 4
    checked = controller.explain()["predictor"]
    assert checked["trial"].tolist() == [8, 16], "three of the last four still train"


def test_fractions_are_predicted_as_fractions():
    controller = widths(early_stopping=False)
    for _ in range(12):
        candidate = ask(controller)
        value = quality(controller.space, candidate.genotype) / 100
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, {"val_accuracy": value}))
    assert controller.explain()["predictor"]["predicted"].between(0.3, 1.0).all()


def test_no_candidate_is_said_to_be_better_than_perfect_and_ranks_are_by_more(monkeypatch: pytest.MonkeyPatch):
    def beyond(predictor, genotypes):
        return 101.0 + np.array(genotypes).sum(axis=1), np.ones(len(genotypes))

    controller = widths(early_stopping=False)
    known = search(controller, 6)
    monkeypatch.setattr(AccuracyPredictor, "predict", beyond)
    for candidate in (ask(controller) for _ in range(6)):
        assert candidate.origin["predicted"]["mean"] == 100.0
        in_bin = np.flatnonzero(controller.ranked.bins == candidate.origin["bin"])
        others = {controller.ranked.pool.genotypes[place] for place in in_bin} - {one.genotype for one in known}
        assert sum(candidate.genotype) == max(map(sum, others))


@pytest.mark.parametrize("clip", [True, False])
def test_the_predictor_learns_that_a_network_at_chance_is_poor_and_not_how_poor(
    clip: bool, monkeypatch: pytest.MonkeyPatch
):
    learnt: list[float] = []
    fit = AccuracyPredictor.fit

    def recorded(predictor, genotypes, values):
        learnt.extend(values.tolist())
        return fit(predictor, genotypes, values)

    monkeypatch.setattr(AccuracyPredictor, "fit", recorded)
    controller = widths(clip=clip, early_stopping=False)
    told = [10.0, 90.0, 91.0, 92.0, 93.0, 94.0]
    for value in told:
        candidate = ask(controller)
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, {"val_accuracy": value}))
    assert ask(controller).origin["stage"] == "predicted"
    assert learnt == [91.5 - 10 if clip else 10.0, *told[1:]]


# ---- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"mode": "fast"}, "mode"),
        ({"pool": 1}, "pool"),
        ({"pool": 2e4}, "pool"),
        ({"flops_range": 4e8}, "flops_range"),
        ({"flops_range": [8e8, 4e8]}, "flops_range"),
        ({"flops_range": [4e8]}, "flops_range"),
        ({"flops_range": [0, 4e8]}, "flops_range"),
        ({"bins": 0}, "bins"),
        ({"rounds": True}, "rounds"),
        ({"first_round": "sobol"}, "first_round"),
        ({"members": 0}, "members"),
        ({"clip": 1}, "clip"),
        ({"frozen": "no"}, "frozen"),
        ({"caution": -1.0}, "caution"),
        ({"caution": float("inf")}, "caution"),
        ({"early_stopping": 1}, "early_stopping"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.1}, "threshold"),
        ({"share": 0}, "share"),
        ({"share": "most"}, "share"),
        ({"winners": 0}, "winners"),
        ({"budgets": [4e8, 4e8]}, "budgets"),
        ({"budgets": [-1.0]}, "budgets"),
        ({"budgets": 4e8}, "budgets"),
        ({"budgets": "4e8"}, "budgets"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, object], field: str):
    with pytest.raises(SpecError, match=f"controller.params.{field}"):
        NARS(Widths(), [ACCURACY], seed=0, **params)  # type: ignore[arg-type]


def test_a_budget_below_everything_is_told_before_anything_trains():
    with pytest.raises(SpecError, match=r"budgets.*at most 5 FLOPs.*at least \d"):
        widths(budgets=[100.0, 5.0]).propose()


# ---- a cluster ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> TabularTask:
    """Made-up accuracies and durations of all cells."""
    import pyarrow as pa

    genotypes = list(CELLS.enumerate())
    array, dice = np.array(genotypes), np.random.default_rng(0)
    weights = dice.normal(size=(6, 5))
    accuracy = 80 + weights[np.arange(6), array].sum(axis=1) + dice.normal(scale=0.2, size=len(array))
    columns = {
        "arch": [CELLS.format(genotype) for genotype in genotypes],
        "accuracy": accuracy,
        "seconds": 10.0 + 20.0 * dice.random(len(array)),
    }
    return TabularTask(pa.table(columns), space=CELLS, objectives={"val_accuracy": "accuracy"}, duration_s="seconds")


def test_eight_workers_never_wait_and_the_simulation_repeats(table: TabularTask):
    params = {**SMALL, "bins": 12, "winners": 12}
    frame = simulate("nars", table, trials=70, workers=8, seed=0, params=params)
    assert len(frame) == 70
    for _, trials in frame.groupby("worker"):
        begins, ends = np.sort(trials["asked_at_s"].to_numpy()), np.sort(trials["finished_at_s"].to_numpy())
        assert begins[0] == 0.0
        assert begins[1:].tolist() == ends[:-1].tolist(), "the next trial begins when the last one ends"
    again = simulate("nars", table, trials=70, workers=8, seed=0, params=params)
    assert again.equals(frame)
    other = simulate("nars", table, trials=70, workers=8, seed=1, params=params)
    assert not other["genotype"].equals(frame["genotype"])


def test_it_finds_more_than_chance(table: TabularTask):
    found = {
        name: [
            simulate(name, table, trials=60, workers=8, seed=seed, params=params)["val_accuracy"].max()
            for seed in range(3)
        ]
        for name, params in (("nars", {**SMALL, "pool": 1_000, "bins": 12, "winners": 12}), ("random_search", {}))
    }
    assert np.mean(found["nars"]) > np.mean(found["random_search"]) + 0.5, found


@pytest.mark.skipif("XNAS_DATA" not in os.environ, reason="XNAS_DATA is not set")
def test_it_finds_more_than_chance_at_equal_flops_on_nasbench201():
    """What it is for: the best of small and of large cells; chance meets few small ones."""
    path = Path(os.environ["XNAS_DATA"]) / "nasbench201.parquet"
    task = TabularTask.from_parquet(path, objectives={"val_accuracy": "cifar10_val_200"})
    shape = Horizon().shape
    budgets = np.quantile(task.space.costs(list(task.space.enumerate()), shape)[0], [0.1, 0.25, 0.5, 0.75]).tolist()

    def best(name: str, seed: int, params: dict[str, Any]) -> float:
        frame = simulate(name, task, trials=96, workers=8, seed=seed, params=params)
        spent = task.space.costs(frame["genotype"].tolist(), shape)[0]
        return float(np.mean([frame["val_accuracy"][spent <= budget].max() for budget in budgets]))

    params = {"bins": 12, "rounds": 4, "budgets": budgets, "winners": 24, "members": 2}
    found = [best("nars", seed, params) for seed in range(3)]
    chance = [best("random_search", seed, {}) for seed in range(3)]
    assert np.mean(found) > np.mean(chance), (found, chance)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_encoder_stands_still_where_it_is_asked_to(frozen: bool):
    assert widths(frozen=frozen).ranked.predictor.frozen is frozen
