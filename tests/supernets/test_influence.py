"""Influences against dense formulas and against weights that really are trained again."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from xnas_ray.errors import SpecError
from xnas_ray.supernets import inverse_hessian
from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.supernets.influence import (
    change_by_schur,
    change_by_theorem_1,
    change_by_theorem_2,
    influence,
    influential_magnitude,
    without,
)
from xnas_ray.supernets.inverse_hessian import Exact, Identity, Neumann, Woodbury, largest_eigenvalue
from xnas_ray.testing.tiny_supernet import settle

EXACT = Exact()


@pytest.fixture
def blocks(settled_toy) -> tuple[Tensor, Tensor]:
    """The dense ``H`` and ``B`` at the optimum."""
    size = settled_toy.derivatives.size
    whole = settled_toy.dense()
    return whole[:size, :size], whole[:size, size:]


def direction(seed: int) -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- influential magnitude -------------------------------------------------------------------------------------------


def test_the_influential_magnitude_is_its_dense_formula(settled_toy, blocks):
    h, b = blocks
    ones = torch.ones(12, dtype=torch.float64)
    wanted = -(b.T @ torch.linalg.solve(h, b @ ones)).view(3, 4)
    found = influential_magnitude(settled_toy.derivatives, EXACT)
    assert float((found - wanted).abs().max()) < 1e-10
    assert float(found.sum()) < 0, "training again can only gain"
    by_identity = influential_magnitude(settled_toy.derivatives, Identity())
    assert float((by_identity + (b.T @ b @ ones).view(3, 4)).abs().max()) < 1e-10


def test_it_is_the_slope_of_theorem_2_at_all_ones(settled_toy):
    derivatives, step = settled_toy.derivatives, 1e-4
    found = influential_magnitude(derivatives, EXACT)
    ones = torch.ones(3, 4, dtype=torch.float64)
    for edge, operation in ((0, 1), (1, 3), (2, 2)):
        aside = torch.zeros(3, 4, dtype=torch.float64)
        aside[edge, operation] = step
        up, down = (change_by_theorem_2(derivatives, ones + sign * aside, EXACT) for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(float(found[edge, operation]), rel=1e-6)


def test_on_logits_it_is_zero_and_says_so(make_toy):
    toy = make_toy(seed=3)  # wherever the weights are
    logits = Derivatives(toy.supernet, toy.derivatives.loss, toy.batches, ridge=0.05, parameterisation="logits")
    with pytest.warns(UserWarning, match="zero for every network"):
        nothing = influential_magnitude(logits, Exact(damping=1.0))
    assert float(nothing.abs().max()) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(influential_magnitude(toy.derivatives, Exact(damping=1.0)).abs().max()) > 1e-3
        some = influential_magnitude(logits, Exact(damping=1.0), direction=direction(5))
    assert float(some.abs().max()) > 1e-6, "a direction that is not constant on an edge has influence"
    assert float(some.sum(1).abs().max()) < 1e-12, "yet constants have none"


def test_none_has_no_influence(settled_toy):
    assert not influential_magnitude(settled_toy.derivatives, EXACT)[:, 0].any()


def test_mixed_derivatives_and_hessian_may_see_different_data(settled_toy):
    data, derivatives = settled_toy.data, settled_toy.derivatives
    other = derivatives.over(data.fixed(data.weight_indices, 3))
    h = other.hessian()
    pulled = derivatives.mixed_product(torch.ones(3, 4, dtype=torch.float64))
    wanted = -derivatives.mixed_product_transposed(torch.linalg.solve(h, pulled))
    found = influential_magnitude(derivatives, EXACT, curvature=other)
    assert float((found - wanted).abs().max()) < 1e-10
    assert float((found - influential_magnitude(derivatives, EXACT)).abs().max()) > 1e-3


def test_solvers_agree_on_what_matters(settled_toy):
    exact = influential_magnitude(settled_toy.derivatives, EXACT)
    neumann = influential_magnitude(settled_toy.derivatives, Neumann(terms=100))
    assert float((neumann - exact).norm() / exact.norm()) < 0.05
    fisher = influential_magnitude(settled_toy.derivatives, Woodbury(eta=0.05))
    cosine = torch.nn.functional.cosine_similarity(fisher.reshape(-1), exact.reshape(-1), dim=0)
    assert float(cosine) > 0.7


# ---- the theorems ----------------------------------------------------------------------------------------------------


class Again:
    """What the loss really changes by when the weights settle again after a change of the mixing weights."""

    def __init__(self, derivatives: Derivatives) -> None:
        self.derivatives = derivatives
        self.best = derivatives.flat_weights()
        self.base = derivatives.value()

    def __call__(self, change: Tensor) -> tuple[float, float]:
        """The whole change, and the part that training gains."""
        there = self.derivatives.at(self.derivatives.variables.detach() + change)
        frozen = there.value()
        try:
            settle(there)
            return there.value() - self.base, there.value() - frozen
        finally:
            self.derivatives.set_weights(self.best)


@pytest.mark.parametrize("seed", [0, 1])
def test_theorems_predict_what_training_again_does_with_an_error_of_the_next_order(settled_toy, seed):
    derivatives, again = settled_toy.derivatives, Again(settled_toy.derivatives)
    u = direction(seed)
    errors: dict[str, list[float]] = {"theorem 1": [], "theorem 2": [], "schur": []}
    for size in (3e-2, 3e-3):
        d = size * u / u.norm()
        whole, gained = again(d)
        errors["theorem 1"].append(abs(change_by_theorem_1(derivatives, d, EXACT) / whole - 1))
        errors["schur"].append(abs(change_by_schur(derivatives, d, EXACT) / whole - 1))
        errors["theorem 2"].append(abs(change_by_theorem_2(derivatives, d, EXACT) / gained - 1))
    for name, found in errors.items():
        assert found[-1] < 0.02, (name, found)
        # Changes ten times smaller, predictions about ten times better.
        assert all(large / small > 4 for large, small in pairwise(found)), (name, found)


def test_theorem_2_alone_is_not_the_whole_change(settled_toy):
    derivatives, again = settled_toy.derivatives, Again(settled_toy.derivatives)
    d = 1e-3 * direction(2)
    whole, gained = again(d)
    predicted = change_by_theorem_2(derivatives, d, EXACT)
    assert predicted == pytest.approx(gained, rel=0.05)
    assert abs(predicted - whole) > 10 * abs(gained), "it leaves out what the change alone does"


# ---- removal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("renormalise", [False, True])
def test_influence_is_theorem_1_of_every_removal(settled_toy, renormalise):
    derivatives, again = settled_toy.derivatives, Again(settled_toy.derivatives)
    found = influence(derivatives, EXACT, renormalise=renormalise)
    p = derivatives.variables.detach()
    for edge, operation in ((0, 3), (2, 1)):
        change = without(p, edge, operation, renormalise=renormalise) - p
        assert float(found[edge, operation]) == pytest.approx(change_by_theorem_1(derivatives, change, EXACT))
        whole, _ = again(change)
        assert float(found[edge, operation]) == pytest.approx(whole, rel=0.4, abs=0.01), "large changes, rough figures"
    if not renormalise:
        assert float(found[:, 0].abs().max()) < 1e-12, "without none nothing changes"


def test_influence_leaves_out_what_is_not_asked_about(settled_toy):
    keep = torch.zeros(3, 4, dtype=torch.bool)
    keep[1, 2] = True
    found = influence(settled_toy.derivatives, Identity(), keep=keep)
    assert torch.equal(found.isnan(), ~keep)


def test_what_a_solver_estimates_serves_all_removals(settled_toy, monkeypatch):
    asked = []

    def estimate(*args, **settings) -> float:
        asked.append(args)
        return largest_eigenvalue(*args, **settings)

    monkeypatch.setattr(inverse_hessian, "largest_eigenvalue", estimate)
    found = influence(settled_toy.derivatives, Neumann(terms=200))
    assert len(asked) == 1
    exactly = influence(settled_toy.derivatives, EXACT)
    error = (found - exactly).abs() / exactly.abs().max()
    assert float(error.median()) < 1e-6
    assert float(error.max()) < 0.05


def test_where_the_estimate_does_not_fit_a_removal_is_estimated_anew(settled_toy, monkeypatch):
    keep = torch.zeros(3, 4, dtype=torch.bool)
    keep[0, 3] = keep[2, 1] = True
    wanted = influence(settled_toy.derivatives, Neumann(terms=50), keep=keep)
    monkeypatch.setattr(Neumann, "settled", lambda self, *_: Neumann(gamma=1e3, terms=50))  # far beyond 2/λmax
    found = influence(settled_toy.derivatives, Neumann(terms=50), keep=keep)
    assert torch.allclose(found[keep], wanted[keep], rtol=0.01)


def test_influence_is_asked_by_weights(make_toy):
    with pytest.raises(SpecError, match="Valid: weights"):
        influence(make_toy(parameterisation="logits").derivatives, Identity())


def test_removing_an_operation():
    p = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    assert torch.equal(without(p, 0, 1)[0], torch.tensor([0.2, 0.0, 0.5])) and p[0, 1] == 0.3
    scaled = without(p, 0, 1, renormalise=True)
    assert torch.allclose(scaled[0], torch.tensor([0.2, 0.0, 0.5]) / 0.7) and torch.equal(scaled[1], p[1])
    assert not without(p, 1, 1, renormalise=True)[1].any(), "nothing to take its weight"
