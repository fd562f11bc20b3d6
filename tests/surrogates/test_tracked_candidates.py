"""Candidates that follow a metric's model: as predicted anew, with what is pending assumed."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.metric_model import MetricModel, mixture_moments
from xnas_ray.surrogates.tracked_candidates import TrackedCandidates

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
ENCODINGS = Encodings(CELLS)
ROWS = ENCODINGS.add_all(list(CELLS.enumerate())[::60])
PENDING = [(int(row), 2) for row in ROWS[70:74]]


def add(model: MetricModel, rows: np.ndarray) -> None:
    for row in rows:
        model.add(int(row), 60 + 30 * float(np.sin(row)), 2)


def fresh(count: int) -> MetricModel:
    model = MetricModel(ENCODINGS, "val_accuracy", maximize=True, epochs=2)
    add(model, ROWS[:count])
    return model


def moments(tracked: TrackedCandidates) -> tuple[np.ndarray, np.ndarray]:
    weights = [member.weight for member in tracked.model.members]
    posteriors = tracked.posteriors
    return mixture_moments(weights, [p.mean() for p in posteriors], [p.variance() for p in posteriors])


def test_it_follows_the_model():
    model = fresh(10)
    tracked = TrackedCandidates(model, ROWS[50:])
    for start in (10, 13, 14, 30):
        add(model, ROWS[len(model) : start])
        tracked.update([])
        mean, variance = moments(tracked)
        expected = model.predict(ROWS[50:])
        assert mean == pytest.approx(expected[0], abs=1e-9)
        assert variance == pytest.approx(expected[1], abs=1e-9)


def test_the_same_history_gives_the_same_bits():
    lived = fresh(8)
    tracked = TrackedCandidates(lived, ROWS[50:])
    for count in (9, 12, 33, 41):
        add(lived, ROWS[len(lived) : count])
        for pending in (PENDING[:1], PENDING[:3], PENDING[1:3], PENDING):
            tracked.update(pending)
    replayed = TrackedCandidates(fresh(41), ROWS[50:])
    replayed.update(PENDING)
    for one, other in zip(tracked.posteriors, replayed.posteriors, strict=True):
        assert np.array_equal(one.mean(), other.mean())
        assert np.array_equal(one.variance(), other.variance())


def test_what_is_pending_is_assumed():
    model = fresh(20)
    tracked = TrackedCandidates(model, ROWS[50:])
    tracked.update([])
    before = [p.variance() for p in tracked.posteriors]
    tracked.update(PENDING)
    for posterior, variance in zip(tracked.posteriors, before, strict=True):
        assert posterior.fantasies == 4
        assert (posterior.variance() <= variance + 1e-12).all()
        assert (posterior.variance()[20:24] < variance[20:24]).all()
        assert posterior.mean()[20:24] == pytest.approx(posterior.fantasy_values(np.zeros((1, 4)))[0], abs=1e-9)


def test_samples_have_the_posterior_moments():
    model = fresh(20)
    tracked = TrackedCandidates(model, ROWS[50:])
    tracked.update(PENDING[:2])
    columns, dice = np.array([1, 8, 30]), np.random.default_rng(0)
    drawn = np.stack([tracked.sample(0, columns, dice) for _ in range(4000)])
    posterior = tracked.posteriors[0]
    assert drawn.mean(axis=0) == pytest.approx(posterior.mean()[columns], abs=0.06)
    assert drawn.var(axis=0) == pytest.approx(posterior.variance()[columns], rel=0.1)
