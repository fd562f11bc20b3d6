"""Hyper-parameters by the marginal likelihood: the planted ones are found, and weights are probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.architecture_kernel import Blocks, KernelSettings, Points
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.gram_gp import GramGP
from xnas_ray.surrogates.model_selection import KernelGrid, select
from xnas_ray.testing.tiny import TinySpace

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)


def drawn(space, count: int, epochs: tuple[float, ...] = (1.0,), seed: int = 0) -> tuple[Encodings, Points]:
    dice, encodings = np.random.default_rng(seed), Encodings(space)
    rows = encodings.add_all(space.canonical(space.sample(dice)) for _ in range(count))
    return encodings, Points(rows, dice.choice(epochs, count))


def planted(encodings: Encodings, points: Points, settings: KernelSettings, noise: float, seed: int = 1) -> np.ndarray:
    """Targets drawn from a process with these hyper-parameters."""
    dice = np.random.default_rng(seed)
    gram = Blocks(encodings, points, points).combine(settings)
    return np.linalg.cholesky(gram + noise * np.eye(len(points))) @ dice.standard_normal(len(points))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_part_that_made_the_targets_is_found(share: float):
    encodings, points = drawn(CELLS, 150)
    y = planted(encodings, points, KernelSettings(depth=2, wl_share=share, hamming_length=2.0), 0.02)
    found = select(encodings, points, y, KernelGrid())
    assert abs(found[0].settings.wl_share - share) <= 0.25


def test_blocks_that_are_there_are_used():
    encodings, points = drawn(CELLS, 40)
    y, made = planted(encodings, points, KernelSettings(), 0.1), Blocks(encodings, points, points)
    for grid in (KernelGrid(), KernelGrid(max_points=25)):
        assert select(encodings, points, y, grid, blocks=made) == select(encodings, points, y, grid)


def test_the_noise_is_found():
    encodings, points = drawn(CELLS, 200)
    quiet, loud = (planted(encodings, points, KernelSettings(), noise) for noise in (0.01, 1.0))
    ratios = [select(encodings, points, y, KernelGrid())[0].evidence.noise_ratio for y in (quiet, loud)]
    assert ratios[0] < 0.1 < 0.5 < ratios[1]


def test_lengths_of_genes_and_fidelities_are_found():
    space = JointSpace(architecture=CELLS, recipe={"lr": {"log": [1e-3, 1.0], "levels": 12}})
    encodings, points = drawn(space, 150, epochs=(1.0, 64.0))
    far = planted(encodings, points, KernelSettings(numeric_length=4.0, fidelity_length=16.0), 0.02)
    near = planted(encodings, points, KernelSettings(numeric_length=0.25, fidelity_length=1.0), 0.02)
    long, short = (select(encodings, points, y, KernelGrid())[0].settings for y in (far, near))
    assert long.numeric_length > short.numeric_length
    assert long.fidelity_length > short.fidelity_length


def test_the_weights_are_posterior_probabilities():
    encodings, points = drawn(CELLS, 25)
    y = planted(encodings, points, KernelSettings(), 0.05)
    grid = KernelGrid(members=5)
    found = select(encodings, points, y, grid)
    weights = np.array([one.weight for one in found])
    likelihoods = [one.evidence.log_likelihood for one in found]
    assert 1 < len(found) <= 5
    assert weights.sum() == pytest.approx(1.0)
    assert np.diff(np.log(weights)) == pytest.approx(np.diff(likelihoods))
    for one in found:
        gp = GramGP(Blocks(encodings, points, points).combine(one.settings), one.evidence.noise_ratio)
        gp.set_targets(y)
        assert gp.log_likelihood == pytest.approx(one.evidence.log_likelihood)
        assert gp.scale == pytest.approx(one.evidence.scale)


def test_many_points_choose_by_some_of_them():
    encodings, points = drawn(CELLS, 120)
    y = planted(encodings, points, KernelSettings(), 0.05)
    few = select(encodings, points, y, KernelGrid(max_points=40))
    chosen = np.linspace(0, 119, 40).round().astype(int)
    alone = select(encodings, points.take(chosen), y[chosen], KernelGrid())
    assert few[0].settings == alone[0].settings
    assert few[0].weight >= alone[0].weight  # three times the points tell three times as much


def test_a_space_without_unordered_choices_has_no_hamming_part():
    space = TinySpace()
    space.choices = space.choices[:2]  # type: ignore[misc]
    encodings = Encodings(TinySpace())
    points = Points(encodings.add_all(TinySpace().enumerate()), np.ones(12))
    found = select(encodings, points, np.sin(np.arange(12.0)), KernelGrid())
    assert found[0].settings.numeric_length in KernelGrid().numeric_lengths
