"""The Gaussian process in closed form, against dense formulas, scipy's densities and refits without a point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from xnas_ray.surrogates.gram_gp import GramGP, evidence, evidences

SEEDS = st.integers(0, 2**31 - 1)


def made_gram(points: int, seed: int, length: float = 0.5) -> np.ndarray:
    x = np.random.default_rng(seed).random((points, 2))
    return np.exp(-((x[:, None] - x) ** 2).sum(-1) / (2 * length**2))


def density(gram: np.ndarray, y: np.ndarray, ratio: float, scale: float) -> float:
    covariance = scale * (gram + ratio * np.eye(len(y)))
    return float(multivariate_normal(np.zeros(len(y)), covariance, allow_singular=False).logpdf(y))


def dense_posterior(gram: np.ndarray, y: np.ndarray, ratio: float, new: slice) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over s² at the last points given the first, by matrix inversion."""
    n = len(y)
    inverse = np.linalg.inv(gram[:n, :n] + ratio * np.eye(n))
    cross = gram[:n, new]
    return cross.T @ inverse @ y, np.diag(gram[new, new] - cross.T @ inverse @ cross)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, points=st.integers(2, 12))
def test_evidence_is_the_highest_density_over_noise_and_scale(seed: int, points: int):
    gram = made_gram(points, seed)
    y = np.random.default_rng(seed + 1).standard_normal(points)
    found = evidence(gram, y)
    assert found.log_likelihood == pytest.approx(density(gram, y, found.noise_ratio, found.scale), abs=1e-8)

    def negative(theta: np.ndarray) -> float:
        return -density(gram, y, float(np.exp(theta[0])), float(np.exp(theta[1])))

    limits = [(np.log(1e-2), np.log(10.0)), (-12.0, 12.0)]
    starts = [(np.log(r), np.log(found.scale)) for r in (0.02, 0.3, 5.0)]
    best = -min(minimize(negative, start, bounds=limits).fun for start in starts)
    assert found.log_likelihood >= best - 1e-3


def test_several_grams_are_weighed_as_one_by_one():
    y = np.random.default_rng(3).standard_normal(9)
    grams = np.stack([made_gram(9, seed) for seed in range(4)])
    assert evidences(grams, y) == [evidence(gram, y) for gram in grams]


def test_evidence_keeps_to_its_limits_and_to_a_fixed_scale():
    gram, y = made_gram(30, 0, length=2.0), np.ones(30)
    assert evidence(gram, y, floor=0.05).noise_ratio == pytest.approx(0.05)
    fixed = evidence(gram, np.random.default_rng(0).standard_normal(30), floor=1e-5, ceiling=1e-2, scale=1.0)
    assert fixed.scale == 1.0
    assert 1e-5 <= fixed.noise_ratio <= 1e-2 * (1 + 1e-12)


def test_constant_targets_are_survived():
    found = evidence(made_gram(5, 0), np.zeros(5))
    assert np.isfinite(found.log_likelihood) and found.scale > 0


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, first=st.integers(0, 8), appended=st.integers(1, 8))
def test_the_posterior_is_that_of_the_dense_formulas_however_it_grew(seed: int, first: int, appended: int):
    n, ratio = first + appended, 0.05
    gram = made_gram(n + 5, seed)
    y = np.random.default_rng(seed + 1).standard_normal(n)
    gp = GramGP(gram[:first, :first], ratio)
    for i in range(first, n):
        gp.append(gram[:i, i])
    gp.set_targets(y)
    assert len(gp) == n
    assert gp.factor @ gp.factor.T == pytest.approx(gram[:n, :n] + ratio * np.eye(n))
    inverse = np.linalg.inv(gram[:n, :n] + ratio * np.eye(n))
    assert gp.scale == pytest.approx(y @ inverse @ y / n)
    assert gp.noise == pytest.approx(ratio * gp.scale)
    assert gp.alpha == pytest.approx(inverse @ y, abs=1e-8)
    assert gp.precision() == pytest.approx(inverse / gp.scale, rel=1e-6, abs=1e-6)
    assert gp.log_likelihood == pytest.approx(density(gram[:n, :n], y, ratio, gp.scale))
    mean, variance = gp.predict(gram[:n, n:])
    expected, over_scale = dense_posterior(gram, y, ratio, slice(n, None))
    assert mean == pytest.approx(expected, abs=1e-8)
    assert variance == pytest.approx(gp.scale * over_scale, abs=1e-8)
    assert gp.predict(gram[:n, n:], noise=True)[1] == pytest.approx(variance + gp.noise)


def test_appending_one_by_one_gives_the_same_bits_however_often_targets_came_between():
    gram, y = made_gram(40, 5), np.random.default_rng(6).standard_normal(40)
    at_once, between = GramGP(gram[:10, :10], 0.1), GramGP(gram[:10, :10], 0.1)
    for i in range(10, 40):
        at_once.append(gram[:i, i])
        between.set_targets(y[:i])
        between.append(gram[:i, i])
    at_once.set_targets(y)
    between.set_targets(y)
    assert np.array_equal(at_once.factor, between.factor)
    assert np.array_equal(at_once.alpha, between.alpha)


def test_leave_one_out_equals_a_refit_without_each_point():
    gram, y, ratio = made_gram(12, 8), np.random.default_rng(9).standard_normal(12), 0.07
    gp = GramGP(gram, ratio)
    gp.set_targets(y)
    mean, variance = gp.leave_one_out()
    for i in range(12):
        others = np.delete(np.arange(12), i)
        left = GramGP(gram[np.ix_(others, others)], ratio, scale=gp.scale)
        left.set_targets(y[others])
        expected, without = left.predict(gram[others][:, [i]], noise=True)
        assert mean[i] == pytest.approx(expected[0])
        assert variance[i] == pytest.approx(without[0])


def test_equal_points_are_survived():
    gp = GramGP(np.ones((3, 3)), 1e-2)
    for _ in range(20):
        gp.append(np.ones(len(gp)))
    gp.set_targets(np.linspace(-1, 1, 23))
    mean, variance = gp.predict(np.ones((23, 1)))
    assert mean == pytest.approx([0.0], abs=1e-8)
    assert 0 <= variance[0] < gp.noise
