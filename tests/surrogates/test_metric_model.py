"""One metric's model: what it is a function of, fidelities, failures, the incumbent, and that it predicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.calibration import coverage
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.metric_model import MetricModel, ModelOptions, last_refit, mixture_moments
from xnas_ray.surrogates.model_selection import KernelGrid

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
ENCODINGS = Encodings(CELLS)
ROWS = ENCODINGS.add_all(list(CELLS.enumerate())[::8])


def accuracy(row: int) -> float:
    """Convolutions help, pooling harms, and a little of each architecture's own."""
    ops = ENCODINGS.options(np.array([row]))[0]
    return 60 + 6 * float((ops == 3).sum()) + 3 * float((ops == 2).sum()) - 2 * float((ops == 4).sum()) + np.sin(row)


def told(count: int, *, epochs: int = 1, seed: int = 0, options: ModelOptions | None = None) -> MetricModel:
    model = MetricModel(ENCODINGS, "val_accuracy", maximize=True, epochs=epochs, options=options)
    for row in np.random.default_rng(seed).permutation(ROWS)[:count]:
        model.add(int(row), accuracy(int(row)), epochs)
    return model


def test_it_predicts_what_it_has_not_seen_and_knows_how_well():
    model = told(100, options=ModelOptions(clip=False))
    unseen = np.setdiff1d(ROWS, model.points.rows)[:200]
    mean, variance = model.predict(unseen, noise=True)
    truth = np.array([accuracy(int(row)) for row in unseen])
    assert spearmanr(mean, truth).statistic > 0.9
    assert 0.8 < coverage(model.scale.standardise(truth), mean, variance) <= 1.0


def test_the_same_history_gives_the_same_bits_however_it_came():
    at_once, lived = told(60), told(0)
    for row, value in zip(at_once.points.rows, at_once._values, strict=True):
        lived.add(int(row), value, 1)
        if lived.ready and len(lived) % 3 == 0:
            lived.predict(ROWS[:5])
    assert lived.fitted_at == 0 or lived.members
    for one, other in zip(at_once.members, lived.members, strict=True):
        assert (one.weight, one.settings) == (other.weight, other.settings)
        assert np.array_equal(one.gp.factor, other.gp.factor)
    assert np.array_equal(at_once.predict(ROWS[:50])[0], lived.predict(ROWS[:50])[0])


def test_the_mixture_is_that_of_its_members():
    model = told(12)
    assert len(model.members) > 1
    grams = model.grams(model.points, model.points_at(ROWS[:9]))
    each = [m.gp.predict(gram, noise=True) for m, gram in zip(model.members, grams, strict=True)]
    mean = sum(m.weight * one[0] for m, one in zip(model.members, each, strict=True))
    second = sum(m.weight * (one[1] + one[0] ** 2) for m, one in zip(model.members, each, strict=True))
    found = model.predict(ROWS[:9], noise=True)
    assert found[0] == pytest.approx(mean)
    assert found[1] == pytest.approx(second - mean**2)


def test_failures_are_poor_and_never_nan():
    model = told(30)
    best = model.predict(ROWS)[0]
    for row in model.points.rows[np.argsort(-model.targets)[:1]]:
        model.add(int(row), None, 1)
    assert np.isfinite(model.targets).all()
    assert model.targets[-1] == model.targets.min()
    assert model.predict(ROWS)[0].max() < best.max()


def test_two_values_are_needed():
    model = told(0)
    model.add(0, None, 1)
    model.add(1, 50.0, 1)
    assert not model.ready
    model.add(2, 60.0, 1)
    assert model.ready
    assert np.isfinite(model.predict(ROWS[:3])[0]).all()


def test_the_incumbent_is_observed_at_full_fidelity():
    model = told(20, epochs=8)
    top = model.best()
    assert top == model.targets.max()
    for row in ROWS[-6:]:
        model.add(int(row), 99.0, 2)
    assert model.best() < model.targets.max() or model.best() == model.targets[:20].max()
    allowed = np.zeros(len(model), dtype=bool)
    allowed[int(np.argmin(model.targets[:20]))] = True
    assert model.best(allowed) == model.targets[:20].min()


def test_without_a_full_training_the_best_mean_is_the_incumbent():
    model = MetricModel(ENCODINGS, "val_accuracy", maximize=True, epochs=8)
    for row in ROWS[:12]:
        model.add(int(row), accuracy(int(row)), 2)
    assert model.best() == pytest.approx(float(model.predict(ROWS[:12])[0].max()))


def test_short_trainings_tell_about_long_ones():
    dice = np.random.default_rng(2)
    effects = 3 * dice.standard_normal((6, 5))  # too many to learn from ten long trainings

    def accuracy(row: int) -> float:
        return 70 + float(effects[np.arange(6), ENCODINGS.options(np.array([row]))[0]].sum())

    rows = dice.permutation(ROWS)
    alone = MetricModel(ENCODINGS, "val_accuracy", maximize=True, epochs=64)
    both = MetricModel(ENCODINGS, "val_accuracy", maximize=True, epochs=64)
    for row in rows[:10]:
        alone.add(int(row), accuracy(int(row)), 64)
        both.add(int(row), accuracy(int(row)), 64)
    for row in rows[10:90]:  # poorer by far, but in the same order
        both.add(int(row), 30 + 0.3 * accuracy(int(row)) + float(dice.normal()), 4)
    truth = [accuracy(int(row)) for row in rows[100:400]]
    found = [spearmanr(model.predict(rows[100:400])[0], truth).statistic for model in (alone, both)]
    assert found[1] > found[0] + 0.1
    assert both.scale.mean == pytest.approx(alone.scale.mean)  # targets are those of full trainings


def test_moving_to_other_encodings_changes_nothing():
    model = told(25)
    before = model.predict(ROWS[:20])
    others = Encodings(CELLS)
    others.add((3,) * 6)
    cells = list(CELLS.enumerate())[::8]
    model.move(others, {int(row): others.add(cells[i]) for i, row in enumerate(ROWS)})
    after = model.predict([others.add(cells[i]) for i in range(20)])
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[1], after[1])


def test_the_believed_best_is_the_best_mean():
    model = told(30, options=ModelOptions(grid=KernelGrid(members=1)))
    mean = model.predict(model.points.rows)[0]
    assert model.believed_best() == model.targets[int(np.argmax(mean))]


@given(st.integers(0, 3000), st.floats(0, 0.5))
def test_refits_come_at_numbers_that_do_not_depend_on_the_past(count: int, growth: float):
    due = last_refit(count, growth)
    assert due <= count
    assert last_refit(due, growth) == due
    assert count < 2 or count - due <= max(1, growth * count)


def test_moments_of_a_mixture():
    weights, means, variances = [0.25, 0.75], [np.array([0.0]), np.array([4.0])], [np.array([1.0]), np.array([2.0])]
    mean, variance = mixture_moments(weights, means, variances)
    assert (mean[0], variance[0]) == (3.0, 0.25 * (1 + 9) + 0.75 * (2 + 1))
