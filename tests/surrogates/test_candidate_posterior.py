"""The posterior at candidates, kept while it grows, against one computed anew from all points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.surrogates.candidate_posterior import CandidatePosterior
from xnas_ray.surrogates.gram_gp import GramGP

RATIO = 0.05


def made_gram(points: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).random((points, 3))
    return np.exp(-np.abs(x[:, None] - x).sum(-1))


def grown(gram: np.ndarray, first: int, observed: int, candidates: np.ndarray) -> tuple[GramGP, CandidatePosterior]:
    gp = GramGP(gram[:first, :first], RATIO)
    posterior = CandidatePosterior(gp, gram[:first][:, candidates])
    for i in range(first, observed):
        gp.append(gram[:i, i])
        posterior.observe(gram[i, candidates])
    gp.set_targets(np.sin(np.arange(observed)))
    return gp, posterior


def assume(gram: np.ndarray, gp: GramGP, posterior: CandidatePosterior, pending: list[int], cand: np.ndarray) -> None:
    for k, i in enumerate(pending):
        posterior.fantasise(gp.whiten(gram[: len(gp), i]), gram[pending[:k], i], gram[i, cand])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), first=st.integers(0, 6), more=st.integers(1, 6), pending=st.integers(0, 4))
def test_it_equals_a_posterior_of_all_points(seed: int, first: int, more: int, pending: int):
    observed = first + more
    gram = made_gram(observed + pending + 7, seed)
    candidates = np.arange(observed + pending, len(gram))
    gp, posterior = grown(gram, first, observed, candidates)
    assert len(posterior) == observed
    mean, variance = gp.predict(gram[:observed][:, candidates])
    assert posterior.mean() == pytest.approx(mean, abs=1e-9)
    assert posterior.variance() == pytest.approx(variance, abs=1e-9)

    assumed = list(range(observed, observed + pending))
    assume(gram, gp, posterior, assumed, candidates)
    believed = GramGP(gram[: observed + pending, : observed + pending], RATIO, scale=gp.scale)
    means = gp.predict(gram[:observed][:, assumed])[0] if pending else np.zeros(0)
    believed.set_targets(np.concatenate([gp.targets, means]))
    expected = believed.predict(gram[: observed + pending][:, candidates])
    assert posterior.fantasies == pending
    assert posterior.mean() == pytest.approx(expected[0], abs=1e-8)
    assert posterior.variance() == pytest.approx(expected[1], abs=1e-8)
    assert posterior.fantasy_values(np.zeros((1, pending)))[0] == pytest.approx(means, abs=1e-9)
    some = np.array([0, 3, 5])
    whitened = believed.whiten(gram[: observed + pending][:, candidates[some]])
    covariance = gp.scale * (gram[np.ix_(candidates[some], candidates[some])] - whitened.T @ whitened)
    assert posterior.covariance(some, gram[np.ix_(candidates[some], candidates[some])]) == pytest.approx(
        covariance, abs=1e-8
    )


def test_sampled_fantasies_are_conditioned_on():
    gram = made_gram(20, 1)
    candidates = np.arange(13, 20)
    gp, posterior = grown(gram, 4, 10, candidates)
    assume(gram, gp, posterior, [10, 11, 12], candidates)
    draws = np.random.default_rng(0).standard_normal((3, 3))
    values, shifts = posterior.fantasy_values(draws), posterior.shifts(draws)
    for value, shift in zip(values, shifts, strict=True):
        whole = GramGP(gram[:13, :13], RATIO, scale=gp.scale)
        whole.set_targets(np.concatenate([gp.targets, value]))
        assert posterior.mean() + shift == pytest.approx(whole.predict(gram[:13][:, candidates])[0], abs=1e-8)


def test_sampled_fantasies_have_the_predictive_distribution():
    gram = made_gram(12, 2)
    gp, posterior = grown(gram, 5, 9, np.arange(11, 12))
    assume(gram, gp, posterior, [9, 10], np.arange(11, 12))
    values = posterior.fantasy_values(np.random.default_rng(0).standard_normal((40_000, 2)))
    mean, variance = gp.predict(gram[:9][:, [9, 10]], noise=True)
    assert values.mean(axis=0) == pytest.approx(mean, abs=0.02)
    assert values.var(axis=0) == pytest.approx(variance, rel=0.03)


def test_fantasies_that_are_added_later_change_no_bit():
    gram = made_gram(30, 3)
    candidates = np.arange(20, 30)
    gp, at_once = grown(gram, 5, 15, candidates)
    assume(gram, gp, at_once, [15, 16, 17], candidates)
    _, again = grown(gram, 5, 15, candidates)
    assume(gram, gp, again, [15, 18], candidates)
    again.forget()
    assume(gram, gp, again, [15, 16, 17], candidates)
    assert np.array_equal(at_once.variance(), again.variance())


def test_an_observation_drops_the_fantasies():
    gram = made_gram(12, 4)
    candidates = np.arange(8, 12)
    gp, posterior = grown(gram, 5, 6, candidates)
    assume(gram, gp, posterior, [6, 7], candidates)
    gp.append(gram[:6, 6])
    posterior.observe(gram[6, candidates])
    gp.set_targets(np.sin(np.arange(7)))
    assert posterior.fantasies == 0
    assert posterior.variance() == pytest.approx(gp.predict(gram[:7][:, candidates])[1], abs=1e-9)
