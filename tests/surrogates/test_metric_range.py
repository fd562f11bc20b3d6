"""Ranges of metrics: by name, fractions, and names that promise what the values do not keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.objectives.names import OBJECTIVE_NAMES
from xnas_ray.surrogates.metric_range import RANGES, value_range

INF = math.inf


@pytest.mark.parametrize(
    ("name", "observed", "expected"),
    [
        ("val_accuracy", [10.0, 97.8], (0.0, 100.0)),
        ("val_accuracy", [100.0], (0.0, 100.0)),
        ("val_accuracy", [], (0.0, 100.0)),
        ("test_accuracy", [0.1, 0.98], (0.0, 1.0)),
        ("accuracy", [120.0, 7.0], (0.0, INF)),
        ("accuracy", [-0.5, 0.9], (-INF, 1.0)),
        ("val_error", [0.3, 0.9], (0.0, 100.0)),
        ("val_r2", [-3.0, 0.9], (-INF, 1.0)),
        ("val_mse", [2.0, 1e6], (0.0, INF)),
        ("latency_ms", [2.0], (0.0, INF)),
        ("flops", [2e9], (0.0, INF)),
        ("nbdt_gap", [-0.5, 7.0], (-100.0, 100.0)),
        ("nbdt_path_entropy", [0.7], (0.0, INF)),
        ("wordnet_agreement", [0.4, 1.0], (0.0, 1.0)),
        ("loss_change", [-5.0, 7.0], (-INF, INF)),
        ("inaccuracy", [0.5], (-INF, INF)),
    ],
)
def test_ranges(name, observed, expected):
    assert value_range(name, np.array(observed)) == expected


def test_built_in_metrics_that_have_an_end_have_it_here():
    unknown = {name for name in OBJECTIVE_NAMES if name.rsplit("_", 1)[-1] not in RANGES}
    assert unknown == {"introspectability", "introspectability_weighted", "introspectability_weighted_mean"}


@given(
    st.sampled_from([*OBJECTIVE_NAMES, "accuracy", "anything"]),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20),
)
def test_what_was_observed_is_possible(name, values):
    observed = np.array(values)
    low, high = value_range(name, observed)
    assert low <= observed.min() and observed.max() <= high
