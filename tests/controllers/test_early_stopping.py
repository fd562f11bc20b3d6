"""When a ranking is known: against scipy's Spearman and the definition, and what ties and gaps come to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr

from xnas_ray.controllers.early_stopping import rank_correlations, stopping_epoch
from xnas_ray.errors import SpecError

FEW_VALUES = st.integers(0, 4).map(float)  # so that there are ties
CURVES = arrays.arrays(float, st.tuples(st.integers(3, 8), st.integers(1, 10)), elements=FEW_VALUES)
LAST = [1.0, 2.0, 3.0, 4.0]


def by_definition(curves: np.ndarray, threshold: float) -> int:
    """The rule, epoch by epoch; a correlation that scipy does not define does not reach any threshold."""
    found = []
    for epoch in range(curves.shape[1]):
        constant = np.ptp(curves[:, epoch]) == 0 or np.ptp(curves[:, -1]) == 0
        found.append(0.0 if constant else float(spearmanr(curves[:, epoch], curves[:, -1]).statistic))
    for epoch in range(1, curves.shape[1] + 1):
        if all(value >= threshold - 1e-9 for value in found[epoch - 1 :]):
            return epoch
    return curves.shape[1]


@given(CURVES, st.sampled_from([0.3, 0.5, 0.92, 1.0]))
def test_it_is_the_rule(curves: np.ndarray, threshold: float):
    assert stopping_epoch(curves, threshold) == by_definition(curves, threshold)


@given(CURVES, st.randoms())
def test_neither_order_nor_scale_matters(curves: np.ndarray, random):
    rows = list(range(len(curves)))
    random.shuffle(rows)
    found = stopping_epoch(curves)
    assert stopping_epoch(curves[rows]) == found
    assert stopping_epoch(100 - 3 * curves) == found  # errors rank like accuracies
    assert stopping_epoch(np.exp(curves)) == found


@given(CURVES)
def test_a_higher_threshold_never_stops_sooner(curves: np.ndarray):
    epochs = [stopping_epoch(curves, threshold) for threshold in (0.2, 0.5, 0.8, 0.92, 1.0)]
    assert epochs == sorted(epochs)
    assert epochs[0] >= 1 and epochs[-1] <= curves.shape[1]


def test_a_ranking_that_is_lost_again_was_not_known():
    right, wrong = LAST, LAST[::-1]
    curves = np.array([right, wrong, right, wrong, right, right, right]).T
    assert stopping_epoch(curves) == 5
    assert stopping_epoch(np.array([right] * 6).T) == 1
    assert stopping_epoch(np.array([wrong, wrong, right]).T) == 3


def test_a_planted_epoch_is_found():
    """Order settles by and by: neighbours of twenty networks change places until epoch 60 of 100."""
    dice = np.random.default_rng(0)
    final = np.linspace(60, 80, 20)
    noise = np.maximum(0, 60 - np.arange(1, 101))[:, None] / 60 * dice.normal(0, 15, (100, 20))
    curves = (final + noise).T
    assert 40 <= stopping_epoch(curves) <= 59
    assert stopping_epoch(curves, 1.0) <= 60
    np.testing.assert_allclose(
        rank_correlations(curves), [spearmanr(column, final).statistic for column in curves.T], atol=1e-12
    )


def test_equal_networks_rank_nothing():
    constant_start = np.array([[5.0] * 4, LAST, LAST]).T
    assert rank_correlations(constant_start).tolist() == pytest.approx([0, 1, 1])
    assert stopping_epoch(constant_start) == 2
    assert stopping_epoch(np.full((6, 9), 10.0)) == 9
    equal_end = np.array([LAST, LAST, [5.0] * 4]).T
    assert stopping_epoch(equal_end) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_few_curves_are_no_reason_to_stop(count: int):
    assert stopping_epoch(np.tile(np.arange(7.0), (count, 1))) == 7
    assert not rank_correlations(np.tile(np.arange(7.0), (count, 1))).any()


def test_nothing_has_no_epoch():
    assert stopping_epoch([]) == 0
    assert stopping_epoch(np.zeros((4, 0))) == 0


def test_curves_that_are_not_whole_do_not_count():
    whole = [[1.0, 1.0, 1.0], [3.0, 2.0, 2.0], [2.0, 3.0, 3.0], [4.0, 4.0, 4.0]]
    broken = [[9.0], [9.0, -9.0], [9.0, math.nan, 0.0], [math.nan, math.nan, 9.0], []]
    assert stopping_epoch(whole) == 2
    assert stopping_epoch([*broken, *whole]) == 2
    np.testing.assert_array_equal(rank_correlations([*broken, *whole]), rank_correlations(whole))
    assert stopping_epoch([*whole[:2], *broken]) == 3
    padded = np.array([[1.0, math.nan, math.nan], *whole])
    assert stopping_epoch(padded) == 2


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, math.nan])
def test_thresholds_out_of_range_are_refused(threshold: float):
    with pytest.raises(SpecError, match="threshold"):
        stopping_epoch(np.ones((3, 3)), threshold)
