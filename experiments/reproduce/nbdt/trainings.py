"""Trainings of small networks with or without tree supervision, and results that an interruption leaves.

What differs between two trainings of one seed is the loss: weights, order and augmentation are the seed's. The weights
of the loss move with every step, so that a ramp is one in few epochs too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from resnet20 import ResNet, normalised, pictures
from torch import Tensor, nn

from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.networks.final_layer import final_layer
from xnas_ray.spaces.base import DataShape
from xnas_ray.training.augment import Augmentation, stream_seed
from xnas_ray.training.determinism import isolated_randomness
from xnas_ray.training.loop import SHUFFLE
from xnas_ray.training.optimizer import make_optimizer
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.schedule import Schedule
from xnas_ray.training.tree_supervision import LABELS_FADING, TREE_SMALL, TreeSupervision, WeightSchedule

CPU = torch.device("cpu")
AUGMENT = ("random_crop", "horizontal_flip")
FINE_TUNING = Recipe(lr=0.01, nesterov=False, augment=AUGMENT)
"""Momentum 0.9, weight decay 5e-4, cosine, batches of 128; the thesis' learning rate where it fine-tunes (5.8)."""

SMALL_SIDE = 16
SCRATCH = Recipe(lr=0.1, nesterov=False, augment=AUGMENT, crop_padding=2)
"""Of a small network from random weights, on images of ``SMALL_SIDE`` pixels."""
SMALL_FINE_TUNING = Recipe(lr=0.01, nesterov=False, augment=AUGMENT, crop_padding=2)
"""Of a small network that was trained."""

NOTHING = WeightSchedule(0.0, 0.0)
NO_TREE: Mapping[str, Any] = {"tree_weight": NOTHING}
RAMP: Mapping[str, Any] = {"tree_weight": TREE_SMALL, "label_weight": LABELS_FADING}
"""Arguments of ``TreeSupervision``: the labels alone, and the thesis' schedule on CIFAR."""

_BATCH = 500


def images(split: str, side: int = 32) -> tuple[Tensor, Tensor]:
    """Images as networks read them, float32 ``n x 3 x side x side``, and their labels.

    Args:
        split: ``"train"`` or ``"test"``.
        side: 32, or a divisor of it; squares of pixels are averaged.

    Raises:
        DataMissingError: they are not in the folder that ``XNAS_DATA`` names.
    """
    pixels, labels = pictures(split)
    x = nn.functional.avg_pool2d(normalised(pixels), 32 // side)
    return x.contiguous(memory_format=torch.channels_last), labels


def new_network(seed: int, classes: int = 10) -> ResNet:
    """A ResNet-8 with the random weights of a seed."""
    with isolated_randomness(seed, CPU):
        return ResNet(blocks=1, channels=8, classes=classes).to(memory_format=torch.channels_last)


def train(
    network: nn.Module,
    loss: TreeSupervision,
    x: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    mixed: bool = False,
) -> None:
    """Train a network where it stands; batch norm learns too.

    Args:
        network: see ``new_network``.
        loss: with a schedule of its own.
        x: images, see ``images``.
        labels: int64 ``n``.
        recipe: of which optimizer, schedule, batch size and augmentation count.
        epochs: of the whole schedule.
        seed: of order and augmentation.
        mixed: bfloat16 in forward passes; the loss is computed from float32 all the same.
    """
    shape = DataShape(inputs=(tuple(x.shape[1:]),), outputs=int(labels.max()) + 1, kind="classification")
    augment, optimizer = Augmentation(recipe, shape, seed, CPU), make_optimizer(network, recipe)
    steps = -(-len(labels) // recipe.batch_size)
    schedule = Schedule(recipe, steps, epochs)
    network.train()
    for epoch in range(epochs):
        loss.start_epoch(epoch, epochs)
        generator = torch.Generator().manual_seed(stream_seed(seed, SHUFFLE, epoch))
        for batch, places in enumerate(torch.randperm(len(labels), generator=generator).split(recipe.batch_size)):
            step = epoch * steps + batch
            loss.progress = step / (epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = schedule(step)
            (inputs,), _ = augment((x[places],), epoch, batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                logits = network(inputs)
            optimizer.zero_grad(set_to_none=True)
            loss(logits.float(), labels[places]).backward()
            optimizer.step()
    network.eval()


@torch.inference_mode()
def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    """What a network says of images, in evaluation mode and float32."""
    network.eval()
    return torch.cat([network(part) for part in x.split(_BATCH)])


def tree_of(network: nn.Module, names: Sequence[str]) -> Hierarchy:
    """The hierarchy that the last weights hold."""
    return induced_hierarchy(final_layer(network, classes=len(names)).weight.numpy(), names)


def right(tree: Hierarchy, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Which images the network, and its tree by soft and by hard inference, predict: bool ``n`` each."""
    rules = DecisionRules(tree)
    found = {"network": logits.argmax(dim=1), "soft": rules.soft(logits), "hard": rules.hard(logits)}
    return {name: classes == labels for name, classes in found.items()}


def percent(which: Tensor) -> float:
    """The share of true ones."""
    return 100.0 * which.double().mean().item()


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation of a sample."""
    return f"{mean(values):.{digits}f} ± {stdev(values) if len(values) > 1 else 0:.{digits}f}"


class Rows:
    """Results that take minutes: written when they are there, and not computed again.

    Args:
        path: a file of JSON lines; None keeps them in memory.
    """

    def __init__(self, path: Path | None) -> None:
        """Read what an earlier run has left."""
        self.path = path
        self.found: list[dict[str, Any]] = []
        if path is not None and path.exists():
            self.found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def add(self, what: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> None:
        """The row of ``what``, computed unless it is there."""
        if any(what.items() <= row.items() for row in self.found):
            return
        row = {**what, **compute()}
        self.found.append(row)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def where(self, **what: Any) -> Iterator[dict[str, Any]]:
        """The rows of some value of a column, or of several."""
        return (row for row in self.found if what.items() <= row.items())


def packed(which: Tensor) -> str:
    """Which images, as a text of one digit for four of them."""
    return np.packbits(which.numpy()).tobytes().hex()


def unpacked(text: str, count: int) -> np.ndarray:
    """Which of ``count`` images a text of ``packed`` names, bool ``count``."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=count).astype(bool)
