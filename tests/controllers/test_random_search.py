"""Random search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import chisquare

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.random_search import RandomSearch
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.testing.controller_case import ControllerTestCase

GOAL = Goal("val_accuracy", maximize=True)


class TestConformance(ControllerTestCase):
    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return RandomSearch(space, objectives, seed=seed)


def test_it_is_registered():
    assert CONTROLLERS.get("random_search") is RandomSearch


def test_first_proposals_are_uniform_over_genotypes():
    space = NASBench201(cells_per_stage=1, channels=4, stages=1)
    size = Counter(space.key(genotype) for genotype in space.genotypes())
    large = max(size, key=lambda key: size[key])
    draws = 1500
    hits = 0
    for seed in range(draws):
        candidate = RandomSearch(space, [GOAL], seed=seed).propose()
        assert candidate is not None
        hits += space.key(candidate.genotype) == large
    share = size[large] / 15_625
    assert chisquare([hits, draws - hits], [draws * share, draws * (1 - share)]).pvalue > 1e-4


def test_the_whole_space_is_searched_without_repetition():
    space = NASBench201(cells_per_stage=1, channels=4, stages=1)
    controller = RandomSearch(space, [GOAL], seed=0)
    keys = []
    generator = np.random.default_rng(0)
    while (candidate := controller.propose(generator)) is not None:
        keys.append(space.key(candidate.genotype))
    assert len(keys) == len(set(keys)) == 6_466
