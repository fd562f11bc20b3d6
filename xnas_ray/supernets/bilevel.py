"""Derivatives of the bilevel problem: architectures are chosen for the weights that they would lead to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas_ray.training.ranks import ALONE, Ranks

LossAt = Callable[[Sequence[Tensor] | None], Tensor]
"""The loss of one batch, weighted by ``Ranks.weight``, at weights in the place of the supernet's own (None: those)."""


@dataclass(frozen=True)
class VirtualStep:
    """The step that stochastic gradient descent would take now, not clipped.

    With gradient ``g``, weight decay ``l``, momentum ``m`` and its buffer ``b`` torch's optimizer moves weights by
    ``-rate (a (g + l w) + c b)``, where ``a, c`` are ``1, m``, and ``1 + m, m^2`` in Nesterov's form.

    Attributes:
        rate: learning rate.
        momentum: of the optimizer.
        weight_decay: of the optimizer.
        nesterov: whether momentum is Nesterov's.
        buffers: momentum buffers, one a weight; empty before the first step.
    """

    rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    buffers: Sequence[Tensor] = ()

    @property
    def sensitivity(self) -> float:
        """How far a weight moves against a unit of its gradient."""
        return self.rate * (1 + self.momentum if self.nesterov else 1.0)

    def __call__(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Weights after the step, leaves that ask for gradients."""
        kept = self.rate * self.momentum * (self.momentum if self.nesterov else 1.0)
        moved = []
        with torch.no_grad():
            for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                after = weight - self.sensitivity * (gradient + self.weight_decay * weight)
                if self.buffers:
                    after -= kept * self.buffers[i]
                moved.append(after.requires_grad_())
        return moved


def gradients(loss: Tensor, variables: Sequence[Tensor], ranks: Ranks = ALONE) -> list[Tensor]:
    """Derivatives of the loss of the whole batch; zeros for variables that it does not depend on."""
    found = torch.autograd.grad(loss, list(variables), materialize_grads=True)
    return _averaged(found, ranks)


def unrolled_gradients(
    architecture: Sequence[Tensor],
    weights: Sequence[Tensor],
    weight_loss: LossAt,
    architecture_loss: LossAt,
    step: VirtualStep,
    ranks: Ranks = ALONE,
) -> list[Tensor]:
    """Derivatives of ``L_val(w'(a), a)`` by ``a``, where ``w'`` is one step from ``w`` (Liu et al., ICLR 2019, Eq. 7).

    ``d L_val / d a = dL_val(w', a)/da - s B^T v`` with ``v = dL_val(w', a)/dw'``, the mixed derivative
    ``B = d2 L_train(w, a) / dw da`` and the step's sensitivity ``s``. The official code has the product ``B^T v`` by
    finite differences of weights; here it is exact, by differentiating ``dL_train/dw`` once more.

    All ranks hold the same virtual weights, and the result is that of both whole batches.

    Args:
        architecture: the variables ``a``.
        weights: the weights ``w``.
        weight_loss: ``L_train``.
        architecture_loss: ``L_val``.
        step: from ``w`` to ``w'``.
        ranks: who shares the batches.
    """
    slopes = torch.autograd.grad(weight_loss(None), list(weights), create_graph=True, materialize_grads=True)
    virtual = step(weights, _averaged([slope.detach().clone() for slope in slopes], ranks))
    found = torch.autograd.grad(architecture_loss(virtual), [*architecture, *virtual], materialize_grads=True)
    direct, towards = found[: len(architecture)], _averaged(found[len(architecture) :], ranks)
    pairs = [(slope, v) for slope, v in zip(slopes, towards, strict=True) if slope.requires_grad]
    indirect = torch.autograd.grad(
        [slope for slope, _ in pairs], list(architecture), [v for _, v in pairs], materialize_grads=True
    )
    return _averaged([d - step.sensitivity * i for d, i in zip(direct, indirect, strict=True)], ranks)


def _averaged(tensors: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
    """Means over the ranks; contiguous, since derivatives may be views that repeat one number."""
    found = [tensor.contiguous() for tensor in tensors]
    ranks.mean(found)
    return found
