"""The BoTorch model equals the closed form, and serves BoTorch's own acquisition functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from gpytorch.mlls import ExactMarginalLogLikelihood

from xnas_ray.controllers.acquisition import log_expected_improvement
from xnas_ray.controllers.hypervolume import reference_point
from xnas_ray.pareto import pareto_mask
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.ehvi import log_expected_hypervolume_improvement
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.gram_gp import evidence
from xnas_ray.surrogates.metric_model import MetricModel
from xnas_ray.surrogates.wl_gp import WLGP, GramKernel, botorch_model, log_marginal_likelihood

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
ENCODINGS = Encodings(CELLS)
ROWS = ENCODINGS.add_all(list(CELLS.enumerate())[::90])
SEEN, NEW = ROWS[:30], ROWS[30:]


def told(seed: int, rows: np.ndarray = SEEN) -> MetricModel:
    dice = np.random.default_rng(seed)
    model = MetricModel(ENCODINGS, "score", maximize=True, epochs=1)
    for row in rows:
        model.add(int(row), float(np.sin(row) + dice.normal()), 1)
    return model


def test_it_equals_the_closed_form():
    model = told(0)
    gp, x = botorch_model(model, NEW)
    mean, variance = model.gp.predict(model.grams(model.points, model.points_at(NEW))[0])
    with torch.no_grad():
        found, noisy = gp.posterior(x), gp.posterior(x, observation_noise=True)
    assert found.mean[:, 0].numpy() == pytest.approx(mean, abs=1e-9)
    assert found.variance[:, 0].numpy() == pytest.approx(variance, abs=1e-6)
    assert noisy.variance[:, 0].numpy() == pytest.approx(variance + model.gp.noise, abs=1e-6)
    assert log_marginal_likelihood(gp) == pytest.approx(model.gp.log_likelihood)


def test_one_candidate_a_batch_is_enough_for_log_ei():
    model = told(1)
    gp, x = botorch_model(model, NEW)
    best = float(model.targets.max())
    with torch.no_grad():
        found = LogExpectedImprovement(gp, best_f=best)(x.unsqueeze(1)).numpy()
    mean, variance = model.gp.predict(model.grams(model.points, model.points_at(NEW))[0])
    assert found == pytest.approx(log_expected_improvement(mean, np.sqrt(variance), best), abs=1e-4)


def test_fantasies_are_those_of_appended_observations():
    model = told(2)
    gp, x = botorch_model(model, NEW)
    with torch.no_grad():
        gp.posterior(x)
        believed = gp.condition_on_observations(x[:1], gp.posterior(x[:1]).mean).posterior(x)
    from xnas_ray.surrogates.tracked_candidates import TrackedCandidates

    tracked = TrackedCandidates(model, NEW)
    tracked.update([(int(NEW[0]), 1)])
    assert believed.mean[:, 0].detach().numpy() == pytest.approx(tracked.posteriors[0].mean(), abs=1e-6)
    assert believed.variance[:, 0].detach().numpy() == pytest.approx(tracked.posteriors[0].variance(), abs=1e-6)


def test_ehvi_through_a_list_of_models_is_that_of_their_marginals():
    models = [told(3), told(4)]
    pairs = [botorch_model(model, NEW) for model in models]
    targets = np.stack([model.targets for model in models], axis=1)
    front, reference = targets[pareto_mask(targets)], reference_point(targets)
    partitioning = FastNondominatedPartitioning(torch.as_tensor(reference), Y=torch.as_tensor(front))
    direct = ExpectedHypervolumeImprovement(ModelListGP(*(gp for gp, _ in pairs)), reference.tolist(), partitioning)
    with torch.no_grad():
        expected = direct(pairs[0][1].unsqueeze(1)).numpy()
    predicted = [m.gp.predict(m.grams(m.points, m.points_at(NEW))[0]) for m in models]
    mean, variance = (np.stack([p[i] for p in predicted], axis=1) for i in (0, 1))
    found = log_expected_hypervolume_improvement(mean, np.sqrt(variance), front=front, reference=reference)
    assert np.exp(found) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_hyper_parameters_can_be_fitted_by_botorch():
    model = told(5)
    gram = model.grams(model.points, model.points)[0]
    y = torch.as_tensor(model.targets).unsqueeze(-1)
    numbers = torch.arange(30, dtype=torch.float64).unsqueeze(-1)
    gp = WLGP(numbers, y, gram)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(gp.likelihood, gp))
    # BoTorch fits one noise above a fixed floor; ours lies above a share of the scale.
    assert log_marginal_likelihood(gp) >= evidence(gram, model.targets).log_likelihood - 0.5


@pytest.mark.parametrize("combination", ["product", "sum"])
def test_numeric_columns_join_by_a_matern_kernel(combination):
    gram = np.exp(-np.abs(np.subtract.outer(np.arange(12.0), np.arange(12.0))))
    x = torch.cat([torch.arange(12.0).unsqueeze(-1), torch.linspace(0, 1, 12).unsqueeze(-1)], dim=-1).double()
    gp = WLGP(x, torch.sin(x[:, 1:] * 6), gram, combination=combination, scale=1.0, noise=0.1)
    covariance = gp.covar_module(x).to_dense().detach().numpy()
    assert np.linalg.eigvalsh(covariance).min() > 0
    if combination == "product":
        assert (covariance <= gram + 1e-9).all() and np.diag(covariance) == pytest.approx(np.ones(12))
    assert gp.posterior(x[:2]).mean.shape == (2, 1)


def test_the_kernel_looks_up_rows_in_any_batch():
    gram = np.arange(16.0).reshape(4, 4)
    kernel = GramKernel(gram + gram.T)
    first, second = torch.tensor([[[0.0], [1.0]], [[2.0], [3.0]]]), torch.tensor([[[3.0]], [[1.0]]])
    found = kernel(first, second).to_dense()
    assert found.tolist() == [[[15.0], [20.0]], [[15.0], [20.0]]]
    assert kernel(first, diag=True).tolist() == [[0.0, 10.0], [20.0, 30.0]]
