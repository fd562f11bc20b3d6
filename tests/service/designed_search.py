"""A stored NARS search over networks and recipes for digits, with made-up accuracies: nothing was trained, no Ray."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from xnas_ray.store import StoreWriter

EPOCHS = 6
SEARCH = "01HF7YATZ80123456789ABCDEF"
TASK = f"""
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.tasks.base import Problem


def evaluate(**given):
    raise RuntimeError("never called")


problem = Problem(
    space=JointSpace(architecture=FBNetV3(preset="digits"), recipe="nars"),
    evaluate=evaluate,
    shape=DataShape(inputs=((1, 8, 8),), outputs=10),
    objectives=("val_accuracy",),
    fidelity={EPOCHS},
)
"""
SMALL = {"pool": 500, "bins": 10, "rounds": 4, "winners": 20, "members": 1}


def accuracy(flops: int, recipe: dict[str, Any]) -> float:
    """Percent after the last epoch: larger networks are better, and each recipe costs what it is away from the best."""
    away = abs(recipe["dropout"] - 0.1) + abs(recipe["mixup_alpha"] - 0.2) + 2 * abs(recipe["drop_path"] - 0.15)
    return 92 + 2 * math.log(flops / 3e5) - 6 * away - (0.5 if recipe["optimizer"] == "sgd" else 0.0)


def store_search(
    root: Path, task: Path, written: type[Any], trials: int, controller: str = "nars", **params: Any
) -> Any:
    """Write the search; ranks are those of the end from the fourth epoch on.

    Args:
        root: of a store.
        task: a folder that does not exist.
        written: plays the service (the fixture ``played_search``).
        trials: that have ended.
        controller: who proposes.
        **params: of the controller.
    """

    class Played(written):  # type: ignore[misc,valid-type]
        def curve(self, proposal: Any) -> tuple[dict[str, float], ...]:
            end = accuracy(proposal.flops, proposal.candidate.recipe)
            noise = np.random.default_rng(proposal.candidate.genotype).normal(scale=20, size=3)
            values = [end + noise[e] if e < 3 else end - (EPOCHS - 1 - e) for e in range(EPOCHS)]
            shown = values[: proposal.candidate.fidelity]
            return tuple({"epoch": e + 1.0, "val_accuracy": value} for e, value in enumerate(shown))

    task.mkdir()
    (task / "problem.py").write_text(TASK)
    with StoreWriter.open(root) as writer:
        made = Played(
            writer,
            task,
            SEARCH,
            {"controller": {"name": controller, "params": params}, "budget": {"trials": trials}},
        )
        made.trials(trials)
        made.state("finished", "budget.trials is reached")
    return made
