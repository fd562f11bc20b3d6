"""Expected hypervolume improvement of normal predictions, through BoTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

_BLOCK = 2048
_SMALLEST = 1e-300


def log_expected_hypervolume_improvement(
    mean: np.ndarray, deviation: np.ndarray, *, front: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Logarithm of the expected hypervolume improvement (Yang et al. 2019) of N candidates, exact.

    Args:
        mean: N x m, larger is better; objectives are independent.
        deviation: N x m, above 0.
        front: k x m, what is not dominated so far.
        reference: m values; the volume above it counts.
    """
    points = torch.as_tensor(np.ascontiguousarray(front), dtype=torch.float64)
    origin = torch.as_tensor(reference, dtype=torch.float64)
    improvement = ExpectedHypervolumeImprovement(
        model=Marginals(mean, deviation),
        ref_point=[float(value) for value in reference],
        partitioning=FastNondominatedPartitioning(ref_point=origin, Y=points),
    )
    found = []
    with torch.no_grad():
        for block in torch.arange(len(mean), dtype=torch.float64).split(_BLOCK):
            found.append(improvement(block.reshape(-1, 1, 1)))
    return np.asarray(torch.cat(found).clamp_min(_SMALLEST).log().numpy())


class Marginals(Model):
    """A model whose inputs are candidate numbers and whose posteriors are given.

    Args:
        mean: N x m.
        deviation: N x m.
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Keep the predictions."""
        super().__init__()
        self._mean = torch.as_tensor(np.ascontiguousarray(mean), dtype=torch.float64)
        self._variance = torch.as_tensor(np.ascontiguousarray(deviation), dtype=torch.float64) ** 2

    @property
    def num_outputs(self) -> int:
        """Number of objectives m."""
        return int(self._mean.shape[1])

    @property
    def batch_shape(self) -> torch.Size:
        """One model."""
        return torch.Size()

    def posterior(self, X: Tensor, *arguments: Any, **given: Any) -> GPyTorchPosterior:
        """Independent normal objectives at ``b x 1 x 1`` candidate numbers."""
        numbers = X[..., 0].long()
        mean, variance = (values[numbers].movedim(-1, 0) for values in (self._mean, self._variance))
        each = MultivariateNormal(mean, DiagLinearOperator(variance))
        return GPyTorchPosterior(MultitaskMultivariateNormal.from_batch_mvn(each, task_dim=0))
