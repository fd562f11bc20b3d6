"""Architectures of a search, each once, trained equally long."""

from __future__ import annotations

import numpy as np

from xnas_ray.explain.measured_architectures import Trial, measured_architectures
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201()
FIRST, SECOND, THIRD = (3, 3, 3, 3, 3, 3), (4, 3, 3, 3, 3, 3), (2, 3, 3, 3, 3, 3)


def test_an_architecture_counts_once_with_its_mean():
    trials = [Trial(0, FIRST, 2, {"a": 1.0}), Trial(1, SECOND, 2, {"a": 5.0}), Trial(4, FIRST, 2, {"a": 2.0})]
    found = measured_architectures(SPACE, trials, {"a": True})
    assert found.genotypes == (FIRST, SECOND) and found.trials.tolist() == [0, 1]
    assert found.values["a"].tolist() == [1.5, 5.0]


def test_other_fidelities_do_not_count():
    trials = [Trial(i, g, e, {"a": float(i)}) for i, (g, e) in enumerate([(FIRST, 9), (SECOND, 1), (THIRD, 1)])]
    assert measured_architectures(SPACE, trials, {"a": True}).trials.tolist() == [1, 2]
    assert measured_architectures(SPACE, trials[:2], {"a": True}).trials.tolist() == [0], "of two the higher one"


def test_what_lacks_an_objective_is_left_out_and_smaller_can_be_better():
    trials = [Trial(0, FIRST, 1, {"a": 1.0}), Trial(1, SECOND, 1, {"a": 2.0, "b": 3.0})]
    found = measured_architectures(
        SPACE, [*trials, Trial(2, THIRD, 1, {"a": np.nan, "b": 1.0})], {"a": True, "b": False}
    )
    assert found.trials.tolist() == [1] and found.signed("b").tolist() == [-3.0] and found.signed("a").tolist() == [2.0]
    assert len(measured_architectures(SPACE, [], {"a": True})) == 0


def test_many_are_thinned_evenly():
    keys = {SPACE.key(g): SPACE.canonical(g) for g in (SPACE.sample(np.random.default_rng(i)) for i in range(200))}
    trials = [Trial(i, g, 1, {"a": float(i)}) for i, g in enumerate(keys.values())]
    found = measured_architectures(SPACE, trials, {"a": True})
    few = found.spread(10)
    assert len(few) == 10 and few.trials[0] == 0 and few.trials[-1] == len(trials) - 1
    assert few.values["a"].tolist() == few.trials.tolist() and found.spread(1000) is found
