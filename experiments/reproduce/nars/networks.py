"""Two networks of one family that train on digits in seconds: what the experiments with recipes train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from xnas_ray.messages import Candidate, Genotype
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.trained import TrainedCandidate

SPACE = FBNetV2(
    rows=[[1, [8, 16, 8], 1, 1], [[1, 3, 2], [8, 24, 16], 1, 2], [[1, 3, 2], [8, 24, 16], 1, 1]],
    stem=8,
    stem_stride=1,
    head=64,
    resolutions=[8],
)
SMALL = SPACE.parse("r8 | ir_k3 e1 c8 | ir_k3 e1 c8 | ir_k3 e1 c8")
LARGE = SPACE.parse("r8 | ir_k5_se_hs e1 c16 | ir_k5_se_hs e3 c24 | ir_k5_se_hs e3 c24")
RECIPE = {"batch_size": 32, "lr": 0.1, "schedule": "cosine"}


def trained(
    data: Data,
    genotype: Genotype,
    recipe: Mapping[str, Any],
    *,
    seed: int,
    epochs: int,
    schedule_epochs: int | None = None,
    context: LocalContext | None = None,
) -> TrainedCandidate:
    """A network of ``SPACE`` after its last epoch; equal seeds begin alike, whatever the recipe.

    Args:
        data: of the task.
        genotype: the network.
        recipe: what differs from ``RECIPE``.
        seed: of the training.
        epochs: how long.
        schedule_epochs: of the learning rate's schedule, the same by default.
        context: what hears of every epoch and may stop it.

    Raises:
        TrainingError: the training failed, or was stopped.
    """
    return train_candidate(
        space=SPACE,
        problem=Problem(space=SPACE),
        data=data,
        candidate=Candidate(0, genotype, fidelity=epochs, schedule_epochs=schedule_epochs or epochs),
        recipe=Recipe.from_mapping(RECIPE, recipe),
        seed=seed,
        context=context or LocalContext(),
        report_test=True,
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.{digits}f} ± {stdev(values) if len(values) > 1 else 0:.{digits}f}"
