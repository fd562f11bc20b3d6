"""Settings of gradient-based searches of relaxed supernets, checked when they are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xnas_ray.errors import SpecError
from xnas_ray.training.recipe import Recipe

AUGMENTATIONS = ("random_crop", "horizontal_flip", "cutout")


@dataclass(frozen=True)
class DartsSettings:
    """How a relaxed supernet is searched; the defaults are those of DARTS on CIFAR-10 (Liu et al., appendix A.1.1).

    Attributes:
        epochs: how long; the cosine of the learning rate ends with them.
        order: 1 takes architecture gradients at the weights as they are, 2 at those one step further (Eq. 7).
        lr: first learning rate of the weights.
        final_lr: what a cosine takes it down to, epoch by epoch.
        momentum: of the weights' optimizer.
        nesterov: whether it is Nesterov's.
        weight_decay: of the weights.
        grad_clip: largest norm of the weights' gradient; 0 is off.
        architecture_lr: learning rate of the architecture's Adam.
        architecture_betas: its decay rates.
        architecture_weight_decay: of the architecture variables.
        warmup_epochs: epochs in which weights alone are trained.
        partial: 1, or the k of partial channels.
        edge_normalisation: whether edges have weights of their own.
        supernet: size of the supernet, as its class names it.
        augment: of images: random_crop, horizontal_flip, cutout.
        tune_epochs: epochs that ``perturbation`` trains the weights between two decisions.

    Raises:
        SpecError: a value is out of range; ``controller.params.<name>`` is named.
    """

    epochs: int = 50
    order: int = 2
    lr: float = 0.025
    final_lr: float = 0.001
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    architecture_lr: float = 3e-4
    architecture_betas: tuple[float, float] = (0.5, 0.999)
    architecture_weight_decay: float = 1e-3
    warmup_epochs: int = 0
    partial: int = 1
    edge_normalisation: bool = False
    supernet: Mapping[str, int] = field(default_factory=dict)
    augment: Sequence[str] = ()
    tune_epochs: int = 5

    def __post_init__(self) -> None:
        """Check every value."""
        for name, (kind, low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), kind, low, high)
        for name in ("nesterov", "edge_normalisation"):
            if not isinstance(getattr(self, name), bool):
                raise _error(name, f"must be true or false, got {getattr(self, name)!r}.")
        if self.nesterov and self.momentum == 0:
            raise _error("nesterov", "needs momentum.", fix="Set nesterov = false.")
        if self.warmup_epochs >= self.epochs:
            raise _error(
                "warmup_epochs", f"{self.warmup_epochs} of {self.epochs} epochs leave none for the architecture."
            )
        if self.final_lr > self.lr:
            raise _error("final_lr", f"{self.final_lr} is above lr, {self.lr}.")
        betas = self.architecture_betas
        if not isinstance(betas, (list, tuple)) or len(betas) != 2:
            raise _error("architecture_betas", f"must be two numbers, got {betas!r}.")
        for beta in betas:
            _check_number("architecture_betas", beta, float, 0.0, 1 - 1e-9)
        object.__setattr__(self, "architecture_betas", (float(betas[0]), float(betas[1])))
        if not isinstance(self.supernet, Mapping):
            raise _error("supernet", f"must be a table of sizes, got {self.supernet!r}.")
        object.__setattr__(self, "augment", checked_augment(self.augment))

    def rate(self, epoch: int) -> float:
        """The weights' learning rate in an epoch, from 0 (Loshchilov & Hutter 2017)."""
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    @property
    def recipe(self) -> Recipe:
        """What ``training.augment`` reads."""
        return Recipe(augment=tuple(self.augment))


_RANGES: dict[str, tuple[type, float, float]] = {
    "epochs": (int, 1, 10**6),
    "order": (int, 1, 2),
    "lr": (float, 1e-12, 1e6),
    "final_lr": (float, 0.0, 1e6),
    "momentum": (float, 0.0, 0.999999),
    "weight_decay": (float, 0.0, 1e3),
    "grad_clip": (float, 0.0, 1e9),
    "architecture_lr": (float, 1e-12, 1e6),
    "architecture_weight_decay": (float, 0.0, 1e3),
    "warmup_epochs": (int, 0, 10**6),
    "partial": (int, 1, 1024),
    "tune_epochs": (int, 0, 10**6),
}
"""Kind and smallest and largest value of every number."""


def checked_augment(names: object) -> tuple[str, ...]:
    """Names of augmentations that go with every loss.

    Raises:
        SpecError: they are no list, or one is unknown.
    """
    if not isinstance(names, (list, tuple)):
        raise _error("augment", f"must be a list, got {names!r}.", valid=AUGMENTATIONS)
    for name in names:
        if name not in AUGMENTATIONS:
            raise _error("augment", f"there is no {name!r}.", got=name, valid=AUGMENTATIONS)
    return tuple(names)


def _check_number(name: str, value: object, kind: type, low: float, high: float) -> None:
    accepted = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise _error(name, f"must be a {'number' if kind is float else 'whole number'}, got {value!r}.")
    if not low <= value <= high:
        raise _error(name, f"must lie between {low:g} and {high:g}, got {value!r}.")


def _error(name: str, message: str, **details: object) -> SpecError:
    return SpecError(message, field=f"controller.params.{name}", **details)  # type: ignore[arg-type]
