"""Survival of NSGA-II against pymoo's own and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from xnas_ray.controllers.survival import rank_and_crowding, survivors


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_the_same_live_on_as_in_pymoo(objectives: int, seed: int):
    targets = np.random.default_rng(seed).normal(size=(50, objectives))
    population = Population.create(*[Individual(F=-row, X=np.array([i])) for i, row in enumerate(targets)])
    kept = RankAndCrowding().do(Problem(n_var=1, n_obj=objectives), population, n_survive=20)
    ranks, distances = rank_and_crowding(targets)
    theirs, ours = kept.get("X")[:, 0].astype(int), survivors(targets, 20)
    # Which of the infinitely lonely lives on is random there.
    standing = np.column_stack([ranks, distances])
    assert sorted(standing[theirs].tolist()) == sorted(standing[ours].tolist())


def test_distances_are_debs():
    """Worked by hand: a front of four; ranges are 6 and 6."""
    ranks, distances = rank_and_crowding(np.array([[0, 6], [1, 5], [4, 2], [6, 0], [0, 0]]))
    assert ranks.tolist() == [0, 0, 0, 0, 1]
    assert distances[[0, 3]].tolist() == [np.inf, np.inf]
    # pymoo divides the sum by the number of objectives.
    assert distances[1] == pytest.approx((4 / 6 + 4 / 6) / 2) and distances[2] == pytest.approx((5 / 6 + 5 / 6) / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 0.0, 0.5, 2.0])), min_size=1))
def test_ranks_are_constrained_domination(rows):
    """Peeling: a row is on the next front when no other one that is left dominates it in Deb's sense."""
    targets, violations = np.array([row[:2] for row in rows], dtype=float), np.array([row[2] for row in rows])
    ranks, distances = rank_and_crowding(targets, violations)

    def dominates(i: int, j: int) -> bool:
        if violations[i] != violations[j] and max(violations[i], violations[j]) > 0:
            return bool(violations[i] < violations[j])
        return violations[i] == 0 and (targets[i] >= targets[j]).all() and (targets[i] > targets[j]).any()

    left, rank = set(range(len(rows))), 0
    while left:
        front = {j for j in left if not any(dominates(i, j) for i in left)}
        assert {j for j in left if ranks[j] == rank} == front
        left, rank = left - front, rank + 1
    assert (distances >= 0).all()


def test_repeats_crowd_each_other_out():
    targets = np.array([[0, 3], [1, 2], [1, 2], [1, 2], [2, 1.5], [3, 0]], dtype=float)
    _, distances = rank_and_crowding(targets)
    assert (distances[1:4] > 0).sum() == 1
    assert survivors(targets, 4).tolist() == [0, 1, 4, 5]


def test_of_equals_the_earlier_ones_live_on():
    assert survivors(np.ones((5, 2)), 3).tolist() == [0, 1, 2]


def test_one_objective_keeps_the_largest():
    targets = np.random.default_rng(0).normal(size=(20, 1))
    assert set(survivors(targets, 5)) == set(np.argsort(-targets[:, 0])[:5])
