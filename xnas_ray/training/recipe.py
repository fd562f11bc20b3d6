"""How a candidate is trained: one frozen set of settings, checked where it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xnas_ray.errors import SpecError
from xnas_ray.randomness import canonical_json

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "constant", "exponential", "onecycle", "step")
AUGMENTATIONS = ("random_crop", "horizontal_flip", "autoaugment", "cutout", "mixup")
POLICIES = ("imagenet", "cifar10", "svhn")
AMP_DTYPES = ("bfloat16", "float16")
TREE_LOSSES = ("", "soft", "hard")
TREE_HIERARCHIES = ("induced", "wordnet")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Training settings; every field is a key of ``recipe`` in a specification.

    Attributes:
        optimizer: sgd, adam, adamw or rmsprop.
        lr: the highest learning rate of the schedule.
        momentum: of sgd and rmsprop; the first beta of adam and adamw.
        nesterov: Nesterov's momentum, sgd only.
        weight_decay: L2 penalty; decoupled in adamw.
        decay_norm_and_bias: whether it applies to vectors and scalars too (biases, normalisation).
        rmsprop_alpha: rmsprop: how much of the mean of squared gradients is kept at each step.
        rmsprop_eps: rmsprop: added to the root of that mean.
        schedule: cosine, constant, exponential, onecycle (Smith & Topin 2019) or step.
        warmup_epochs: linear warm-up before the schedule; not with onecycle, which has its own.
        final_lr: learning rate at the end of a cosine, as a share of ``lr``.
        lr_decay: what exponential multiplies the learning rate by after every epoch that follows the warm-up.
        step_at: where step multiplies the learning rate by ``step_factor``, as shares of the schedule.
        step_factor: see ``step_at``.
        onecycle_peak: where onecycle reaches ``lr``, as a share of the schedule; it starts at ``lr / 25`` and ends at
            ``lr / 250,000``.
        batch_size: samples of a step.
        eval_batch_size: samples of one forward pass of an evaluation; does not change results.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016), cross entropy only.
        dropout: share of the values before the classifier that are left out (Srivastava et al. 2014); 0 leaves the
            network as its space makes it.
        drop_path: share of the samples for which the last block's branch is left out (Huang et al. 2016), growing
            linearly from the first block, or with the epochs in darts; 0 leaves the network as its space makes it.
        augment: what is done to every batch of images: random_crop, horizontal_flip, autoaugment (Cubuk et al. 2019),
            cutout, mixup.
        crop_padding: random_crop: zeros on each side, in pixels.
        cutout_size: cutout: side of the square that is blanked (DeVries & Taylor 2017), in pixels.
        autoaugment_policy: autoaugment: the task for which the policy was found: imagenet, cifar10 or svhn.
        mixup_alpha: mixup: both parameters of the Beta distribution (Zhang et al. 2018).
        teacher: a trained network that the candidate imitates (Hinton et al. 2015): ``SEARCH/TRIAL`` of the store, a
            folder that ``xnas export`` wrote, or ``torchvision:MODEL:FILE``; followed by ``@`` and a hash, only that
            content is accepted.
        distill_weight: share of the loss that is the teacher's; the labels have the rest.
        distill_temperature: by what the outputs of both networks are divided before they are compared.
        tree_loss: tree supervision (Wan et al. 2021): the network also learns to decide along a tree over its classes,
            by the loss ``soft`` or ``hard`` of the decisions; empty is off.
        tree_hierarchy: which tree: ``induced`` from the last layer's weights while they are trained, or that of
            ``wordnet``, from the first epoch.
        tree_from: induced: share of the schedule that is over when the first tree is made; the labels' loss stands for
            its loss until then.
        tree_until: induced: share of the schedule before which the last tree is made; that one stays.
        tree_every: induced: share of the schedule between two trees, an epoch at least.
        tree_weight_start: weight of the tree's loss at the first epoch.
        tree_weight_end: the same at the end of the schedule.
        tree_weight_power: above 1 it stays near its start for longer, below 1 it leaves it sooner; 1 is linear.
        label_weight_start: tree supervision: weight of the labels' own loss at the first epoch.
        label_weight_end: the same at the end of the schedule.
        label_weight_power: see ``tree_weight_power``.
        tree_legacy: the losses of the published package, which differ from the paper's.
        ema_decay: decay of the weights' exponential moving average, which is then what is measured; 0 is off.
        grad_clip: largest norm of the gradient; 0 is off.
        amp: mixed precision on CUDA; ignored on a CPU.
        amp_dtype: bfloat16, or float16 with loss scaling.
        channels_last: memory format of images and convolutions on CUDA; ignored on a CPU.

    Raises:
        SpecError: an unknown key, a wrong type or a value out of range; ``recipe.<key>`` is named.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = True
    rmsprop_alpha: float = 0.99
    rmsprop_eps: float = 1e-8
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    final_lr: float = 0.0
    lr_decay: float = 0.97
    step_at: tuple[float, ...] = (0.5, 0.75)
    step_factor: float = 0.1
    onecycle_peak: float = 0.3
    batch_size: int = 128
    eval_batch_size: int = 1024
    label_smoothing: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    augment: tuple[str, ...] = ()
    crop_padding: int = 4
    cutout_size: int = 8
    autoaugment_policy: str = "imagenet"
    mixup_alpha: float = 0.2
    teacher: str = ""
    distill_weight: float = 0.8
    distill_temperature: float = 1.0
    tree_loss: str = ""
    tree_hierarchy: str = "induced"
    tree_from: float = 0.335
    tree_until: float = 0.6
    tree_every: float = 0.05
    tree_weight_start: float = 0.0
    tree_weight_end: float = 0.5
    tree_weight_power: float = 1.0
    label_weight_start: float = 1.0
    label_weight_end: float = 0.0
    label_weight_power: float = 1.0
    tree_legacy: bool = False
    ema_decay: float = 0.0
    grad_clip: float = 0.0
    amp: bool = True
    amp_dtype: str = "bfloat16"
    channels_last: bool = True

    def __post_init__(self) -> None:
        """Check every value."""
        for name, limits in _RANGES.items():
            _check_number(name, getattr(self, name), limits)
        for name in ("nesterov", "decay_norm_and_bias", "tree_legacy", "amp", "channels_last"):
            if not isinstance(getattr(self, name), bool):
                raise _error(name, f"must be true or false, got {getattr(self, name)!r}.")
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise _error(name, f"there is no {getattr(self, name)!r}.", got=getattr(self, name), valid=valid)
        if not isinstance(self.teacher, str):
            raise _error("teacher", f"must be a text, got {self.teacher!r}.", fix="'' trains without a teacher.")
        object.__setattr__(self, "augment", _texts("augment", self.augment, AUGMENTATIONS))
        object.__setattr__(self, "step_at", _shares("step_at", self.step_at))
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise _error("nesterov", "needs momentum.", fix="Set nesterov = false.")
        if self.schedule == "onecycle" and self.warmup_epochs:
            raise _error("warmup_epochs", "onecycle warms up by itself.", fix="Set it to 0, or use onecycle_peak.")
        if self.tree_loss == "hard" and self.tree_legacy and not self.tree_weight_start:
            raise _error(
                "tree_weight_start",
                "the package multiplies its hard loss by it once more: with 0 there is none.",
                fix="Set it above 0, or tree_legacy = false.",
            )
        if self.tree_until <= self.tree_from:
            raise _error(
                "tree_until", f"must be above tree_from, {self.tree_from:g}.", fix="Set both; the first tree may stay."
            )

    @classmethod
    def from_mapping(cls, base: Mapping[str, Any], *overrides: Mapping[str, Any]) -> Recipe:
        """The recipe of a mapping; later mappings win.

        Raises:
            SpecError: see the class.
        """
        merged: dict[str, Any] = {}
        for mapping in (base, *overrides):
            merged.update(mapping)
        valid = [f.name for f in dataclasses.fields(cls)]
        for name in merged:
            if name not in valid:
                raise SpecError(f"there is no setting {name!r}.", field="recipe", got=name, valid=valid)
        return cls(**merged)

    def as_mapping(self) -> dict[str, Any]:
        """Every setting as JSON values."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def canonical_json(self) -> str:
        """The one JSON text of this recipe: equal texts train equally."""
        return canonical_json(self.as_mapping())


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that tell trainings apart: a later addition to ``Recipe`` only where it is not at its default.

    It is what training seeds are made of and what reuse compares: neither changes because a setting was added.
    """
    return {name: value for name, value in settings.items() if name not in _LATER or value != _LATER[name]}


_ADDED = (
    "rmsprop_alpha",
    "rmsprop_eps",
    "lr_decay",
    "dropout",
    "drop_path",
    "autoaugment_policy",
    "teacher",
    "distill_weight",
    "distill_temperature",
    "tree_loss",
    "tree_hierarchy",
    "tree_from",
    "tree_until",
    "tree_every",
    "tree_weight_start",
    "tree_weight_end",
    "tree_weight_power",
    "label_weight_start",
    "label_weight_end",
    "label_weight_power",
    "tree_legacy",
)
_LATER = {field.name: field.default for field in dataclasses.fields(Recipe) if field.name in _ADDED}
"""Settings that came after results had been stored, and the defaults that leave a training what it was."""

_CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "autoaugment_policy": POLICIES,
    "amp_dtype": AMP_DTYPES,
    "tree_loss": TREE_LOSSES,
    "tree_hierarchy": TREE_HIERARCHIES,
}

_RANGES: dict[str, tuple[type, float, float]] = {
    "lr": (float, 1e-12, 1e6),
    "momentum": (float, 0.0, 0.999999),
    "weight_decay": (float, 0.0, 1e3),
    "rmsprop_alpha": (float, 0.0, 0.9999999),
    "rmsprop_eps": (float, 1e-20, 1.0),
    "warmup_epochs": (float, 0.0, 1e6),
    "final_lr": (float, 0.0, 1.0),
    "lr_decay": (float, 1e-6, 1.0),
    "step_factor": (float, 0.0, 1.0),
    "onecycle_peak": (float, 1e-6, 1 - 1e-6),
    "batch_size": (int, 1, 2**20),
    "eval_batch_size": (int, 1, 2**20),
    "label_smoothing": (float, 0.0, 0.999999),
    "dropout": (float, 0.0, 0.999999),
    "drop_path": (float, 0.0, 0.999999),
    "crop_padding": (int, 1, 1024),
    "cutout_size": (int, 1, 1024),
    "mixup_alpha": (float, 1e-6, 100.0),
    "distill_weight": (float, 0.0, 1.0),
    "distill_temperature": (float, 1e-3, 1e3),
    "tree_from": (float, 0.0, 0.999999),
    "tree_until": (float, 1e-6, 1.0),
    "tree_every": (float, 1e-6, 1.0),
    "tree_weight_start": (float, 0.0, 1e6),
    "tree_weight_end": (float, 0.0, 1e6),
    "tree_weight_power": (float, 1e-3, 1e3),
    "label_weight_start": (float, 0.0, 1e6),
    "label_weight_end": (float, 0.0, 1e6),
    "label_weight_power": (float, 1e-3, 1e3),
    "ema_decay": (float, 0.0, 0.9999999),
    "grad_clip": (float, 0.0, 1e9),
}
"""Kind and smallest and largest value of every number."""


def _check_number(name: str, value: object, limits: tuple[type, float, float]) -> None:
    kind, low, high = limits
    accepted = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise _error(name, f"must be a {'number' if kind is float else 'whole number'}, got {value!r}.")
    if not low <= value <= high:
        raise _error(name, f"must lie between {low:g} and {high:g}, got {value!r}.")


def _texts(name: str, values: object, valid: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, (list, tuple)):
        raise _error(name, f"must be a list, got {values!r}.", valid=valid)
    for value in values:
        if value not in valid:
            raise _error(name, f"there is no {value!r}.", got=value, valid=valid)
    if len(set(values)) != len(values):
        raise _error(name, "names one twice.")
    return tuple(values)


def _shares(name: str, values: object) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and 0 < v < 1 for v in values
    ):
        raise _error(name, f"must be a list of numbers between 0 and 1, got {values!r}.")
    return tuple(sorted(float(v) for v in values))


def _error(name: str, message: str, **details: Any) -> SpecError:
    return SpecError(message, field=f"recipe.{name}", **details)
