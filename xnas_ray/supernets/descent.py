"""Stochastic gradient descent of a supernet's weights: clipped steps, and the step that would come next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xnas_ray.supernets.bilevel import VirtualStep
from xnas_ray.supernets.darts_settings import DartsSettings


class Descent:
    """Torch's optimizer with a limit to the length of the gradient.

    Args:
        weights: what it moves.
        settings: give momentum, weight decay and the limit.
        rate: learning rate.

    Attributes:
        optimizer: which keeps momentum and rate.
    """

    def __init__(self, weights: Sequence[nn.Parameter], settings: DartsSettings, rate: float) -> None:
        """Nothing has momentum yet."""
        self.weights = list(weights)
        self.settings = settings
        self.optimizer = torch.optim.SGD(
            self.weights,
            lr=rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move the weights; gradients that are too long together are shortened."""
        take_step(self.optimizer, self.weights, clipped(gradients, self.settings.grad_clip))

    def next_step(self) -> VirtualStep:
        """What it would do next, without the limit."""
        state = self.optimizer.state
        buffers = [state[weight].get("momentum_buffer") for weight in self.weights if weight in state]
        return VirtualStep(
            rate=self.optimizer.param_groups[0]["lr"],
            momentum=self.settings.momentum,
            weight_decay=self.settings.weight_decay,
            nesterov=self.settings.nesterov,
            buffers=[buffer for buffer in buffers if buffer is not None],
        )


def clipped(gradients: Sequence[Tensor], limit: float) -> Sequence[Tensor]:
    """Gradients that are no longer together than the limit; 0 is none."""
    if not limit:
        return gradients
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one) for one in gradients]))
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    return [one * factor for one in gradients]


def take_step(optimizer: torch.optim.Optimizer, variables: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """One step of an optimizer with these gradients, which it does not keep."""
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
