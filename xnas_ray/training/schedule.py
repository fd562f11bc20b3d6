"""Learning rates as a function of the step: nothing to store, nothing to restore."""

from __future__ import annotations

import math

from xnas_ray.training.recipe import Recipe

ONECYCLE_START = 25.0
ONECYCLE_END = 1e4


class Schedule:
    """The learning rate of every step of ``epochs`` epochs.

    After ``w`` warm-up steps, in which it rises as ``lr (s + 1) / w``, with ``t = (s - w) / (n - w)`` of ``n`` steps:

    - cosine: ``lr (f + (1 - f) (1 + cos(pi t)) / 2)`` (Loshchilov & Hutter 2017), f being ``final_lr``
    - step: ``lr factor^k`` after the k-th place of ``step_at`` was passed
    - constant: ``lr``
    - exponential: ``lr d^e``, d being ``lr_decay`` and e the whole epochs since the warm-up, as torch's ExponentialLR
    - onecycle: cosine from ``lr / 25`` up to ``lr`` at ``onecycle_peak`` and down to ``lr / 250,000`` (Smith & Topin
      2019), as torch's OneCycleLR

    Args:
        recipe: gives the schedule and its settings.
        steps_per_epoch: optimizer steps of one epoch.
        epochs: epochs over which it stretches; training may stop before.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, epochs: int) -> None:
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps_per_epoch * epochs
        self.warmup_steps = min(round(recipe.warmup_epochs * steps_per_epoch), self.steps)

    def __call__(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        recipe = self.recipe
        if step < self.warmup_steps:
            return recipe.lr * (step + 1) / self.warmup_steps
        if recipe.schedule == "onecycle":
            return self._onecycle(step)
        share = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        if recipe.schedule == "cosine":
            return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * (1 + math.cos(math.pi * share)) / 2)
        if recipe.schedule == "exponential":
            return recipe.lr * recipe.lr_decay ** ((step - self.warmup_steps) // self.steps_per_epoch)
        if recipe.schedule == "step":
            return recipe.lr * recipe.step_factor ** sum(share >= place for place in recipe.step_at)
        return recipe.lr

    def _onecycle(self, step: int) -> float:
        lr, last = self.recipe.lr, self.steps - 1
        peak = self.recipe.onecycle_peak * self.steps - 1
        start, end = lr / ONECYCLE_START, lr / ONECYCLE_START / ONECYCLE_END
        if peak > 0 and step <= peak:
            return _anneal(start, lr, step / peak)
        return _anneal(lr, end, (step - peak) / max(1.0, last - peak))


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
