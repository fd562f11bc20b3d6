"""Choices, and how much of an objective each tells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway

from xnas_ray.report.genes import explained_share, genes
from xnas_ray.spaces.base import Choice


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=6, max_size=40))
def test_the_share_is_that_of_an_analysis_of_variance(pairs):
    groups, values = np.array([p[0] for p in pairs]), np.array([round(p[1], 3) for p in pairs])
    found = explained_share(groups, values)
    assert 0 <= found <= 1
    k, n = len(np.unique(groups)), len(groups)
    if k > 1 and n > k and 1e-6 < found < 1 - 1e-6:
        ratio = found / (1 - found) * (n - k) / (k - 1)
        assert f_oneway(*(values[groups == g] for g in np.unique(groups))).statistic == pytest.approx(ratio, rel=1e-4)


def test_choices_that_matter_come_first_and_fixed_ones_not_at_all(made):
    genotypes = [(a, b, 1) for a in range(2) for b in range(3)]
    trials = [{"genotype": g, "metrics": {"accuracy": 10.0 * g[1] + g[0], "flops": 1.0}} for g in genotypes]
    choices = [Choice("width", (8, 16)), Choice("edge", ("none", "skip", "conv")), Choice("fixed", (1, 2))]
    found = genes(made(trials), choices)
    assert [(g.name, g.options) for g in found] == [("edge", ("none", "skip", "conv")), ("width", ("8", "16"))]
    assert found[0].share > 0.9 > 0.1 > found[1].share and found[0].picked.tolist() == [0, 1, 2, 0, 1, 2]
    assert [g.name for g in genes(made(trials), None)] == ["choice 1", "choice 0"]


def test_without_outcomes_no_choice_tells_anything(made):
    found = genes(made([{"genotype": (0,)}, {"genotype": (1,)}]), None)
    assert [g.share for g in found] == [0.0] and genes(made([]), None) == []
