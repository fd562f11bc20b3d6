"""What the weight of the cost does: architectures found on digits at several weights, by FLOPs and by parameters.

``python experiments/reproduce/fbnetv2/cost_weight.py`` trains a masked supernet for every weight and seed, takes the
likeliest architecture, trains it from scratch, and prints means and standard deviations over the seeds: cost of the
architecture, and its validation accuracy. Less than a CPU minute a search.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import mean, stdev

import torch

from xnas_ray.messages import Candidate, Genotype
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.supernets.dmasking import DMaskingSearch
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.tasks.datasets import digits, image_data
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

SPACE = FBNetV2(
    rows=[[1, [8, 16, 4], 1, 1], [[1, 3, 1], [8, 24, 8], 1, 2], [[1, 3, 1], [8, 24, 8], 1, 1]],
    stem=8,
    stem_stride=1,
    head=64,
    resolutions=[4, 8],
)
RECIPE = {"batch_size": 32, "lr": 0.1, "schedule": "cosine"}


def searched(data: Data, unit: str, weight: float, seed: int, epochs: int, warmup: int) -> Genotype:
    """The architecture that a search with this weight comes to; temperatures fall as far as in the published search."""
    parts = SearchData(data.train, batch_size=64, seed=seed, weight_share=DMaskingSearch.WEIGHT_SHARE)
    search = DMaskingSearch(
        SPACE,
        data.data_shape,
        parts,
        epochs=epochs,
        seed=seed,
        warmup_epochs=warmup,
        tau_decay=0.045 * 90 / epochs,
        architecture_lr=0.1,
        architecture_weight_decay=0.0,
        cost=unit,
        cost_weight=weight,
        recompute=False,
    )
    for _ in range(epochs):
        search.run()
    (found,) = search.discretize()
    return found.genotype


def trained(data: Data, genotype: Genotype, seed: int, epochs: int) -> float:
    """Validation accuracy in percent after training from scratch."""
    result = train_candidate(
        space=SPACE,
        problem=Problem(space=SPACE, recipe=RECIPE),
        data=data,
        candidate=Candidate(0, genotype, fidelity=epochs, schedule_epochs=epochs),
        recipe=Recipe.from_mapping(RECIPE),
        seed=seed,
        context=LocalContext(),
    )
    return result.metrics["val_accuracy"]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):,.{digits}f} ± {stdev(values) if len(values) > 1 else 0:,.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.3, 1.0, 3.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12, help="of a search")
    parser.add_argument("--warmup", type=int, default=3, help="epochs of a search in which weights alone learn")
    parser.add_argument("--train-epochs", type=int, default=8, help="of an architecture")
    parser.add_argument("--images", type=int, help="for training and validation; all by default")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = image_data(digits(), holdout=0.2, seed=0, limit=given.images)
    print("| cost | weight | FLOPs | parameters | validation accuracy, % |\n|---|---|---|---|---|", flush=True)
    for unit in ("flops", "params"):
        for weight in given.weights:
            found = [searched(data, unit, weight, s, given.epochs, given.warmup) for s in range(given.seeds)]
            costs = [SPACE.cost(genotype, data.data_shape) for genotype in found]
            accuracies = [trained(data, genotype, s, given.train_epochs) for s, genotype in enumerate(found)]
            cells = [spread([c.flops for c in costs]), spread([c.params for c in costs]), spread(accuracies, 2)]
            print(f"| {unit} | {weight:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
