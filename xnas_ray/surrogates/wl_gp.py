"""The same Gaussian process as a BoTorch model, for acquisition functions and optimisers that are written for those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import gpytorch
import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from torch import Tensor

from xnas_ray.surrogates.gram_gp import NOISE_FLOOR
from xnas_ray.surrogates.metric_model import MetricModel

Combination = Literal["product", "sum"]


class GramKernel(Kernel):
    """A kernel that looks its values up: inputs are row numbers of a cached Gram matrix.

    Graphs are no tensors. Giving BoTorch their numbers instead of their features keeps inputs one column wide, so that
    a t-batch of N candidates broadcasts N numbers, not N copies of all features (measured for 100 observations, 1,692
    features and 200 candidates: LogEI takes 1.4 ms instead of 143 ms).

    Args:
        gram: M x M, symmetric, of every point that will be asked for.
    """

    has_lengthscale = False

    def __init__(self, gram: np.ndarray | Tensor, **given: Any) -> None:
        """Keep the matrix."""
        super().__init__(**given)
        self.register_buffer("gram", torch.as_tensor(gram, dtype=torch.float64))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **given: Any) -> Tensor:
        """Values between ``... x n x 1`` and ``... x m x 1`` row numbers."""
        first, second = x1[..., 0].long(), x2[..., 0].long()
        if diag:
            return self.gram[first, second]
        return self.gram[first.unsqueeze(-1), second.unsqueeze(-2)]


class WLGP(SingleTaskGP):
    """A GP over cached Gram rows, with zero mean: ``ScaleKernel(GramKernel [* or +] Matern52)`` and Gaussian noise.

    Column 0 of X is the row of the Gram matrix; further columns are numbers (FLOPs, parameters, genes of a recipe),
    scaled by the caller, on which a Matérn 5/2 kernel with a lengthscale each works. Hyper-parameters that are not
    given are free for ``botorch.fit.fit_gpytorch_mll``; noise stays above a hundredth.

    Args:
        train_x: n x (1 + q).
        train_y: n x 1, standardised.
        gram: M x M, of observations and candidates.
        combination: how the numeric kernel joins.
        scale: output scale s².
        noise: noise variance.
    """

    _ignore_X_dims_scaling_check: Sequence[int] = (0,)

    def __init__(
        self,
        train_x: Tensor,
        train_y: Tensor,
        gram: np.ndarray | Tensor,
        *,
        combination: Combination = "product",
        scale: float | None = None,
        noise: float | None = None,
    ) -> None:
        """Assemble kernel and likelihood."""
        kernel: Kernel = GramKernel(gram, active_dims=(0,))
        numeric = train_x.shape[-1] - 1
        if numeric:
            matern = MaternKernel(nu=2.5, ard_num_dims=numeric, active_dims=tuple(range(1, numeric + 1)))
            kernel = kernel * matern if combination == "product" else kernel + ScaleKernel(matern)
        floor = min(NOISE_FLOOR, 0.5 * noise) if noise is not None else NOISE_FLOOR
        super().__init__(
            train_x,
            train_y,
            likelihood=gpytorch.likelihoods.GaussianLikelihood(noise_constraint=GreaterThan(floor)),
            mean_module=gpytorch.means.ZeroMean(),
            covar_module=ScaleKernel(kernel),
            outcome_transform=None,
        )
        self.to(torch.float64)
        if scale is not None:
            self.covar_module.outputscale = scale
        if noise is not None:
            self.likelihood.noise = noise


def botorch_model(model: MetricModel, rows: Sequence[int] | np.ndarray) -> tuple[WLGP, Tensor]:
    """The most probable member of a metric's model, and its inputs for some architectures.

    Args:
        model: with observations.
        rows: of N candidates in the model's encodings.

    Returns:
        The BoTorch model, whose posterior equals the closed form; and X of the candidates, N x 1.
    """
    member, observed, there = model.members[0], model.points, model.points_at(rows)
    every = observed.joined(there)
    numbers = torch.arange(len(every), dtype=torch.float64).unsqueeze(-1)
    gp = WLGP(
        numbers[: len(observed)],
        torch.as_tensor(member.gp.targets).unsqueeze(-1),
        model.grams(every, every)[0],
        scale=member.gp.scale,
        noise=member.gp.noise,
    )
    gp.eval()
    return gp, numbers[len(observed) :]


def log_marginal_likelihood(gp: WLGP) -> float:
    """``log p(y)`` of the model's own data under its hyper-parameters."""
    gp.train()
    likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(gp.likelihood, gp)
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        value = float(likelihood(gp(*gp.train_inputs), gp.train_targets)) * len(gp.train_targets)
    gp.eval()
    if not math.isfinite(value):
        raise FloatingPointError("the marginal likelihood is not finite")
    return value
