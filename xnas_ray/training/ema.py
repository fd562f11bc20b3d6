"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows a network: ``average <- d average + (1 - d) weights`` after every step (Polyak & Juditsky 1992).

    Buffers (running statistics) are copied. In the first steps the decay is ``(1 + s) / (10 + s)`` where that is less
    than ``d``, so that short trainings are not held back by their random start (as in TensorFlow and timm).

    Args:
        model: the network that is trained.
        decay: d, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        if weights:
            torch._foreach_lerp_(averages, weights, 1 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
