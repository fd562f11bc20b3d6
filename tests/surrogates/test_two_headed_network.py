"""Two heads over one encoder: gradients against autograd, Adam against torch's, and what each phase leaves alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import huber_loss, relu

from xnas_ray.surrogates.two_headed_network import ROWS, Layer, Phase, TwoHeadedNetworks, train

MEMBERS, ROWS_GIVEN = 3, 9
SHAPES = [(5, 4), (5, 0), (0, 4)]
LAYERS = ("proxy", "encoder", "hidden", "output")

Tensors = dict[str, tuple[torch.Tensor, torch.Tensor]]


def drawn(architecture: int, recipe: int, members: int = MEMBERS) -> TwoHeadedNetworks:
    networks = TwoHeadedNetworks(members, architecture, recipe, 6)
    networks.flat[:] = np.random.default_rng(0).normal(0, 0.7, networks.flat.size)
    return networks


def as_torch(networks: TwoHeadedNetworks, member: int) -> Tensors:
    """One member's layers as tensors that want gradients."""

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[member].copy()).requires_grad_()

    layers: dict[str, Layer] = {name: getattr(networks, name) for name in LAYERS}
    return {name: (tensor(layer.weights), tensor(layer.biases)) for name, layer in layers.items()}


def apply(layers: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    weights, biases = layers[name]
    return x @ weights + biases


def proxies(layers: Tensors, a: torch.Tensor) -> torch.Tensor:
    return apply(layers, "proxy", relu(apply(layers, "encoder", a)))


def accuracies(layers: Tensors, a: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    embedding = relu(apply(layers, "encoder", a))
    return apply(layers, "output", relu(apply(layers, "hidden", torch.cat([embedding, r], dim=1))))[:, 0]


def assert_gradients(gradient: TwoHeadedNetworks, expected: list[Tensors], names: tuple[str, ...]) -> None:
    for member, layers in enumerate(expected):
        for name in names:
            layer: Layer = getattr(gradient, name)
            for found, tensor in zip((layer.weights, layer.biases), layers[name], strict=True):
                wanted = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                np.testing.assert_allclose(found[member], wanted, atol=1e-12)


def test_the_proxies_gradient_is_that_of_autograd():
    dice = np.random.default_rng(1)
    networks = drawn(5, 4)
    gradient = networks.like()
    a, target = dice.random((MEMBERS, ROWS_GIVEN, 5)), dice.normal(0, 2, (MEMBERS, ROWS_GIVEN, 2))
    networks.proxy_gradient(gradient, a, target)
    expected = []
    for member in range(MEMBERS):
        expected.append(as_torch(networks, member))
        huber_loss(proxies(expected[-1], torch.from_numpy(a[member])), torch.from_numpy(target[member])).backward()
    assert_gradients(gradient, expected, ("proxy", "encoder"))
    assert not gradient.flat[gradient.head].any()


@pytest.mark.parametrize(("architecture", "recipe"), SHAPES)
def test_the_accuracys_gradient_is_that_of_autograd(architecture: int, recipe: int):
    dice = np.random.default_rng(2)
    networks, scale = drawn(architecture, recipe), 2.5
    a, r = dice.random((MEMBERS, ROWS_GIVEN, architecture)), dice.random((MEMBERS, ROWS_GIVEN, recipe))
    target = dice.normal(0, 3, (MEMBERS, ROWS_GIVEN))
    whole, head = networks.like(), networks.like()
    networks.accuracy_gradient(whole, a, r, target, scale)
    networks.head_gradient(head, networks.embed(a), r, target, scale)
    expected = []
    for member in range(MEMBERS):
        expected.append(as_torch(networks, member))
        found = accuracies(expected[-1], torch.from_numpy(a[member]), torch.from_numpy(r[member]))
        huber_loss(scale * found, torch.from_numpy(target[member])).backward()
    assert_gradients(whole, expected, ("encoder", "hidden", "output"))
    assert_gradients(head, expected, ("hidden", "output"))
    assert not whole.flat[: whole.accuracy.start].any()
    assert not head.flat[: head.head.start].any()


def test_training_follows_torchs_adam():
    """Batches as large as the data: the order of rows does not matter, so torch must arrive at the same weights."""
    dice = np.random.default_rng(3)
    networks, before = drawn(5, 4, members=2), drawn(5, 4, members=2)
    a, r, target = dice.random((20, 5)), dice.random((20, 4)), dice.normal(0, 2, 20)
    phase = Phase(epochs=15, batch=64, learning_rate=0.02)

    def write(gradient: TwoHeadedNetworks, rows: np.ndarray) -> None:
        networks.accuracy_gradient(gradient, a[rows], r[rows], target[rows], 1.5)

    train(networks, networks.accuracy, phase, 20, write, np.random.default_rng(0))
    for member in range(2):
        layers = as_torch(before, member)
        optimizer = torch.optim.Adam([t for name in LAYERS[1:] for t in layers[name]], lr=phase.learning_rate)
        for _ in range(phase.epochs):
            optimizer.zero_grad()
            found = accuracies(layers, torch.from_numpy(a), torch.from_numpy(r))
            huber_loss(1.5 * found, torch.from_numpy(target)).backward()
            optimizer.step()
        for name in LAYERS:
            layer: Layer = getattr(networks, name)
            np.testing.assert_allclose(layer.weights[member], layers[name][0].detach(), rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(layer.biases[member], layers[name][1].detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("part", ["pretrained", "head", "accuracy"])
def test_a_phase_changes_its_part_alone(part: str):
    networks = drawn(5, 4)
    piece, before = getattr(networks, part), networks.copy().flat
    ones: Callable[[TwoHeadedNetworks, np.ndarray], None] = lambda gradient, rows: gradient.flat.fill(1.0)  # noqa: E731
    train(networks, piece, Phase(1, 4, 0.01), ROWS_GIVEN, ones, np.random.default_rng(0))
    changed = networks.flat != before
    assert changed[piece].all()
    assert changed.sum() == piece.stop - piece.start


def test_every_row_is_seen_once_an_epoch_by_every_member():
    seen: list[np.ndarray] = []
    networks = drawn(5, 4)
    train(
        networks,
        networks.head,
        Phase(epochs=3, batch=4, learning_rate=0.0),
        ROWS_GIVEN,
        lambda gradient, rows: seen.append(rows),
        np.random.default_rng(0),
    )
    assert [batch.shape[1] for batch in seen] == [3, 3, 3] * 3  # not 4, 4 and a lonely one
    epochs = [np.concatenate(seen[i : i + 3], axis=1) for i in (0, 3, 6)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch, axis=1), np.tile(np.arange(ROWS_GIVEN), (MEMBERS, 1)))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0][0], epochs[0][1])


def test_many_rows_are_read_in_pieces():
    dice = np.random.default_rng(4)
    networks = drawn(5, 4)
    a, r = dice.random((2 * ROWS + 3, 5)), dice.random((2 * ROWS + 3, 4))
    whole = networks.judge(networks.embed(a), r)[2][..., 0]
    np.testing.assert_allclose(networks.accuracies(a, r), whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(networks.proxies(a), networks.proxy.forward(networks.embed(a)), atol=1e-12)
    assert networks.accuracies(a[:0], r[:0]).shape == (MEMBERS, 0)
