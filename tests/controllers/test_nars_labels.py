"""Labels of NARS: curves in either direction, the epoch they are read at, and when that epoch is decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nars_labels import EarlyStopping, Labels, clipped, curve, percent_scale, reading
from xnas_ray.messages import Candidate, Failure, FailureKind, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.targets import TargetScale

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
ACCURACY, ERROR = Goal("val_accuracy", maximize=True), Goal("val_error", maximize=False)


def trial(
    number: int,
    values: Sequence[float],
    *,
    fidelity: int | None = None,
    metric: str = "val_accuracy",
    genotype: Genotype = (3, 3, 3, 3, 3, 3),
) -> Outcome:
    """A completed trial with a curve of ``values``."""
    epochs = len(values) if fidelity is None else fidelity
    records = tuple({"epoch": float(i + 1), "train_loss": 0.5, metric: value} for i, value in enumerate(values))
    candidate = Candidate(number, genotype, fidelity=epochs, schedule_epochs=max(epochs, 10))
    return Outcome(number, candidate, TrialStatus.COMPLETED, metrics={metric: float(values[-1])}, curve=records)


def failed(number: int) -> Outcome:
    candidate = Candidate(number, (3, 3, 3, 3, 3, 3), fidelity=4, schedule_epochs=4)
    return Outcome(number, candidate, TrialStatus.FAILED, failure=Failure(FailureKind.NAN))


def test_curves_are_larger_the_better():
    assert curve(trial(0, [10.0, 30.0]), ACCURACY).tolist() == [10.0, 30.0]
    assert curve(trial(0, [90.0, 70.0], metric="val_error"), ERROR).tolist() == [-90.0, -70.0]
    assert curve(trial(0, [10.0, 30.0]), ERROR).tolist() == [-90.0, -70.0], "what accuracy leaves of 100"


def test_curves_that_lack_the_objective_are_none():
    assert curve(trial(0, [1.0, 2.0], metric="val_loss"), ACCURACY) is None
    assert curve(Outcome(0, Candidate(0, (0,) * 6), TrialStatus.COMPLETED, {"val_accuracy": 1.0}), ACCURACY) is None
    whole = trial(0, [1.0, 2.0, 3.0])
    gap = Outcome(0, whole.candidate, whole.status, whole.metrics, ({"epoch": 1.0}, *whole.curve[1:]))
    assert curve(gap, ACCURACY) is None


def test_what_is_read_at_an_epoch():
    outcome = trial(0, [10.0, 20.0, 30.0, 40.0])
    assert [reading(outcome, ACCURACY, epoch) for epoch in (1, 3, 4, None)] == [10.0, 30.0, 40.0, 40.0]
    assert reading(outcome, ACCURACY, 5) is None, "it did not come that far"
    short = trial(0, [10.0, 20.0])
    assert reading(short, ACCURACY, 2) == reading(short, ACCURACY, None) == 20.0
    bare = Outcome(0, outcome.candidate, outcome.status, outcome.metrics)
    assert reading(bare, ACCURACY, None) == 40.0
    assert reading(bare, ACCURACY, 3) is None, "its end does not compare with others' third epoch"
    assert reading(trial(0, [90.0, 60.0], metric="val_error"), ERROR, None) == -60.0


@given(st.lists(st.floats(1e-9, 1e6), min_size=1), st.sampled_from([-1.0, 1.0]))
def test_labels_are_scaled_to_percentage_points(values: list[float], sign: float):
    given = sign * np.array(values)
    scale = percent_scale(given)
    assert np.abs(given * scale).max() > 1
    assert scale == 1.0 or np.abs(given * scale / 100).max() <= 1


def test_percentages_stay_and_fractions_become_percentages():
    assert percent_scale(np.array([3.0, 0.5, 90.0])) == 1.0
    assert percent_scale(np.array([0.03, 0.9, 1.0])) == 100.0
    assert percent_scale(np.array([-0.4])) == 100.0
    assert percent_scale(np.array([0.0, 0.0])) == percent_scale(np.array([])) == 1.0


def test_labels_have_one_of_each_key_and_none_of_failures():
    same = [g for g in SPACE.genotypes() if SPACE.key(g) == SPACE.key((0, 3, 0, 3, 0, 0))]
    assert len(same) > 1
    outcomes = [
        trial(0, [10.0, 20.0, 30.0], genotype=same[0]),
        failed(1),
        trial(2, [11.0, 21.0], genotype=(3, 3, 3, 3, 3, 3)),
        trial(3, [12.0, 22.0], genotype=same[1]),
    ]
    labels = Labels.read(outcomes, SPACE, ACCURACY, 2)
    assert labels.genotypes == (same[0], (3, 3, 3, 3, 3, 3)) and len(labels) == 2
    assert labels.values.tolist() == [20.0, 21.0]
    assert Labels.read([], SPACE, ACCURACY, None).values.shape == (0,)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_clipped_labels_are_those_that_gaussian_processes_are_given(values: list[float]):
    given = np.array(values)
    scale = TargetScale.fit(values, name="score", maximize=True, transform="identity")
    np.testing.assert_allclose(clipped(given), scale.mean + scale.spread * scale.standardise(values), atol=1e-9)


def test_networks_at_chance_are_as_poor_as_the_poorest_that_counts():
    values = np.array([10.0, 95.0, 90.0, 60.0, 92.0, 94.0, 88.0])
    assert clipped(values).tolist() == [85.0, 95.0, 90.0, 85.0, 92.0, 94.0, 88.0], "90 - (95 - 90)"
    assert clipped(values - 1e3).tolist() == (clipped(values) - 1e3).tolist(), "where zero is does not matter"
    mostly = np.array([10.0, 10.0, 10.0, 95.0])
    assert clipped(mostly).tolist() == mostly.tolist(), "nothing is below what most have"
    assert clipped(np.array([])).shape == (0,)


def test_small_networks_of_a_search_that_found_many_good_ones_are_no_failures():
    """Most labels near the best: what is below by more than that is the better part of all small networks."""
    small, good = np.linspace(84.0, 90.0, 20), np.linspace(91.0, 92.0, 40)
    values = np.concatenate([[10.0], small, good])
    assert (clipped(values) > values).sum() == 21, "nothing would be known of small budgets"
    assert (clipped(values, 10.0) > values).sum() == 1
    assert clipped(values, 10.0)[0] == pytest.approx(np.median(values) - 10)


# ---- early stopping -------------------------------------------------------------------------------------------------


def crossing(at: int, epochs: int = 6, count: int = 5) -> list[list[float]]:
    """Curves in reversed order before epoch ``at`` (1-based), in their last order from then on."""
    return [[float(i if epoch + 1 >= at else count - i) + epoch for epoch in range(epochs)] for i in range(count)]


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_the_epoch_is_where_the_ranking_becomes_final(at: int):
    stopping = EarlyStopping(ACCURACY, 6, wanted=5, threshold=0.92)
    for number, values in enumerate(crossing(at)):
        assert stopping.epoch is None and stopping.decided_at is None
        stopping.learn(trial(number, values), number + 1)
    assert (stopping.epoch, stopping.decided_at) == (at, 5)
    assert [stopping.epoch_at(told) for told in (0, 4, 5, 100)] == [None, None, at, at]


def test_curves_whose_ranking_is_known_only_at_the_end_stop_nothing():
    stopping = EarlyStopping(ACCURACY, 6, wanted=5, threshold=0.92)
    for number, values in enumerate(crossing(6)):
        stopping.learn(trial(number, values), number + 1)
    assert stopping.epoch is None and stopping.decided_at == 5


def test_only_complete_curves_of_completed_trials_decide():
    stopping = EarlyStopping(ACCURACY, 6, wanted=5, threshold=0.92)
    curves = crossing(3)
    useless = [failed(10), trial(11, [1.0, 2.0]), trial(12, [1.0, 2.0], fidelity=6), trial(13, [1.0] * 6, metric="r2")]
    told = 0
    for values in curves:
        for outcome in [*useless, trial(told, values)]:
            told += 1
            stopping.learn(outcome, told)
    assert (stopping.epoch, stopping.decided_at, len(stopping.curves)) == (3, 25, 5)


def test_what_is_told_after_the_decision_does_not_change_it():
    stopping = EarlyStopping(ACCURACY, 6, wanted=5, threshold=0.92)
    for number, values in enumerate([*crossing(2), *crossing(5)]):
        stopping.learn(trial(number, values), number + 1)
    assert (stopping.epoch, stopping.decided_at) == (2, 5)


@given(st.permutations(range(5)))
def test_the_order_of_the_curves_does_not_matter(order: list[int]):
    stopping, curves = EarlyStopping(ACCURACY, 6, wanted=5, threshold=0.92), crossing(4)
    for number, i in enumerate(order):
        stopping.learn(trial(number, curves[i]), number + 1)
    assert stopping.epoch == 4


def test_minimised_objectives_decide_alike():
    stopping = EarlyStopping(ERROR, 6, wanted=5, threshold=0.92)
    for number, values in enumerate(crossing(4)):
        stopping.learn(trial(number, [100.0 - v for v in values], metric="val_error"), number + 1)
    assert stopping.epoch == 4


@pytest.mark.parametrize(("fidelity", "wanted"), [(1, 5), (6, 0)])
def test_nothing_is_decided_where_nothing_is_to_be_stopped(fidelity: int, wanted: int):
    stopping = EarlyStopping(ACCURACY, fidelity, wanted=wanted, threshold=0.92)
    for number, values in enumerate(crossing(1, epochs=fidelity)):
        stopping.learn(trial(number, values), number + 1)
    assert stopping.epoch is None and stopping.decided_at is None and not stopping.curves
