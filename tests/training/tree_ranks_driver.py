"""One rank of a training along trees, ``python tree_ranks_driver.py RANK SIZE FOLDER``: each writes what it has."""

import sys
from pathlib import Path

import torch
from gloo_rank import joined
from torch import nn

from xnas_ray.messages import Candidate
from xnas_ray.objectives.network_tree import TaskTrees
from xnas_ray.tasks.base import Data, Split
from xnas_ray.testing.tiny import TinySpace, tiny_problem
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

RECIPE = Recipe(
    **{"batch_size": 50, "lr": 0.1, "label_smoothing": 0.1, "ema_decay": 0.9},
    **{"tree_loss": "hard", "tree_from": 0.25, "tree_until": 1.0, "tree_every": 0.25},
)


class PlainSpace(TinySpace):
    """Every architecture is the same network, without batch normalisation and dropout."""

    builder = "__main__:build"


def build(space: object, genotype: object, shape: object) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7))


def clouds() -> Data:
    """120 samples of seven classes: batches of 50, 50 and 20, most of them without one of the classes on some rank."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(7, (120,), generator=generator)
    x = torch.randn(7, 6, generator=generator)[labels] + 0.5 * torch.randn(120, 6, generator=generator)
    split = Split((x,), labels)
    return Data(split, split, split, classes=tuple("abcdefg"))


def main(rank: int, size: int, folder: Path) -> None:
    data, device = clouds(), torch.device("cpu")
    with joined(rank, size, folder) as ranks:
        trained = train_candidate(
            space=PlainSpace(),
            problem=tiny_problem(),
            data=data,
            candidate=Candidate(0, (0, 0, 0), fidelity=4, schedule_epochs=4),
            recipe=RECIPE,
            seed=3,
            context=LocalContext(),
            ranks=ranks,
            trees=TaskTrees.of(RECIPE, data, device),
        )
        found = {"weights": trained.model.state_dict(), "tree": str(trained.tree)}
        torch.save({**found, "losses": [record["train_loss"] for record in trained.curve]}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
