"""Targets: the transforms, the clipped tail, failures, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from xnas_ray.errors import SpecError
from xnas_ray.surrogates.targets import TargetScale, check_transform


def test_accuracies_are_log_errors():
    scale = TargetScale.fit([80.0, 90.0, 95.0], name="val_accuracy", maximize=True, clip=False)
    assert scale.transform == "log_error"
    logs = -np.log([20.0, 10.0, 5.0])
    assert scale.standardise([80.0, 90.0, 95.0]) == pytest.approx((logs - logs.mean()) / logs.std())


def test_fractions_have_their_own_bound():
    percent = TargetScale.fit([80.0, 90.0, 95.0], name="val_accuracy", maximize=True)
    fraction = TargetScale.fit([0.8, 0.9, 0.95], name="val_accuracy", maximize=True)
    assert fraction.bound == 1.0
    assert fraction.standardise([0.8, 0.9, 0.95]) == pytest.approx(percent.standardise([80.0, 90.0, 95.0]))


@pytest.mark.parametrize(
    ("name", "maximize", "values", "transform"),
    [
        ("val_error", False, [5.0, 7.0], "log"),
        ("val_error", False, [0.0, 7.0], "log"),
        ("latency_ms", False, [5.0, 7.0], "log"),
        ("loss_change", False, [-5.0, 7.0], "identity"),
        ("val_r2", True, [-3.0, 0.9], "log_error"),
        ("introspectability", True, [0.2, 0.7], "identity"),
        ("val_accuracy", True, [120.0, 7.0], "identity"),
    ],
)
def test_the_transform_follows_from_name_direction_and_values(name, maximize, values, transform):
    assert TargetScale.fit(values, name=name, maximize=maximize).transform == transform


def test_the_poor_tail_is_clipped_at_the_mirror_of_the_best():
    values = [1.0, 50.0, 51.0, 52.0, 54.0]
    scale = TargetScale.fit(values, name="score", maximize=True)
    assert scale.lowest == 51.0 - (54.0 - 51.0)
    targets = scale.standardise(values)
    assert targets[0] == scale.standardise([48.0])[0] < targets[1]
    assert targets.mean() == pytest.approx(0.0, abs=1e-12) and targets.std() == pytest.approx(1.0)
    assert TargetScale.fit(values, name="score", maximize=True, clip=False).lowest == -np.inf


@pytest.mark.parametrize("clip", [True, False])
def test_failures_are_as_bad_as_the_poorest(clip: bool):
    scale = TargetScale.fit([None, 10.0, 50.0, 60.0, None], name="score", maximize=True, clip=clip)
    targets = scale.standardise([None, 10.0, 50.0, 60.0, None])
    assert np.isfinite(targets).all()
    assert targets[0] == targets[4] == targets.min()


@given(
    st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=20),
    st.sampled_from([("val_accuracy", True), ("val_error", False), ("val_accuracy", False), ("score", True)]),
)
@example([0.0, 5e-324], ("val_error", False))  # half of the smallest is zero
def test_targets_are_finite_ordered_and_invertible(values: list[float], metric: tuple[str, bool]):
    name, maximize = metric
    scale = TargetScale.fit(values, name=name, maximize=maximize)
    targets = scale.standardise(values)
    assert np.isfinite(targets).all()
    order = np.argsort(values if maximize else [-v for v in values], kind="stable")
    assert (np.diff(targets[order]) >= -1e-9).all()
    free = TargetScale.fit(values, name=name, maximize=maximize, clip=False)
    back = free.metric(free.standardise(values))
    # Accuracies may all be fractions: a perfect one is then 1.
    apart = np.abs(np.array(values) - (free.bound if free.transform == "log_error" else 0.0)) > free.floor
    assert back[apart] == pytest.approx(np.array(values)[apart], rel=1e-6, abs=1e-6)


def test_perfect_scores_are_better_than_all_before_but_not_infinitely():
    scale = TargetScale.fit([99.0, 99.5, 100.0], name="val_accuracy", maximize=True, clip=False)
    targets = scale.standardise([99.0, 99.5, 100.0])
    assert np.diff(targets)[1] == pytest.approx(np.diff(targets)[0])  # half the smallest error


def test_equal_values_are_all_zero():
    scale = TargetScale.fit([3.0, 3.0], name="score", maximize=True)
    assert scale.standardise([3.0, 3.0]).tolist() == [0.0, 0.0]


def test_ranks_are_normal_scores():
    values = [3.0, 9.0, 1.0, 5.0, 5.0, None]
    scale = TargetScale.fit(values, name="score", maximize=True, transform="ranks", clip=False)
    ranks = np.array([3.0, 6.0, 2.0, 4.5, 4.5, 1.0])
    scores = norm.ppf((ranks - 0.5) / 6)
    assert scale.standardise(values) == pytest.approx((scores - scores.mean()) / scores.std())
    assert scale.metric(scale.standardise(values[:5])) == pytest.approx(values[:5])
    assert scale.metric(np.array([5.0]))[0] > 9.0 > 1.0 > scale.metric(np.array([-5.0]))[0]
    flipped = TargetScale.fit([None if v is None else -v for v in values], name="x", maximize=False, transform="ranks")
    clipped = TargetScale.fit(values, name="score", maximize=True, transform="ranks")
    assert flipped.standardise([-9.0]) == pytest.approx(clipped.standardise([9.0]))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.booleans())
def test_clipped_ranks_make_the_poorest_quarter_equal(values: list[float], maximize: bool):
    scale = TargetScale.fit(values, name="score", maximize=maximize, transform="ranks")
    targets = scale.standardise(values)
    signed = np.array(values) * (1 if maximize else -1)
    assert np.isfinite(targets).all()
    assert (np.diff(targets[np.argsort(signed, kind="stable")]) >= -1e-9).all()
    poor = (rankdata(signed) - 0.5) / len(values) <= 0.25
    assert not poor.any() or (targets[poor] == targets.min()).all()
    assert (scale.standardise([None]) <= targets).all()


def test_unknown_transforms_are_refused():
    assert check_transform("log", "x") == "log"
    with pytest.raises(SpecError, match="log_error"):
        check_transform("logg", "controller.params.transform")
