"""Descent of weights: the step foretold is the step taken, long gradients are shortened as torch does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xnas_ray.supernets.darts_settings import DartsSettings
from xnas_ray.supernets.descent import Descent


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*size, generator=generator)) for size in ((3, 2), (4,))]


def slopes(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(*size, generator=generator) for size in ((3, 2), (4,))]


@pytest.mark.parametrize("settings", [{"momentum": 0.0}, {}, {"nesterov": True, "weight_decay": 0.1}], ids=str)
def test_the_step_foretold_is_the_step_taken(settings: dict[str, float]):
    own = weights()
    descent = Descent(own, DartsSettings(grad_clip=0.0, **settings), 0.1)  # type: ignore[arg-type]
    for step in range(4):
        descent.set_rate(0.1 / (1 + step))
        foretold = descent.next_step()(own, slopes(step))
        descent.step(slopes(step))
        assert all(torch.allclose(f, w, atol=1e-7) for f, w in zip(foretold, own, strict=True))
        assert all(w.grad is None for w in own)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_gradients_are_no_longer_than_they_may(limit: float):
    own, other = weights(), weights()
    Descent(own, DartsSettings(grad_clip=limit), 0.1).step(slopes(0))
    for variable, slope in zip(other, slopes(0), strict=True):
        variable.grad = slope
    torch.nn.utils.clip_grad_norm_(other, limit)
    torch.optim.SGD(other, 0.1, momentum=0.9, weight_decay=3e-4).step()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(own, other, strict=True))


def test_momentum_goes_on():
    first, second = weights(), weights()
    whole, part = (Descent(own, DartsSettings(), 0.1) for own in (first, second))
    for step in range(2):
        whole.step(slopes(step))
    part.step(slopes(0))
    again = Descent(second, DartsSettings(), 0.3)
    again.optimizer.load_state_dict(part.optimizer.state_dict())
    again.step(slopes(1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
