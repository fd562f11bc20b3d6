"""Several objectives: fronts, scalarisation and its expected improvement, against pymoo and sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from xnas_ray.controllers.hypervolume import Scalarisation, best_rows, reference_point
from xnas_ray.pareto import pareto_mask

TARGETS = st.integers(1, 12).flatmap(
    lambda n: st.integers(1, 3).flatmap(lambda m: arrays(float, (n, m), elements=st.integers(-3, 3).map(float)))
)


@given(TARGETS)
def test_fronts_are_those_of_pymoo(targets: np.ndarray):
    ranked = NonDominatedSorting().do(-targets)
    assert np.flatnonzero(pareto_mask(targets)).tolist() == sorted(ranked[0].tolist())
    assert best_rows(targets, len(targets)) == [int(i) for front in ranked for i in sorted(front)]
    assert len(best_rows(targets, 2)) == min(2, len(targets))


@given(TARGETS)
def test_the_reference_is_dominated_by_the_front(targets: np.ndarray):
    assert (targets[pareto_mask(targets)] > reference_point(targets)).all()


def test_the_mean_over_directions_is_the_hypervolume():
    targets = np.array([[0.1, 0.9], [0.6, 0.7], [0.8, 0.2]])
    dice = np.random.default_rng(0)
    reference = reference_point(targets)
    directions = np.abs(dice.standard_normal((200_000, 2)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = np.min((targets[:, None] - reference) / directions, axis=-1).max(axis=0)
    volume = np.pi / 4 * np.mean(values**2)  # the quarter disc's constant of Zhang & Golovin, lemma 5
    assert volume == pytest.approx(HV(ref_point=-reference)(-targets), rel=0.01)
    drawn = [Scalarisation.draw(targets, dice) for _ in range(100)]
    assert all((one.direction > 0).all() and np.isclose(np.linalg.norm(one.direction), 1) for one in drawn)
    assert np.array_equal(drawn[0].reference, reference)


@pytest.mark.parametrize("best", [0.0, 0.4])
def test_expected_improvement_of_the_scalarisation_is_that_of_samples(best: float):
    dice = np.random.default_rng(1)
    one = Scalarisation(np.array([-1.0, -0.5]), np.array([0.8, 0.6]))
    mean, deviation = dice.normal(-0.3, 0.5, (2, 6)), dice.uniform(0.2, 0.6, (2, 6))
    found = one.log_expected_improvement(mean, deviation, best)
    samples = mean.T + deviation.T * dice.standard_normal((400_000, 6, 2))
    expected = np.maximum(one.value(samples) - best, 0).mean(axis=0)
    assert np.exp(found) == pytest.approx(expected, rel=0.03)


def test_it_stays_finite_far_out():
    one = Scalarisation(np.zeros(2), np.full(2, 0.5**0.5))
    found = one.log_expected_improvement(np.array([[-30.0, -20.0], [1.0, 1.0]]), np.full((2, 2), 0.1), 1.0)
    assert np.isfinite(found).all() and found[1] > found[0]
