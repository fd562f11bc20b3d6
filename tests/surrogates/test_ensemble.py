"""The ensemble: its gradient against autograd, its optimiser against torch's, determinism, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.surrogates import ensemble as module
from xnas_ray.surrogates.ensemble import NetworkEnsemble, NetworkShape
from xnas_ray.surrogates.path_encoding import columns_of, presence

SMALL = NetworkShape(networks=3, layers=3, width=6, epochs=30, batch=8)


def planted(rows: int, columns: int = 12, seed: int = 0) -> tuple[list[frozenset[int]], np.ndarray]:
    """Random sets of ids, and a value that depends on three of them, one of which needs another."""
    dice = np.random.default_rng(seed)
    sets = [frozenset(np.flatnonzero(dice.random(columns) < 0.4).tolist()) for _ in range(rows)]
    values = [90.0 + 3 * (0 in s) - 5 * (1 in s) + 2 * (2 in s and 3 in s) for s in sets]
    return sets, np.array(values)


def as_torch(weights: module._Weights, member: int) -> nn.Sequential:
    """One member as a torch network with the same parameters."""
    layers: list[nn.Module] = []
    for matrix, bias in zip([weights.first, *weights.later], weights.biases, strict=True):
        linear = nn.Linear(matrix.shape[1], matrix.shape[2], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(matrix[member].T.copy()))
            linear.bias.copy_(torch.from_numpy(bias[member, 0].copy()))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def drawn_weights(columns: int, seed: int = 0) -> module._Weights:
    weights = module._Weights(SMALL, columns)
    weights.flat[:] = np.random.default_rng(seed).normal(0, 0.5, weights.flat.size)
    return weights


def test_the_gradient_is_that_of_autograd():
    dice = np.random.default_rng(1)
    weights, gradient = drawn_weights(12), module._Weights(SMALL, 12)
    x, target, share = dice.random((3, 8, 12)), dice.normal(size=(3, 8)), dice.uniform(0.5, 2, (3, 8))
    module._backward(weights, gradient, x, target, share)
    for member in range(3):
        network = as_torch(weights, member)
        error = (network(torch.from_numpy(x[member]))[:, 0] - torch.from_numpy(target[member])).abs()
        (error * torch.from_numpy(share[member])).mean().backward()
        for i, linear in enumerate(network[::2]):
            found = [gradient.first, *gradient.later][i][member].T
            np.testing.assert_allclose(found, linear.weight.grad, atol=1e-12)
            np.testing.assert_allclose(gradient.biases[i][member, 0], linear.bias.grad, atol=1e-12)


def test_training_follows_torchs_adam():
    """Batches as large as the data: the order of rows does not matter, so torch must arrive at the same weights."""
    shape = NetworkShape(networks=2, layers=3, width=6, epochs=20, batch=64)
    rows, values = planted(40)
    x = presence(rows, columns_of(rows))
    weights = module._Weights(shape, x.shape[1])
    weights.flat[:] = np.random.default_rng(2).normal(0, 0.5, weights.flat.size)
    networks = [as_torch(weights, member) for member in range(2)]
    target = (values - values.mean()) / values.std()
    module._train(weights, shape, x, target, np.ones(40), np.random.default_rng(0))
    for member, network in enumerate(networks):
        optimizer = torch.optim.Adam(network.parameters(), lr=shape.learning_rate, betas=(0.9, 0.99), eps=1e-7)
        for _ in range(shape.epochs):
            optimizer.zero_grad()
            (network(torch.from_numpy(x))[:, 0] - torch.from_numpy(target)).abs().mean().backward()
            optimizer.step()
        np.testing.assert_allclose(
            weights.forward(np.matmul(x, weights.first))[-1][member, :, 0],
            network(torch.from_numpy(x)).detach()[:, 0],
            rtol=0.02,
            atol=0.01,  # epsilon stands before the bias correction here, behind it there
        )


def test_it_learns():
    rows, values = planted(300)
    network = NetworkEnsemble().fit(rows[:200], values[:200], seed=0)
    predicted = network.predict(rows[200:]).mean(axis=0)
    assert np.corrcoef(predicted, values[200:])[0, 1] > 0.9
    assert np.abs(predicted - values[200:]).mean() < 1.0


def test_members_differ_and_agree_on_what_they_have_seen():
    rows, values = planted(60)
    network = NetworkEnsemble(SMALL).fit(rows, values, seed=0)
    predicted = network.predict(rows)
    assert predicted.shape == (3, 60)
    assert np.all(predicted.std(axis=0) > 0)


def test_unseen_paths_move_the_members_apart():
    rows, values = planted(100)
    network = NetworkEnsemble().fit(rows, values, seed=0)
    strange = [row | {1000 + i, 2000 + i} for i, row in enumerate(rows)]
    assert network.predict(strange).std(axis=0).mean() > network.predict(rows).std(axis=0).mean()


def test_the_same_data_give_the_same_networks():
    rows, values = planted(50)
    first = NetworkEnsemble(SMALL).fit(rows, values, seed=3, fit=50)
    again = NetworkEnsemble(SMALL).fit(rows, values, seed=1).fit(rows, values, seed=3, fit=50)
    unseen = [*rows, frozenset({7, 12345})]
    np.testing.assert_array_equal(first.predict(unseen), again.predict(unseen))
    for other in (dict(seed=4, fit=50), dict(seed=3, fit=60)):
        assert not np.array_equal(NetworkEnsemble(SMALL).fit(rows, values, **other).predict(rows), first.predict(rows))


def test_predictions_do_not_depend_on_their_company():
    rows, values = planted(50)
    network = NetworkEnsemble(SMALL).fit(rows, values, seed=0)
    strange = [frozenset({1, 99}), frozenset({98}), frozenset()]
    together = network.predict([*rows, *strange])[:, -3:]
    np.testing.assert_allclose(network.predict(strange[::-1])[:, ::-1], together, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_units_do_not_matter(scale: float):
    rows, values = planted(50)
    plain = NetworkEnsemble(SMALL).fit(rows, values, seed=0).predict(rows)
    scaled = NetworkEnsemble(SMALL).fit(rows, scale * values, seed=0).predict(rows)
    np.testing.assert_allclose(scaled, scale * plain, rtol=1e-6)


def test_weights_make_the_percentage_error():
    """With the paper's weights the best constant is the weighted median, not the median."""
    rows = [frozenset()] * 9
    values = np.array([0.0] * 5 + [9.0] * 4)
    bound = 10.0
    one = NetworkShape(networks=2, layers=1, width=4, epochs=400, batch=9)
    plain = NetworkEnsemble(one).fit(rows, values, seed=0).predict(rows)
    weighted = NetworkEnsemble(one).fit(rows, values, seed=0, weights=1 / (bound - values)).predict(rows)
    np.testing.assert_allclose(plain, 0.0, atol=0.5)
    np.testing.assert_allclose(weighted, 9.0, atol=0.5)


def test_degenerate_data_are_survived():
    for rows, values in (([frozenset({1})], np.array([5.0])), ([frozenset()] * 3, np.array([1.0, 1.0, 1.0]))):
        predicted = NetworkEnsemble(SMALL).fit(rows, values, seed=0).predict([*rows, frozenset({8})])
        assert np.isfinite(predicted).all()


def test_prediction_needs_a_fit():
    with pytest.raises(RuntimeError, match="fit the ensemble"):
        NetworkEnsemble().predict([frozenset()])
