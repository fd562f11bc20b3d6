"""Designs: the best that the predictor knows within a budget, their units, and how far they can be trusted."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.design import Budget, Designer
from xnas_ray.controllers.design_evidence import LEVEL, Evidence
from xnas_ray.controllers.nars_labels import Labels, clipped
from xnas_ray.errors import ExplanationError, SpecError
from xnas_ray.messages import Candidate, Cost, Failure, FailureKind, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.fixed import FixedSpace
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor

SHAPE = DataShape(((3, 8, 8),), 10)
ACCURACY, ERROR = Goal("val_accuracy", True), Goal("val_error", False)


class Widths(Space):
    """Four widths of five channels, and a kind that changes no cost: 1,875 architectures, all of them listed below."""

    name = "widths"
    builder = "nowhere:build"
    choices = (*(Choice(f"w{i}", tuple(range(1, 6)), ordered=True) for i in range(4)), Choice("kind", ("a", "b", "c")))

    def key(self, genotype):
        return str(genotype)

    def graphs(self, genotype):
        raise NotImplementedError

    def cost(self, genotype, shape):
        return Cost(sum((i + 1) ** 2 for i in genotype[:4]), sum(genotype[:4]) + 4)

    def format(self, genotype):
        return "-".join(map(str, genotype))

    def parse(self, text):
        return tuple(map(int, text.split("-")))


EVERY: list[Genotype] = [(*w, k) for w in itertools.product(range(5), repeat=4) for k in range(3)]
COSTS = {genotype: Widths().cost(genotype, SHAPE) for genotype in EVERY}


def quality(genotype: Genotype) -> float:
    """Percent: wide is better, and kind b."""
    return 60 + 10 * math.log(sum(genotype[:4]) + 2) + 4 * (genotype[4] == 1)


def evidence(count: int = 60, *, goal: Goal = ACCURACY, scale: float = 1.0, noise: bool = False, **changes) -> Evidence:
    dice = np.random.default_rng(3)
    chosen = tuple(EVERY[i] for i in dice.choice(len(EVERY), size=count, replace=False))
    values = dice.normal(80, 5, size=count) if noise else np.array([quality(genotype) for genotype in chosen])
    labels = Labels(chosen, values * scale)
    return dataclasses.replace(Evidence(labels, tuple(range(100, 100 + count)), frozenset(), goal, None), **changes)


def designer(given: Evidence | None = None, *, space: Space | None = None, **settings: Any) -> Designer:
    settings = {"members": 2, "pool": 300, "seed": 0, **settings}
    return Designer(space or Widths(), SHAPE, given or evidence(), **settings)


@pytest.fixture(scope="module")
def usual() -> Designer:
    return designer()


# ---- what is designed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flops", [20, 35, 100])
def test_nothing_within_the_budget_is_predicted_to_be_better(usual, flops):
    """Brute force: the predictor's own opinion of every architecture that the budget leaves."""
    allowed = [genotype for genotype in EVERY if COSTS[genotype].flops <= flops]
    means, stds = usual.predictor.predict(allowed)
    best = int(np.argmax(means))
    first, *rest = usual.design(Budget(flops=flops), 5)
    assert first.genotype == allowed[best]
    assert (first.predicted, first.std) == pytest.approx((means[best], usual.held_out.factor * stds[best]))
    assert [first.predicted, *(one.predicted for one in rest)] == pytest.approx(np.sort(means)[::-1][:5])


def test_caution_takes_the_spread_off():
    cautious = designer(caution=3.0, members=4)
    allowed = [genotype for genotype in EVERY if COSTS[genotype].flops <= 40]
    means, stds = cautious.predictor.predict(allowed)
    stds *= cautious.held_out.factor
    (found,) = cautious.design(Budget(flops=40), 1)
    assert found.predicted - 3 * found.std == pytest.approx((means - 3 * stds).max())


@pytest.mark.parametrize("budget", [Budget(30), Budget(None, 10), Budget(40, 11), Budget()])
def test_budgets_and_the_searchs_own_constraints_hold(budget):
    space = ConstrainedSpace(Widths(), ["flops >= 12", "params >= 9"], SHAPE)
    labels = evidence().labels
    inside = [i for i, genotype in enumerate(labels.genotypes) if space.is_valid(genotype)]
    known = Labels(tuple(labels.genotypes[i] for i in inside), labels.values[inside])
    made = designer(dataclasses.replace(evidence(), labels=known, trials=tuple(inside)), space=space)
    for one in made.design(budget, 20):
        cost = COSTS[one.genotype]
        assert (one.flops, one.params) == (cost.flops, cost.params)
        assert cost.flops >= 12 and cost.params >= 9
        assert cost.flops <= (budget.flops or math.inf) and cost.params <= (budget.params or math.inf)


def test_a_budget_that_no_draw_of_the_pool_meets():
    """Four of 1,875 architectures: the pool's cheapest evolve towards them."""
    made = designer(pool=20)
    assert made.pool.flops.min() > 5
    found = made.design(Budget(flops=4), 5)
    assert {one.genotype for one in found} == {(0, 0, 0, 0, kind) for kind in range(3)}


def test_a_budget_below_everything_says_what_there_is(usual):
    with pytest.raises(SpecError, match=r"flops: no architecture with at most 3 FLOPs.*nearest has 4 FLOPs and 4 par"):
        usual.design(Budget(flops=3), 1)


def test_what_failed_is_no_design():
    best = designer().design(Budget(flops=30), 3)
    failed = frozenset(str(one.genotype) for one in best[:2])
    again = designer(evidence(failed=failed)).design(Budget(flops=30), 3)
    assert again[0].genotype == best[2].genotype and not failed & {str(one.genotype) for one in again}


# ---- units -----------------------------------------------------------------------------------------------------------


def test_what_is_minimised_has_its_own_sign(usual):
    """Labels of a minimised objective come with their sign changed; designs are the same, in its unit."""
    given = evidence(goal=ERROR)
    given = dataclasses.replace(given, labels=Labels(given.labels.genotypes, given.labels.values - 100))
    errors = designer(given).design(Budget(flops=30), 3)
    for error, accuracy in zip(errors, usual.design(Budget(flops=30), 3), strict=True):
        assert error.genotype == accuracy.genotype
        assert error.predicted == pytest.approx(100 - accuracy.predicted)
        assert error.std == pytest.approx(accuracy.std)
        for near in error.neighbours:
            assert near.measured == pytest.approx(100 - quality(near.genotype))


def test_fractions_are_answered_in_fractions(usual):
    shares = designer(evidence(scale=0.01))
    percents = usual.design(Budget(flops=30), 3)
    for share, percent in zip(shares.design(Budget(flops=30), 3), percents, strict=True):
        assert (share.predicted, share.std) == pytest.approx((percent.predicted / 100, percent.std / 100))
    assert shares.held_out.error == pytest.approx(usual.held_out.error / 100)
    assert shares.held_out.spearman == pytest.approx(usual.held_out.spearman)


# ---- what is learnt --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [True, False])
def test_labels_are_clipped_as_nars_clips_them(clip, monkeypatch):
    """Of every fold, and by the same function."""
    given = evidence(40)
    values = given.labels.values.copy()
    values[[3, 11]] = 10.0
    given = dataclasses.replace(given, labels=Labels(given.labels.genotypes, values))
    learnt: list[np.ndarray] = []
    fit = AccuracyPredictor.fit

    def recorded(predictor, genotypes, percents):
        learnt.append(percents)
        return fit(predictor, genotypes, percents)

    monkeypatch.setattr(AccuracyPredictor, "fit", recorded)
    made = designer(given, clip=clip)
    assert len(learnt) == made.held_out.folds + 1
    expected = clipped(values, 10.0) if clip else values
    assert learnt[-1].tolist() == expected.tolist() and (learnt[-1].min() > 50) == clip
    assert all((some.min() > 50) == clip for some in learnt if clip or 10.0 in some)


def test_networks_at_chance_spoil_the_ranking_unless_their_labels_are_clipped():
    given = evidence(60)
    values = given.labels.values.copy()
    values[::7] = 10.0
    given = dataclasses.replace(given, labels=Labels(given.labels.genotypes, values))
    truth = np.array([quality(genotype) for genotype in EVERY])
    ranks = {
        clip: spearmanr(designer(given, clip=clip).predictor.predict(EVERY)[0], truth).statistic
        for clip in (True, False)
    }
    assert ranks[True] > ranks[False]


def test_no_design_is_said_to_be_better_than_perfect_and_ranks_are_by_more(monkeypatch):
    made = designer()

    def beyond(genotypes):
        return 101.0 + np.array(genotypes).sum(axis=1), np.ones(len(genotypes))

    monkeypatch.setattr(made.predictor, "predict", beyond)
    found = made.design(Budget(flops=40), 5)
    assert [one.predicted for one in found] == [100.0] * 5
    sums = sorted((sum(genotype) for genotype in EVERY if COSTS[genotype].flops <= 40), reverse=True)
    assert [sum(one.genotype) for one in found] == sums[:5]


def test_errors_on_held_out_labels_are_of_what_is_stated(monkeypatch):
    """Everything is predicted to be 130 %: what is said, 100 %, is wrong by what is missing there."""
    monkeypatch.setattr(
        AccuracyPredictor, "predict", lambda self, genotypes: (np.full(len(genotypes), 130.0), np.zeros(len(genotypes)))
    )
    given = evidence(20)
    assert designer(given).held_out.error == pytest.approx((100 - given.labels.values).mean())


# ---- what is said beside ---------------------------------------------------------------------------------------------


def test_evaluated_designs_have_their_trial_and_neighbours_are_the_nearest(usual):
    labels, rows = usual.evidence.labels, usual.predictor.encoding
    for one in usual.design(Budget(flops=45), 25, neighbours=4):
        at = {genotype: i for i, genotype in enumerate(labels.genotypes)}.get(one.genotype)
        assert (one.trial, one.measured) == ((None, None) if at is None else (100 + at, labels.values[at]))
        distances = np.linalg.norm(rows.encode(labels.genotypes) - rows.encode([one.genotype]), axis=1)
        others = np.sort(np.delete(distances, at) if at is not None else distances)[:4]
        assert [near.distance for near in one.neighbours] == pytest.approx(others)
        for near in one.neighbours:
            assert near.genotype != one.genotype and near.measured == quality(near.genotype)
            assert labels.genotypes[near.trial - 100] == near.genotype
    assert any(one.trial is not None for one in usual.design(Budget(flops=15), 60))


def test_held_out_labels_are_held_out(usual):
    """What can be learnt is predicted better than by the mean; noise is not, though the fit itself can follow it."""
    assert usual.held_out.spearman > 0.9 and usual.held_out.error < 0.5 * usual.held_out.baseline
    noisy = designer(evidence(noise=True))
    assert abs(noisy.held_out.spearman) < 0.4 and noisy.held_out.error > 0.8 * noisy.held_out.baseline
    fitted, _ = noisy.predictor.predict(noisy.evidence.labels.genotypes)
    assert spearmanr(fitted, noisy.evidence.labels.values).statistic > 0.6


def test_standard_deviations_are_widened_by_what_held_out_labels_say(monkeypatch):
    """Members that agree within half a point, and labels that are 1, 2, … 20 points away: 15 of 21 are 68 %."""
    given = evidence(20)
    of = {genotype: 50.0 + i + 1 for i, genotype in enumerate(given.labels.genotypes)}
    labels = Labels(given.labels.genotypes, np.array(list(of.values())))

    def fifty(predictor, genotypes):
        return np.full(len(genotypes), 50.0), np.full(len(genotypes), 0.5)

    monkeypatch.setattr(AccuracyPredictor, "predict", fifty)
    made = designer(dataclasses.replace(given, labels=labels))
    reach = norm.ppf(0.5 + LEVEL / 2)
    assert made.held_out.factor == pytest.approx(15 / 0.5 / reach) and reach == pytest.approx(1, abs=1e-3)
    assert made.design(Budget(), 1)[0].std == pytest.approx(15 / reach)


def test_stated_deviations_hold_what_they_say():
    """On labels with noise, which members that learn from the same ones hardly see."""
    dice = np.random.default_rng(5)
    given = evidence(80)
    noisy = Labels(given.labels.genotypes, given.labels.values + dice.normal(0, 1.5, size=80))
    made = designer(dataclasses.replace(given, labels=noisy), members=4)
    others = [genotype for genotype in EVERY if genotype not in set(noisy.genotypes)]
    truth = np.array([quality(genotype) for genotype in others]) + dice.normal(0, 1.5, size=len(others))
    means, stds = made.predictor.predict(others)
    raw, stated = (np.mean(np.abs(means - truth) <= k * stds) for k in (1.0, made.held_out.factor))
    assert raw < 0.5 and abs(stated - LEVEL) < 0.15


def test_one_member_has_no_deviation_to_widen():
    alone = designer(members=1)
    assert alone.held_out.factor == 1.0 and alone.design(Budget(flops=30), 1)[0].std == 0.0


def test_the_baseline_is_the_mean_of_the_others():
    """Four labels are four folds: leave one out, which is easily done by hand."""
    values = np.array([70.0, 80.0, 86.0, 90.0])
    given = evidence(4)
    made = designer(dataclasses.replace(given, labels=Labels(given.labels.genotypes, values)))
    assert made.held_out.folds == 4
    assert made.held_out.baseline == pytest.approx(np.mean([abs(v - (values.sum() - v) / 3) for v in values]))


def test_labels_that_do_not_vary_have_no_rank_correlation():
    given = evidence(8)
    constant = Labels(given.labels.genotypes, np.full(8, 75.0))
    assert math.isnan(designer(dataclasses.replace(given, labels=constant)).held_out.spearman)


def test_answers_do_not_depend_on_each_other(usual):
    once = [usual.design(Budget(flops=limit), 5) for limit in (25, 50)]
    other = designer()
    assert [other.design(Budget(flops=limit), 5) for limit in (50, 25)] == once[::-1]
    assert designer(seed=1).pool.genotypes != other.pool.genotypes


# ---- evidence --------------------------------------------------------------------------------------------------------


def outcome(trial: int, genotype: Genotype, curve: list[float] | None) -> Outcome:
    candidate = Candidate(trial, genotype, fidelity=len(curve or [0]), schedule_epochs=4)
    if curve is None:
        return Outcome(trial, candidate, TrialStatus.FAILED, failure=Failure(FailureKind.NAN))
    records = tuple({"epoch": e + 1.0, "val_accuracy": value} for e, value in enumerate(curve))
    return Outcome(trial, candidate, TrialStatus.COMPLETED, {"val_accuracy": curve[-1]}, records)


def test_evidence_is_read_at_one_epoch_and_knows_its_trials():
    one, two, three, four = EVERY[:4]
    outcomes = [
        outcome(0, one, [10.0, 20.0, 30.0]),
        outcome(1, two, None),
        outcome(2, three, [5.0, 25.0]),
        outcome(3, one, [11.0, 21.0]),
        outcome(4, four, None),
        outcome(5, four, [1.0, 2.0]),
    ]
    read = Evidence.read(outcomes, Widths(), ACCURACY, 2)
    assert read.labels.genotypes == (one, three, four) and read.labels.values.tolist() == [20.0, 25.0, 2.0]
    assert read.trials == (0, 2, 5) and read.failed == {str(two)}
    assert Evidence.read(outcomes, Widths(), ACCURACY, None).labels.values.tolist() == [30.0, 25.0, 2.0]
    assert Evidence.read(outcomes, Widths(), Goal("val_accuracy", False), 2).measured(1) == 25.0


def test_too_few_labels():
    with pytest.raises(ExplanationError, match=r"3 completed trials.*xnas extend"):
        designer(evidence(3))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Budget(flops=0), "flops"),
        (lambda: Budget(params=math.nan), "params"),
        (lambda: designer(pool=4), "pool"),
        (lambda: designer(caution=-1.0), "caution"),
        (lambda: designer(members=0), "members"),
        (lambda: designer(evidence(8)).design(Budget(), 0), "top"),
        (lambda: designer(evidence(8)).design(Budget(), 1, -1), "neighbours"),
        (lambda: designer(space=ConstrainedSpace(Widths(), ["flops <= 1"], SHAPE)), "constraints"),
    ],
)
def test_mistakes_are_named(make, field):
    with pytest.raises(SpecError, match=f"^{field}:"):
        make()


def test_recipes_alone():
    """One architecture: there are no costs to learn, and the best predicted recipe of all 96 is found."""
    cells = NASBench201(cells_per_stage=1, channels=4, stages=1)
    fixed = FixedSpace(architecture=cells, text=cells.format((3,) * 6))
    levels = {"dropout": {"linear": [0.0, 0.5], "levels": 6}, "mixup_alpha": {"linear": [0.1, 0.8], "levels": 8}}
    space = JointSpace(architecture=fixed, recipe={**levels, "optimizer": ["sgd", "adamw"]})
    every = list(space.enumerate())
    dice = np.random.default_rng(0)
    chosen = tuple(every[i] for i in dice.choice(len(every), size=40, replace=False))
    values = np.array([90 - 2 * abs(g[1] - 2) - abs(g[2] - 5) + 3 * (g[3] == 1) for g in chosen], dtype=float)
    made = designer(dataclasses.replace(evidence(40), labels=Labels(chosen, values)), space=space)
    (found,) = made.design(Budget(), 1)
    assert len(every) == 96 and found.predicted == pytest.approx(made.predictor.predict(every)[0].max())
    with pytest.raises(SpecError, match="no architecture with at most 1 FLOPs was found"):
        made.design(Budget(flops=1), 1)
