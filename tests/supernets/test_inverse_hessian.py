"""Solvers of ``H u = v`` against dense linear algebra, their bounds, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import InfluenceError, SpecError, UnknownNameError
from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.supernets.inverse_hessian import SOLVERS, Neumann, largest_eigenvalue


def solver(name: str, **settings):
    return SOLVERS.create(name, settings, field="solver")


class Dense(Derivatives):
    """Derivatives with a Hessian that was made once: solvers see the products, and those cost nothing."""

    def __init__(self, like: Derivatives) -> None:
        self.__dict__.update(like.__dict__)
        self.matrix = like.hessian()

    def hessian(self) -> torch.Tensor:
        return self.matrix.clone()

    def hessian_product(self, vector: torch.Tensor) -> torch.Tensor:
        return self.matrix @ vector


@pytest.fixture(scope="module")
def problem(settled_toy):
    """Derivatives at an optimum, the dense Hessian, a vector, and the solution."""
    derivatives = Dense(settled_toy.derivatives)
    hessian = derivatives.hessian()
    vector = derivatives.mixed_product(torch.ones_like(derivatives.variables))
    return derivatives, hessian, vector, torch.linalg.solve(hessian, vector)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


def test_the_optimum_is_one(problem):
    derivatives, hessian, _, _ = problem
    assert float(derivatives.gradient().norm()) < 1e-10
    assert float(torch.linalg.eigvalsh(hessian)[0]) > 0.01


def test_exact_and_conjugate_gradients_solve(problem):
    derivatives, hessian, vector, solution = problem
    assert relative(solver("exact").solve(derivatives, vector), solution) < 1e-12
    assert relative(solver("cg", damping=0.0, tolerance=1e-10).solve(derivatives, vector), solution) < 1e-8
    damped = torch.linalg.solve(hessian + 0.5 * torch.eye(len(hessian)), vector)
    assert relative(solver("exact", damping=0.5).solve(derivatives, vector), damped) < 1e-12
    assert relative(solver("cg", damping=0.5, tolerance=1e-10).solve(derivatives, vector), damped) < 1e-8
    assert torch.equal(solver("identity").solve(derivatives, vector), vector)
    assert not solver("cg").solve(derivatives, torch.zeros_like(vector)).any()


# ---- Neumann ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [0, 3, 30, 300])
@pytest.mark.parametrize("share", [0.5, 1.0, 1.9])
def test_neumanns_error_is_within_its_bound(problem, terms, share):
    derivatives, hessian, vector, solution = problem
    lowest, highest = (float(e) for e in torch.linalg.eigvalsh(hessian)[[0, -1]])
    gamma = share / highest
    found = Neumann(gamma=gamma, terms=terms).solve(derivatives, vector)
    worst = max(abs(1 - gamma * lowest), abs(1 - gamma * highest))
    assert relative(found, solution) <= worst ** (terms + 1) * (1 + 1e-9) + 1e-12
    powers = torch.eye(len(hessian)) - gamma * hessian
    term, total = gamma * vector, gamma * vector
    for _ in range(terms):
        term = powers @ term
        total = total + term
    assert relative(found, total) < 1e-10, "the partial sum itself"


@pytest.mark.parametrize("share", [2.1, 3.0, 50.0])
def test_divergence_is_an_error_that_says_what_to_do(problem, share):
    derivatives, hessian, vector, _ = problem
    gamma = share / float(torch.linalg.eigvalsh(hessian)[-1])
    with pytest.raises(InfluenceError, match=r"solver\.gamma: Neumann's series diverges: term \d+ .* below 2/λmax"):
        Neumann(gamma=gamma, terms=300).solve(derivatives, vector)


def test_a_negative_curvature_is_an_error_unless_it_is_damped(make_toy):
    derivatives = Dense(make_toy(seed=2, ridge=0.0).derivatives)  # not trained
    curvatures, axes = torch.linalg.eigh(derivatives.hessian())
    lowest = float(curvatures[0])
    assert lowest < -1e-3
    with pytest.raises(InfluenceError, match="diverges"):
        Neumann(terms=10_000).solve(derivatives, axes[:, 0])
    with pytest.raises(InfluenceError, match=r"solver\.damping: .* curvature -"):
        solver("cg", damping=-0.5 * lowest).solve(derivatives, axes[:, 0])
    damping = -3 * lowest
    wanted = axes[:, 0] / (lowest + damping)
    assert relative(solver("cg", damping=damping).solve(derivatives, axes[:, 0]), wanted) < 1e-5
    wanted = axes[:, 0] / (lowest + 1)
    assert relative(Neumann(damping=1.0, terms=60).solve(derivatives, axes[:, 0]), wanted) < 1e-3


def test_a_settled_solver_does_what_it_did_and_estimates_nothing(problem):
    derivatives, hessian, vector, _ = problem
    settled = Neumann(terms=5, damping=0.1).settled(derivatives, vector)
    assert settled.gamma == pytest.approx(1 / (float(torch.linalg.eigvalsh(hessian)[-1]) + 0.1), rel=0.01)
    assert torch.equal(settled.solve(derivatives, vector), Neumann(terms=5, damping=0.1).solve(derivatives, vector))
    for name in set(SOLVERS.names()) - {"neumann"}:
        assert solver(name).settled(derivatives, vector) == solver(name)


def test_gamma_decides_whether_neumann_sees_any_curvature(problem):
    derivatives, _, vector, solution = problem
    tiny = Neumann(gamma=1e-5, terms=3).solve(derivatives, vector)
    assert relative(tiny, 4e-5 * vector) < 1e-3, "gamma (K + 1) v, the identity's direction"
    estimated = Neumann(terms=3).solve(derivatives, vector)
    assert cosine(tiny, solution) == pytest.approx(cosine(vector, solution), abs=1e-3)
    assert cosine(estimated, solution) > cosine(tiny, solution) + 0.01
    assert cosine(Neumann(terms=100).solve(derivatives, vector), solution) > 0.999


def test_the_largest_eigenvalue_is_estimated_from_below(problem):
    derivatives, hessian, vector, _ = problem
    highest = float(torch.linalg.eigvalsh(hessian)[-1])
    for seed in range(3):
        rough = largest_eigenvalue(derivatives.hessian_product, vector, seed=seed)
        assert 0.8 * highest < rough <= highest * (1 + 1e-12)
        fine = largest_eigenvalue(derivatives.hessian_product, vector, steps=5000, tolerance=1e-15, seed=seed)
        assert fine == pytest.approx(highest, rel=1e-9)
    assert largest_eigenvalue(lambda v: -3.0 * v, vector) == pytest.approx(3.0), "the largest in size"
    with pytest.raises(InfluenceError, match="length 0"):
        largest_eigenvalue(lambda v: 0 * v, vector)


# ---- the Fisher matrix -----------------------------------------------------------------------------------------------


class Rows(Derivatives):
    """Derivatives of which only the rows are asked for."""

    def __init__(self, like: Derivatives, rows: torch.Tensor) -> None:
        self.__dict__.update(like.__dict__)
        self.rows, self.count, self.size = rows, len(rows), rows.shape[1]

    def gradient_rows(self) -> torch.Tensor:
        return self.rows


@given(
    count=st.integers(1, 12),
    eta=st.sampled_from([1e-2, 1.0, 100.0]),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_sherman_morrison_is_woodbury_is_dense(settled_toy, count, eta, seed, scale):
    rng = np.random.default_rng(seed)
    rows, vector = torch.from_numpy(scale * rng.normal(size=(count, 9))), torch.from_numpy(rng.normal(size=9))
    fisher = eta * torch.eye(9, dtype=torch.float64) + rows.T @ rows / count
    dense = torch.linalg.solve(fisher, vector)
    derivatives = Rows(settled_toy.derivatives, rows)
    for name in ("sherman_morrison", "woodbury"):
        assert relative(solver(name, eta=eta).solve(derivatives, vector), dense) < 1e-11, name


@pytest.mark.parametrize("name", ["sherman_morrison", "woodbury"])
def test_the_fisher_matrix_of_a_supernet(make_toy, name):
    derivatives = make_toy(seed=4).derivatives
    rows, vector = derivatives.gradient_rows(), torch.ones(66, dtype=torch.float64)
    fisher = 0.01 * torch.eye(66, dtype=torch.float64) + rows.T @ rows / 3
    found = solver(name, eta=0.01).solve(derivatives, vector)
    assert relative(found, torch.linalg.solve(fisher, vector)) < 1e-12
    assert relative(found, vector / 0.01) > 0.01, "the gradients count"


# ---- names and settings ----------------------------------------------------------------------------------------------


def test_names_and_settings_are_checked():
    assert SOLVERS.names() == ["cg", "exact", "identity", "neumann", "sherman_morrison", "woodbury"]
    with pytest.raises(UnknownNameError, match=r"solver: there is no solver 'neuman'\. Did you mean 'neumann'"):
        solver("neuman")
    with pytest.raises(UnknownNameError, match="Did you mean 'gamma'"):
        solver("neumann", gama=1e-3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("exact", {"damping": -1.0}, "damping: must be a number of at least 0"),
        ("cg", {"tolerance": 0.0}, "tolerance: must be a number above 0"),
        ("cg", {"steps": 0}, "steps: must be a whole number of at least 1"),
        ("neumann", {"gamma": 0.0}, "gamma: must be a number above 0"),
        ("neumann", {"gamma": float("nan")}, "gamma"),
        ("neumann", {"terms": 2.5}, "terms: must be a whole number"),
        ("woodbury", {"eta": 0.0}, "eta: must be a number above 0"),
        ("sherman_morrison", {"eta": True}, "eta"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(SpecError, match=message):
        solver(name, **settings)


def test_what_does_not_converge_or_is_too_large_is_an_error(problem, monkeypatch):
    derivatives, _, vector, _ = problem
    with pytest.raises(InfluenceError, match=r"solver\.steps: .* residual of .* after 2 steps"):
        solver("cg", steps=2, tolerance=1e-12).solve(derivatives, vector)
    monkeypatch.setattr("xnas_ray.supernets.inverse_hessian.MAX_EXACT", 65)
    with pytest.raises(InfluenceError, match="66 weights is too large"):
        solver("exact").solve(derivatives, vector)


def test_a_singular_hessian_wants_damping(make_toy):
    derivatives = make_toy(ridge=0.0).derivatives
    nothing = derivatives.at(torch.zeros_like(derivatives.variables))  # only the bias is left
    vector = torch.ones(66, dtype=torch.float64)
    with pytest.raises(InfluenceError, match=r"solver\.damping: the Hessian is singular"):
        solver("exact").solve(nothing, vector)
    assert solver("exact", damping=0.1).solve(nothing, vector).isfinite().all()
