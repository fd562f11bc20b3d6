"""Products by double backward are those of dense matrices, over fixed batches of a function that does not change."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from xnas_ray.errors import InfluenceError, SpecError
from xnas_ray.supernets.derivatives import Derivatives, supernet_loss
from xnas_ray.testing.tiny_supernet import SHAPE, TinySupernet


def near(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> bool:
    return float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))


def random_like(tensor: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=tensor.dtype)


@pytest.mark.parametrize("parameterisation", ["weights", "logits"])
def test_products_are_those_of_dense_matrices(make_toy, parameterisation):
    toy = make_toy(parameterisation=parameterisation)
    derivatives, size = toy.derivatives, toy.derivatives.size
    whole = toy.dense(parameterisation)
    h, b, a = whole[:size, :size], whole[:size, size:], whole[size:, size:]
    v, u = random_like(derivatives.flat_weights()), random_like(derivatives.variables)
    assert size == 66 and derivatives.count == 3
    assert near(derivatives.hessian_product(v), h @ v)
    assert near(derivatives.hessian(), h)
    assert near(derivatives.mixed_product(u), b @ u.reshape(-1))
    assert near(derivatives.mixed_product_transposed(v).reshape(-1), b.T @ v)
    assert near(derivatives.mixing_hessian_product(u).reshape(-1), a @ u.reshape(-1))
    assert float(b.abs().max()) > 0.01, "there is something to agree on"


def test_gradients_are_slopes_of_the_value(toy):
    derivatives, step = toy.derivatives, 1e-5
    start, p = derivatives.flat_weights(), derivatives.variables.detach()
    gradient, of_mixing = derivatives.gradient(), derivatives.mixing_gradient()
    along = random_like(start, 1)
    values = []
    for sign in (1, -1):
        derivatives.set_weights(start + sign * step * along)
        values.append(derivatives.value())
    derivatives.set_weights(start)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient @ along), rel=1e-6)
    u = random_like(p, 2)
    up, down = (derivatives.at(p + sign * step * u).value() for sign in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(float((of_mixing * u).sum()), rel=1e-6)


def test_mixed_products_are_differences_of_gradients(toy):
    derivatives, step = toy.derivatives, 1e-4
    p, u = derivatives.variables.detach(), random_like(derivatives.variables, 3)
    up, down = (derivatives.at(p + sign * step * u).gradient() for sign in (1, -1))
    assert near(derivatives.mixed_product(u), (up - down) / (2 * step), 1e-4)


def test_one_row_a_batch_without_the_ridge(toy):
    rows = toy.derivatives.gradient_rows()
    assert rows.shape == (3, 66)
    assert near(rows.mean(0) + 0.05 * toy.derivatives.flat_weights(), toy.derivatives.gradient())
    second = Derivatives(toy.supernet, supernet_loss(toy.supernet), toy.batches[1:2])
    assert near(rows[1], second.gradient())


@given(st.permutations(range(3)))
def test_the_order_of_batches_does_not_count(make_toy, order):
    toy = make_toy()
    other = Derivatives(toy.supernet, toy.derivatives.loss, [toy.batches[i] for i in order], ridge=0.05)
    v = random_like(other.flat_weights(), 4)
    assert near(other.hessian_product(v), toy.derivatives.hessian_product(v))


def test_batches_are_the_same_in_every_pass(toy):
    # The list is taken when the derivatives are made, and no call takes batches: changing it later changes nothing.
    batches = list(toy.batches)
    derivatives = Derivatives(toy.supernet, toy.derivatives.loss, batches, ridge=0.05)
    before = derivatives.gradient()
    batches.reverse()
    del batches[0]
    assert torch.equal(derivatives.gradient(), before)
    again = toy.data.fixed(toy.data.architecture_indices, 3)
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(again, toy.batches, strict=True))


def test_other_batches_leave_the_first_ones(toy):
    first, batches = toy.derivatives.gradient(), toy.data.fixed(toy.data.weight_indices, 2)
    other = Derivatives(toy.supernet, toy.derivatives.loss, batches, ridge=0.05)
    assert torch.equal(toy.derivatives.over(batches).gradient(), other.gradient())
    assert toy.derivatives.over(batches).count == 2 and toy.derivatives.count == 3
    assert torch.equal(toy.derivatives.gradient(), first)
    with pytest.raises(SpecError, match="at least one batch"):
        toy.derivatives.over([])


def test_other_mixing_weights_leave_the_first_ones(toy):
    first = toy.derivatives.gradient()
    there = toy.derivatives.at(torch.zeros_like(toy.derivatives.variables))
    assert not near(there.gradient(), first)
    assert torch.equal(toy.derivatives.gradient(), first)
    assert there.weights is toy.derivatives.weights, "weights are the supernet's"


def test_a_weight_that_the_loss_does_not_reach_has_zeros(toy):
    toy.supernet.extra = nn.Parameter(torch.ones(5, dtype=torch.float64))
    derivatives = Derivatives(toy.supernet, toy.derivatives.loss, toy.batches, ridge=0.5)
    v = torch.ones(derivatives.size, dtype=torch.float64)
    assert torch.equal(derivatives.hessian_product(v)[-5:], 0.5 * v[-5:])
    assert torch.equal(derivatives.mixed_product(torch.ones_like(derivatives.variables))[-5:], 0 * v[-5:])


class Noisy(TinySupernet):
    """With a layer that is not a function of its input alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(SHAPE)
        self.norm = layer


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(3, dtype=torch.float64), r"changes its buffer 'norm\.running_mean'.*track_running_stats=False"),
        (nn.Dropout(0.1), "draws random numbers.*dropout"),
    ],
)
def test_what_cannot_be_called_twice_is_refused_and_restored(toy, layer, message):
    supernet = Noisy(layer)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    with pytest.raises(InfluenceError, match=message):
        Derivatives(supernet, supernet_loss(supernet), toy.batches)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    Derivatives(supernet.eval(), supernet_loss(supernet), toy.batches)  # neither does so in evaluation


def test_bad_settings(toy):
    with pytest.raises(SpecError, match="at least one batch"):
        Derivatives(toy.supernet, toy.derivatives.loss, [])
    with pytest.raises(SpecError, match="Did you mean 'logits'"):
        Derivatives(toy.supernet, toy.derivatives.loss, toy.batches, parameterisation="logit")
