"""What labels make of a predictor, and that what it states is possible, whatever it ranks by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nars_labels import Labels
from xnas_ray.controllers.nars_predictions import Unit, learn
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
from xnas_ray.surrogates.mixed_encoding import MixedEncoding

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
ACCURACY, ERROR = Goal("val_accuracy", True), Goal("val_error", False)
LATENCY = Goal("latency_ms", False)
GENOTYPES = tuple((i, j, 0, 0, 0, 0) for i in range(4) for j in range(4))


class Recorded(AccuracyPredictor):
    """Remembers what it was fitted to."""

    learnt: np.ndarray

    def fit(self, genotypes, percents):
        self.learnt = percents
        super().fit(genotypes, percents)


def labels(*values: float) -> Labels:
    return Labels(GENOTYPES[: len(values)], np.array(values))


@pytest.fixture
def predictor() -> Recorded:
    return Recorded(MixedEncoding(SPACE), seed=0)


@pytest.mark.parametrize(
    ("clip", "given", "goal", "learnt", "unit"),
    [
        (False, [10.0, 90, 92, 94], ACCURACY, [10.0, 90, 92, 94], Unit(True, 1, 0, 100)),
        (True, [10.0, 90, 92, 94], ACCURACY, [81.0, 90, 92, 94], Unit(True, 1, 0, 100)),
        (True, [10.0, 60, 70, 94], ACCURACY, [36.0, 60, 70, 94], Unit(True, 1, 0, 100)),
        (True, [0.1, 0.9, 0.92, 0.94], ACCURACY, [81.0, 90, 92, 94], Unit(True, 100, 0, 1)),
        (True, [-90.0, -10, -8, -6], ERROR, [-19.0, -10, -8, -6], Unit(False, 1, 0, 100)),
        (True, [-90.0, -10, -8, -6], LATENCY, [-12.0, -10, -8, -6], Unit(False, 1, 0, np.inf)),
    ],
)
def test_what_is_learnt(predictor, clip, given, goal, learnt, unit):
    assert learn(predictor, labels(*given), goal, clip=clip) == unit
    assert predictor.learnt == pytest.approx(learnt)


def test_no_accuracy_is_above_100(predictor):
    """Two genes, each worth six points: together they would be 105 %."""
    others = [genotype for genotype in GENOTYPES if genotype[:2] != (3, 3)]
    known = Labels((*others,) * 8, np.array([93.0 + 6 * (3 in genotype[:2]) for genotype in others] * 8))
    unit = learn(predictor, known, ACCURACY, clip=True)
    means, stds = predictor.predict([(3, 3, 0, 0, 0, 0), (3, 0, 0, 0, 0, 0)])
    assert means[0] > 100 and means[0] > means[1], "what ranks is not bounded"
    stated, spread = unit.stated(means, stds)
    assert stated.tolist() == [100.0, means[1]] and spread.tolist() == stds.tolist()


@given(
    st.lists(st.floats(-300, 300), min_size=2, max_size=20),
    st.booleans(),
    st.sampled_from([1.0, 100.0]),
)
def test_what_is_stated_is_possible_and_ranks_no_other_way(means, maximize, scale):
    unit = Unit(maximize, scale, 0.0, 100.0 / scale)
    stated, stds = unit.stated(np.array(means), np.ones(len(means)))
    assert (stated >= 0).all() and (stated <= 100 / scale).all() and stds == pytest.approx(1 / scale)
    in_order = stated[np.argsort(means)]
    assert (np.diff(in_order if maximize else -in_order) >= 0).all()


def test_a_unit_that_knows_nothing_changes_nothing():
    means, stds = np.array([-5.0, 150.0]), np.array([1.0, 2.0])
    assert [part.tolist() for part in Unit().stated(means, stds)] == [means.tolist(), stds.tolist()]
