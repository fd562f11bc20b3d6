"""Settings of DMaskingNAS, checked when they are given, and the loss that they ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xnas_ray.errors import SpecError
from xnas_ray.supernets.darts_settings import checked_augment
from xnas_ray.training.recipe import Recipe

COSTS = ("flops", "params")
COST_FORMS = ("additive", "multiplicative", "hinge")
SAMPLING = ("shared", "per_rank")


@dataclass(frozen=True)
class DMaskingSettings:
    """How a masked supernet is searched.

    The thesis gives the temperatures (in ``gumbel.Temperature``), the two parts of the data, SGD and Adam. Learning
    rates, decays and the warm-up are those of FBNet, whose settings it refers to, as commonly re-implemented. How the
    cost is weighed it does not say: three forms are offered.

    Attributes:
        lr: first learning rate of the weights; a cosine takes it down to ``final_lr``, epoch by epoch.
        final_lr: the last.
        momentum: of the weights' optimizer.
        weight_decay: of the weights.
        grad_clip: largest norm of the weights' gradient; 0 is off.
        architecture_lr: learning rate of the architecture's Adam.
        architecture_weight_decay: of the architecture variables.
        warmup_epochs: first epochs, in which weights alone are trained, with no cost.
        cost: ``flops`` or ``params``.
        cost_form: ``additive``, ``loss + weight cost / reference``; ``multiplicative``, ``loss scale
            log(cost)^exponent``, FBNet's form, in which the logarithm has the power and not the cost; ``hinge``,
            ``loss + weight max(0, cost / target - 1)``.
        cost_weight: of the additive and hinge forms.
        cost_reference: of the additive form, in FLOPs or parameters; None takes what the untrained mixture costs.
        cost_target: of the hinge form, in FLOPs or parameters.
        cost_scale: of the multiplicative form.
        cost_exponent: of the multiplicative form.
        sampling: ``shared``: one Gumbel draw a step on all ranks; ``per_rank``: every rank has its own.
        augment: of images: random_crop, horizontal_flip, cutout.

    Raises:
        SpecError: a value is out of range; ``controller.params.<name>`` is named.
    """

    lr: float = 0.1
    final_lr: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    grad_clip: float = 0.0
    architecture_lr: float = 0.01
    architecture_weight_decay: float = 5e-4
    warmup_epochs: int = 10
    cost: str = "flops"
    cost_form: str = "additive"
    cost_weight: float = 1.0
    cost_reference: float | None = None
    cost_target: float | None = None
    cost_scale: float = 0.2
    cost_exponent: float = 0.6
    sampling: str = "shared"
    augment: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check every value."""
        for name, (low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), low, high)
        if isinstance(self.warmup_epochs, bool) or not isinstance(self.warmup_epochs, int) or self.warmup_epochs < 0:
            raise _error("warmup_epochs", f"must be a whole number of at least 0, got {self.warmup_epochs!r}.")
        for name, valid in (("cost", COSTS), ("cost_form", COST_FORMS), ("sampling", SAMPLING)):
            if getattr(self, name) not in valid:
                raise _error(name, f"there is no {getattr(self, name)!r}.", got=getattr(self, name), valid=valid)
        for name in ("cost_reference", "cost_target"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), 1.0, 1e18)
        if self.cost_form == "hinge" and self.cost_target is None:
            raise _error("cost_target", "the hinge form needs a target.", fix="Give FLOPs or parameters.")
        if self.final_lr > self.lr:
            raise _error("final_lr", f"{self.final_lr} is above lr, {self.lr}.")
        object.__setattr__(self, "augment", checked_augment(self.augment))

    @property
    def recipe(self) -> Recipe:
        """What ``training.augment`` reads."""
        return Recipe(augment=tuple(self.augment))

    def rate(self, epoch: int, epochs: int) -> float:
        """The weights' learning rate in an epoch, from 0, of so many (Loshchilov & Hutter 2017)."""
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    def objective(self, loss: Tensor, cost: Tensor, share: float, reference: float) -> Tensor:
        """What the architecture minimises: linear in the loss, so that the mean over ranks is that of the batch.

        Args:
            loss: of this rank's samples, weighted by ``Ranks.weight``.
            cost: of the mixture, FLOPs or parameters; a scalar in double precision, at least 1.
            share: ``Ranks.weight`` itself; it weighs the cost where every rank has its own draw. Means over ranks
                are 1, so that a shared draw's cost counts once.
            reference: of the additive form.
        """
        if self.cost_form == "multiplicative":
            return loss * (self.cost_scale * cost.log() ** self.cost_exponent).to(loss.dtype)
        if self.cost_form == "hinge":
            assert self.cost_target is not None
            excess = (cost / self.cost_target - 1).clamp_min(0)
        else:
            excess = cost / reference
        return loss + (share * self.cost_weight * excess).to(loss.dtype)


_RANGES: dict[str, tuple[float, float]] = {
    "lr": (1e-12, 1e6),
    "final_lr": (0.0, 1e6),
    "momentum": (0.0, 0.999999),
    "weight_decay": (0.0, 1e3),
    "grad_clip": (0.0, 1e9),
    "architecture_lr": (1e-12, 1e6),
    "architecture_weight_decay": (0.0, 1e3),
    "cost_weight": (0.0, 1e9),
    "cost_scale": (1e-12, 1e9),
    "cost_exponent": (0.0, 10.0),
}
"""Smallest and largest value of every number."""


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _error(name, f"must be a number, got {value!r}.")
    if not low <= value <= high:
        raise _error(name, f"must lie between {low:g} and {high:g}, got {value!r}.")


def _error(name: str, message: str, **details: object) -> SpecError:
    return SpecError(message, field=f"controller.params.{name}", **details)  # type: ignore[arg-type]
