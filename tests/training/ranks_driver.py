"""One rank of a training: ``python ranks_driver.py RANK SIZE FOLDER EPOCHS``; the first one writes what it trained.

Its network has neither batch normalisation nor dropout, so that ranks that share a batch must do exactly what one
process does; a branch that reaches no output has parameters without gradients, as cells have.
"""

import json
import sys
from pathlib import Path

import torch
from gloo_rank import joined
from torch import nn

from xnas_ray.messages import Candidate
from xnas_ray.testing.tiny import TinySpace, tiny_data, tiny_problem
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

# 120 samples of training: batches of 50 leave one of 20, which ranks share too; the ranks' own batch is the half.
RECIPE = {
    **{"batch_size": 25, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "schedule": "cosine"},
    **{"warmup_epochs": 0.5, "label_smoothing": 0.1, "grad_clip": 0.5, "ema_decay": 0.9},
}


class Plain(nn.Module):
    """A perceptron with a dead branch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
        self.dead = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class PlainSpace(TinySpace):
    """Every architecture is the same network."""

    builder = "__main__:build"


def build(space: object, genotype: object, shape: object) -> nn.Module:
    return Plain()


def main(rank: int, size: int, folder: Path, epochs: int) -> None:
    with joined(rank, size, folder) as ranks:
        whole = Recipe(**{**RECIPE, "batch_size": 50, "lr": 0.1})
        recipe = whole if size == 1 else ranks.scaled(Recipe(**RECIPE))
        checkpoint = folder / "checkpoint.pt"
        context = LocalContext(
            folder if ranks.first else None,
            checkpoint_every_s=0.0,
            resume_from=checkpoint if checkpoint.exists() else None,
        )
        trained = train_candidate(
            space=PlainSpace(),
            problem=tiny_problem(),
            data=tiny_data(),
            candidate=Candidate(0, (0, 0, 0), fidelity=epochs, schedule_epochs=4),
            recipe=recipe,
            seed=3,
            context=context,
            measure_once=True,
            ranks=ranks,
        )
        if ranks.first:
            torch.save(trained.model.state_dict(), folder / "weights.pt")
            (folder / "found.json").write_text(json.dumps({"metrics": trained.metrics, "curve": trained.curve}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
