"""Expected hypervolume improvement against sampled hypervolumes."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.indicators.hv import HV

from xnas_ray.surrogates.ehvi import log_expected_hypervolume_improvement


@pytest.mark.parametrize("objectives", [2, 3])
def test_it_is_the_mean_of_sampled_improvements(objectives: int):
    dice = np.random.default_rng(objectives)
    front = np.array([[0.2, 0.9, 0.5], [0.7, 0.6, 0.6], [0.9, 0.1, 0.7]])[:, :objectives]
    reference = np.zeros(objectives)
    mean, deviation = dice.uniform(0.3, 1.0, (4, objectives)), dice.uniform(0.1, 0.4, (4, objectives))
    found = log_expected_hypervolume_improvement(mean, deviation, front=front, reference=reference)
    volume = HV(ref_point=-reference)
    before = volume(-front)
    for i in range(4):
        samples = mean[i] + deviation[i] * dice.standard_normal((2000, objectives))
        improvements = [volume(-np.vstack([front, sample])) - before for sample in samples]
        assert np.exp(found[i]) == pytest.approx(np.mean(improvements), rel=0.1)


def test_hopeless_candidates_are_finite():
    found = log_expected_hypervolume_improvement(
        np.array([[-90.0, -90.0], [2.0, 2.0]]), np.full((2, 2), 0.1), front=np.ones((1, 2)), reference=np.zeros(2)
    )
    assert np.isfinite(found).all() and found[1] > found[0]
