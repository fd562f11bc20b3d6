"""Gumbel-softmax: options mixed as they would be drawn, softly, so that gradients pass (Jang et al., ICLR 2017).

``g_i = softmax((a_i + e_i) / tau)`` with logits ``a`` and noise ``e`` of the standard Gumbel distribution. For any
temperature ``tau`` the largest weight falls on option i with probability ``softmax(a)_i`` (Gumbel 1954); the smaller
``tau``, the closer the weights are to one-hot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas_ray.errors import SpecError
from xnas_ray.training.augment import stream_seed

LOWEST = 0.05
"""Smallest temperature: below it weights are one-hot in single precision, and gradients vanish or are not finite."""

_SMALLEST = 1e-300


@dataclass(frozen=True)
class Temperature:
    """``initial * exp(-decay)^epoch``, and never below ``LOWEST``.

    Attributes:
        initial: in epoch 0; FBNetV2 has 5.0.
        decay: rate of every epoch; FBNetV2 has 0.045, which leaves 0.091 in the last of 90 epochs.

    Raises:
        SpecError: a value is out of range.
    """

    initial: float = 5.0
    decay: float = 0.045

    def __post_init__(self) -> None:
        """Check both values."""
        for name, value, low in (("tau", self.initial, LOWEST), ("tau_decay", self.decay, 0.0)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1e6:
                raise SpecError(f"must be at least {low:g}, got {value!r}.", field=f"controller.params.{name}")

    def __call__(self, epoch: int) -> float:
        """The temperature of an epoch, counted from 0."""
        return max(LOWEST, self.initial * math.exp(-self.decay * epoch))


def gumbel_noise(count: int, seed: int, *place: int) -> Tensor:
    """Standard Gumbel noise, ``-log(-log(u))``: float32, ``count`` numbers on the CPU.

    It is a function of the seed and the place alone: the same on every rank, on every device and after a restart.
    Drawn in double precision, where ``u`` comes so close to 0 and 1 that no number is infinite: all lie in
    ``[-6.6, 36.8]``.

    Args:
        count: how many.
        seed: of the search.
        *place: numbers that tell this draw from all others, the purpose first.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, *place))
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).clamp_min(_SMALLEST)
    return -(-uniform.log()).log().to(torch.float32)


def gumbel_softmax(logits: Tensor, temperature: float, noise: Tensor | None = None) -> Tensor:
    """Weights of the options, which sum to 1; in single precision at least.

    Args:
        logits: of the options, a vector.
        temperature: values below ``LOWEST`` are raised to it.
        noise: of the same length; none gives the plain softmax at this temperature.

    Returns:
        A vector of float32, or of float64 where the logits are.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    shifted = wide if noise is None else wide + noise.to(wide)
    return torch.softmax(shifted / max(temperature, LOWEST), dim=0)
