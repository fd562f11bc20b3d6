"""Acquisition functions against numerical integration and high-precision arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from xnas_ray.controllers.acquisition import (
    expected_improvement,
    log_expected_improvement,
    log_probability_above,
)

FLOATS = st.floats(-5, 5)


def integrated(mean: float, deviation: float, best: float) -> float:
    def improvement(y: float) -> float:
        return (y - best) * float(norm.pdf(y, mean, deviation))

    return float(quad(improvement, best, max(best, mean) + 12 * deviation, limit=200)[0])


@given(FLOATS, st.floats(0.05, 5), FLOATS)
def test_expected_improvement_is_the_integral(mean: float, deviation: float, best: float):
    found = expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    assert found == pytest.approx(integrated(mean, deviation, best), abs=1e-6)


@given(FLOATS, st.floats(0.3, 5), FLOATS)
def test_its_logarithm_is_its_logarithm(mean: float, deviation: float, best: float):
    direct = expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    if direct > 1e-12:
        assert log_expected_improvement(np.array([mean]), np.array([deviation]), best)[0] == pytest.approx(
            np.log(direct), abs=1e-4
        )


def log_improvement(z: str) -> float:
    """log(φ(z) + zΦ(z)) to 60 digits."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        z = mpmath.mpf(z)
        return float(mpmath.log(mpmath.npdf(z) + z * mpmath.ncdf(z)))


@pytest.mark.parametrize("z", ["3", "0", "-0.999", "-1.001", "-5", "-20", "-49.9", "-50.1", "-300"])
def test_the_logarithm_is_exact_far_out(z: str):
    found = log_expected_improvement(np.array([float(z)]), np.ones(1), 0.0)[0]
    assert found == pytest.approx(log_improvement(z), rel=1e-8)


def test_it_stays_ordered_and_finite_where_expected_improvement_is_zero():
    means = np.linspace(-1e6, 0, 4001)
    value = log_expected_improvement(means, np.ones(4001), 0.0)
    assert np.isfinite(value).all() and (np.diff(value) > 0).all()
    assert expected_improvement(means[:10], np.ones(10), 0.0).tolist() == [0.0] * 10


def test_probabilities():
    mean, deviation = np.array([0.0, 3.0, -50.0]), np.array([1.0, 2.0, 1.0])
    assert log_probability_above(mean, deviation, 1.0) == pytest.approx(norm(mean, deviation).logsf(1.0))
