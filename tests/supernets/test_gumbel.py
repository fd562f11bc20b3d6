"""Gumbel-softmax: schedule, noise, and the probabilities that its draws have."""

from __future__ import annotations

import math

import pytest
import torch

from xnas_ray.errors import SpecError
from xnas_ray.supernets.gumbel import LOWEST, Temperature, gumbel_noise, gumbel_softmax

torch.set_num_threads(1)


def test_the_schedule_has_the_papers_values():
    tau = Temperature()
    assert tau(0) == 5.0
    assert tau(1) / tau(0) == pytest.approx(0.956, abs=5e-5)
    assert tau(89) == pytest.approx(0.0911, abs=5e-5)
    assert tau(90) == pytest.approx(0.0871, abs=5e-5)
    assert tau(1000) == LOWEST


@pytest.mark.parametrize(("params", "named"), [({"initial": 0.0}, r"params\.tau:"), ({"decay": -1.0}, "tau_decay")])
def test_bad_schedules_are_refused(params: dict[str, float], named: str):
    with pytest.raises(SpecError, match=named):
        Temperature(**params)


def test_noise_is_a_function_of_its_place():
    first = gumbel_noise(100, 3, 1, 0, 5)
    torch.rand(7)
    assert torch.equal(first, gumbel_noise(100, 3, 1, 0, 5))
    others = [gumbel_noise(100, *place) for place in ((4, 1, 0, 5), (3, 2, 0, 5), (3, 1, 1, 5), (3, 1, 0, 6))]
    assert not any(torch.equal(first, other) for other in others)


def test_noise_has_the_moments_of_the_gumbel_distribution():
    noise = gumbel_noise(200_000, 0, 0).double()
    assert noise.mean().item() == pytest.approx(0.5772156649, abs=0.01)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)


def test_the_largest_weight_is_drawn_by_softmax_of_the_logits():
    logits = torch.tensor([1.0, 0.0, -1.0, 0.5])
    noise = gumbel_noise(4 * 40_000, 1, 0).reshape(-1, 4)
    drawn = torch.stack([gumbel_softmax(logits, 0.7, one) for one in noise[:200]]).argmax(1)
    assert torch.equal(drawn, (logits + noise[:200]).argmax(1))
    shares = torch.bincount((logits + noise).argmax(1), minlength=4) / len(noise)
    assert torch.allclose(shares, torch.softmax(logits, 0), atol=0.01)


def test_temperatures_go_from_even_to_one_hot():
    logits, noise = torch.tensor([0.3, 0.1, -0.2]), gumbel_noise(3, 5, 0)
    even, sharp = gumbel_softmax(logits, 1e4, noise), gumbel_softmax(logits, LOWEST, noise)
    assert torch.allclose(even, torch.full((3,), 1 / 3), atol=1e-3)
    assert sharp.max() > 0.9
    assert torch.equal(gumbel_softmax(logits, 0.0, noise), sharp)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision_is_single_at_least(dtype: torch.dtype):
    weights = gumbel_softmax(torch.zeros(3, dtype=dtype), 1.0, gumbel_noise(3, 0, 0))
    assert weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-6)


def test_gradients_stay_finite_at_the_lowest_temperature():
    for step in range(50):
        logits = torch.linspace(-30, 30, 9, requires_grad=True)
        weights = gumbel_softmax(logits, 0.0, gumbel_noise(9, step, 0))
        (weights * torch.arange(9)).sum().backward()
        assert torch.isfinite(weights).all()
        assert torch.isfinite(logits.grad).all()


def test_gradients_are_those_of_finite_differences():
    logits = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    noise = gumbel_noise(5, 1, 0).double()
    assert torch.autograd.gradcheck(lambda a: gumbel_softmax(a, 0.8, noise), logits)
