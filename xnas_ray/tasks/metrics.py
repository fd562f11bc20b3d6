"""Losses and metrics by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xnas_ray.errors import TaskError

Loss = Callable[..., Tensor]
"""``loss(outputs, targets) -> scalar tensor``; ``label_smoothing`` is given to cross entropy only."""

Metric = Callable[[Tensor, Tensor], Any]
"""``metric(outputs: n x k, targets: n ...) -> float``, of a whole split."""


def top1(outputs: Tensor, targets: Tensor) -> float:
    """Percentage of samples whose largest output is their class."""
    return 100.0 * (outputs.argmax(1) == targets).float().mean().item()


def top5(outputs: Tensor, targets: Tensor) -> float:
    """Percentage of samples whose class is among the five largest outputs (all of them below five classes)."""
    best = outputs.topk(min(5, outputs.shape[1]), dim=1).indices
    return 100.0 * (best == targets[:, None]).any(1).float().mean().item()


def mse(outputs: Tensor, targets: Tensor) -> float:
    """Mean squared error over samples and values."""
    return functional.mse_loss(outputs.reshape(targets.shape).double(), targets.double()).item()


def r2(outputs: Tensor, targets: Tensor) -> float:
    """Coefficient of determination, 1 - residual / total sum of squares, the mean over regressed values.

    Raises:
        TaskError: a target is the same for every sample, so that nothing is to be explained.
    """
    y = targets.double().reshape(len(targets), -1)
    residual = (outputs.double().reshape(y.shape) - y).square().sum(0)
    total = (y - y.mean(0)).square().sum(0)
    if bool((total == 0).any()):
        raise TaskError("R2 is undefined: a target is constant over the split.", field="Problem.metrics")
    return (1 - residual / total).mean().item()


METRICS: dict[str, tuple[str, Metric]] = {
    "top1": ("accuracy", top1),
    "top5": ("top5", top5),
    "mse": ("mse", mse),
    "r2": ("r2", r2),
}
"""Name -> (how it is recorded after ``val_`` or ``test_``, function)."""


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs ``n x k`` against targets ``n`` or ``n x k``."""
    return functional.mse_loss(outputs.reshape(targets.shape), targets)


LOSSES: dict[str, Loss] = {"cross_entropy": functional.cross_entropy, "mse": mean_squared_error}


def resolve_loss(loss: str | Loss) -> Loss:
    """The loss function of a name; a callable is given back.

    Raises:
        TaskError: no such loss.
    """
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise TaskError(f"there is no loss {loss!r}.", field="Problem.loss", got=loss, valid=LOSSES)
    return LOSSES[loss]


def resolve_metrics(metrics: Sequence[str | Metric] | Mapping[str, str | Metric]) -> dict[str, Metric]:
    """Functions by the suffix that they are recorded under (``accuracy`` for top1).

    Raises:
        TaskError: no such metric, or two of the same name.
    """
    if isinstance(metrics, Mapping):
        pairs = [(name, *_metric(metric)[1:]) for name, metric in metrics.items()]
    else:
        pairs = [_metric(metric) for metric in metrics]
    found: dict[str, Metric] = {}
    for name, function in pairs:
        if name in found or name == "loss":
            raise TaskError(f"the metric name {name!r} is taken.", field="Problem.metrics")
        found[name] = function
    return found


def _metric(metric: str | Metric) -> tuple[str, Metric]:
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    if metric not in METRICS:
        raise TaskError(
            f"there is no metric {metric!r}.",
            field="Problem.metrics",
            got=metric,
            valid=METRICS,
            fix="Or give a callable metric(outputs, targets) -> float.",
        )
    return METRICS[metric]


def measure(metrics: Mapping[str, Metric], outputs: Tensor, targets: Tensor, prefix: str) -> dict[str, float]:
    """Every metric of a split, named ``<prefix>_<suffix>``."""
    with torch.no_grad():
        return {f"{prefix}_{name}": float(metric(outputs, targets)) for name, metric in metrics.items()}
