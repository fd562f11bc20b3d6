"""Figures of calibration, on predictions whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from xnas_ray.surrogates.calibration import coverage, interval_factor, nlpd, spearman


def test_nlpd_is_the_mean_density():
    y, mean, variance = np.array([0.0, 1.0, -2.0]), np.array([0.1, 0.5, 0.0]), np.array([1.0, 0.2, 3.0])
    assert nlpd(y, mean, variance) == pytest.approx(-norm(mean, np.sqrt(variance)).logpdf(y).mean())


@pytest.mark.parametrize(("spread", "factor"), [(1.0, 1.0), (3.0, 1 / 3), (0.5, 2.0)])
def test_intervals_are_stretched_to_cover_what_they_say(spread: float, factor: float):
    dice = np.random.default_rng(0)
    y, mean, variance = dice.standard_normal(20_000), np.zeros(20_000), np.full(20_000, spread**2)
    found = interval_factor(y, mean, variance)
    assert found == pytest.approx(factor, rel=0.03)
    assert coverage(y, mean, found**2 * variance) == pytest.approx(0.9, abs=0.005)


def test_rank_correlation_is_that_of_ranks():
    assert spearman(np.array([1.0, 2.0, 30.0, 4.0]), np.array([0.1, 0.2, 0.4, 0.3])) == pytest.approx(1.0)
    assert spearman(np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(-0.5)
    assert np.isnan(spearman(np.ones(3), np.arange(3.0))) and np.isnan(spearman(np.arange(3.0), np.ones(3)))


def test_few_targets_tell_nothing():
    assert interval_factor(np.ones(5), np.zeros(5), np.ones(5)) == 1.0


def test_new_targets_are_covered_as_often_as_said():
    dice = np.random.default_rng(1)
    covered = []
    for _ in range(2000):
        seen, new = dice.standard_normal(30), dice.standard_normal(1)
        factor = interval_factor(seen, np.zeros(30), np.full(30, 0.3))
        covered.append(coverage(new, np.zeros(1), np.full(1, 0.3 * factor**2)))
    assert 0.88 < float(np.mean(covered)) < 0.93
