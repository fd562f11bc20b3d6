"""A trained candidate: what objectives measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xnas_ray.messages import Candidate, Cost, Genotype
from xnas_ray.networks.decision_rules import Tree
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.tasks.metrics import measure, resolve_loss, resolve_metrics
from xnas_ray.training.recipe import Recipe


@dataclass(eq=False)
class TrainedCandidate:
    """A network after training, with all that objectives may need.

    Attributes:
        model: in evaluation mode, on ``device``; the moving average of the weights where the recipe has one.
        space: where the genotype comes from.
        genotype: the architecture.
        candidate: what was proposed.
        problem: what it was trained for.
        data: what it was trained on.
        device: where the model is.
        recipe: how it was trained.
        outputs: float32 ``validation samples x outputs`` on the CPU, after the last epoch.
        targets: targets of the validation split, on the CPU.
        metrics: finite values by name: train_loss, val_loss, val_accuracy …
        curve: one record an epoch: the metrics, epoch (from 1), lr, elapsed_s (training time over all attempts).
        cost: analytic FLOPs and parameters.
        duration_s: seconds of this attempt.
        build_s: of these, seconds until training began.
        train_s: seconds of training, over all attempts.
        peak_memory_bytes: most device memory, None on a CPU.
        tree: along which it learnt to decide; None without tree supervision, or before its first tree.
    """

    model: nn.Module
    space: Space
    genotype: Genotype
    candidate: Candidate
    problem: Problem
    data: Data
    device: torch.device
    recipe: Recipe
    outputs: Tensor
    targets: Tensor
    metrics: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]
    cost: Cost
    duration_s: float
    build_s: float
    train_s: float
    peak_memory_bytes: int | None = None
    tree: Tree | None = None

    @property
    def shape(self) -> DataShape:
        """Inputs and outputs of the network."""
        return self.data.data_shape


class Evaluator:
    """Measures a network on a split as its problem says.

    Args:
        problem: gives the loss and the metrics.
        recipe: gives the batch size of evaluations, mixed precision and memory format.
        device: where the network is.
    """

    def __init__(self, problem: Problem, recipe: Recipe, device: torch.device) -> None:
        self.loss = resolve_loss(problem.loss)
        self.metrics = resolve_metrics(problem.metrics)
        self.recipe = recipe
        self.device = device

    def predict(self, model: nn.Module, split: Split) -> Tensor:
        """Outputs of every sample, float32 ``n x outputs`` on ``device``, in evaluation mode."""
        was_training = model.training
        model.eval()
        size = self.recipe.eval_batch_size
        with torch.inference_mode(), autocast(self.recipe, self.device):
            parts = [
                model(*(place(x[i : i + size], self.recipe, self.device) for x in split.inputs)).float()
                for i in range(0, len(split), size)
            ]
        model.train(was_training)
        return torch.cat(parts)

    def measure(self, outputs: Tensor, targets: Tensor, prefix: str) -> dict[str, float]:
        """``<prefix>_loss`` and the metrics of a split."""
        with torch.no_grad():
            loss = self.loss(outputs, targets).item()
        return {f"{prefix}_loss": loss, **measure(self.metrics, outputs, targets, prefix)}

    def __call__(self, model: nn.Module, split: Split, prefix: str) -> dict[str, float]:
        """Predict a split and measure it."""
        return self.measure(self.predict(model, split), split.targets.to(self.device), prefix)


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Mixed precision where the recipe and the device have it."""
    enabled = recipe.amp and device.type == "cuda"
    return torch.autocast(device.type, dtype=getattr(torch, recipe.amp_dtype), enabled=enabled)


def place(x: Tensor, recipe: Recipe, device: torch.device) -> Tensor:
    """An input batch where the network reads it, images channels-last on CUDA."""
    if device.type != "cuda":
        return x
    if recipe.channels_last and x.dim() == 4:
        return x.to(device, non_blocking=True, memory_format=torch.channels_last)
    return x.to(device, non_blocking=True)
