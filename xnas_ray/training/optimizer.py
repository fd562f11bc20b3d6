"""Optimizers of a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xnas_ray.training.recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters; fused where torch has it: one call a step, not one each.

    Without ``decay_norm_and_bias``, vectors and scalars are a group of their own with a weight decay of 0.

    RMSProp is torch's: ``w <- w - lr m``, ``m <- momentum m + g / (sqrt(v) + eps)``, v starting at 0. TensorFlow's,
    with which MobileNets and EfficientNets were first trained (alpha 0.9, eps 1e-3), has eps below the root, starts v
    at 1 and keeps lr inside m; with its alpha and the root of its eps torch's comes near it after some steps.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained}]
    if not recipe.decay_norm_and_bias:
        groups = [
            {"params": [p for p in trained if p.dim() > 1]},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True, **common)
    if recipe.optimizer == "rmsprop":
        common |= {"alpha": recipe.rmsprop_alpha, "eps": recipe.rmsprop_eps}
        return torch.optim.RMSprop(groups, momentum=recipe.momentum, foreach=True, **common)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, betas=(recipe.momentum, 0.999), fused=True, **common)
