"""What the moving average of the weights and a teacher are worth, each alone and both: a small network on digits.

``python experiments/reproduce/nars/ingredients.py`` trains a large network once on labels and a small one of the same
family with several seeds: on labels alone (baseline), with the moving average (EMA), with the large one's
probabilities (distillation, 0.8 of the loss), and with both. A seed gives all four the same initial weights and the
same order of images, so that differences to the baseline are of pairs. Shown are means and standard deviations over the
seeds, in percent, on the test split, after the last epoch: nothing is selected. About two CPU minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from networks import LARGE, SMALL, SPACE, spread, trained

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import digits, image_data
from xnas_ray.training.distillation import save_teacher

TEACHER_SEED = 1_000_003


def accuracies(data: Data, recipes: dict[str, dict[str, Any]], seeds: int, epochs: int) -> dict[str, list[float]]:
    """Test accuracies of the small network in percent, by recipe, one a seed."""
    return {
        name: [trained(data, SMALL, recipe, seed=seed, epochs=epochs).metrics["test_accuracy"] for seed in range(seeds)]
        for name, recipe in recipes.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--decay", type=float, default=0.99, help="of the moving average")
    parser.add_argument("--weight", type=float, default=0.8, help="of the teacher in the loss")
    parser.add_argument("--temperature", type=float, default=1.0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = image_data(digits(), holdout=0.2, seed=0)
    large = trained(data, LARGE, {}, seed=TEACHER_SEED, epochs=given.teacher_epochs)
    average: dict[str, Any] = {"ema_decay": given.decay}
    with tempfile.TemporaryDirectory() as folder:
        teacher = save_teacher(Path(folder) / "teacher", large.model, SPACE, LARGE, data.data_shape)
        taught = {
            "teacher": str(teacher),
            "distill_weight": given.weight,
            "distill_temperature": given.temperature,
        }
        recipes = {"baseline": {}, "EMA": average, "distillation": taught, "both": average | taught}
        found = accuracies(data, recipes, given.seeds, given.epochs)
    flops = [f"{SPACE.cost(genotype, data.data_shape).flops:,} FLOPs" for genotype in (LARGE, SMALL)]
    print(
        f"teacher: {flops[0]}, {given.teacher_epochs} epochs, {large.metrics['test_accuracy']:.2f} % on the test split"
    )
    print(f"student: {flops[1]}, {given.epochs} epochs, {given.seeds} seeds\n")
    print("| training | test accuracy, % | difference to the baseline |\n|---|---|---|")
    for name, values in found.items():
        pairs = [value - base for value, base in zip(values, found["baseline"], strict=True)]
        print(f"| {name} | {spread(values)} | {'' if name == 'baseline' else spread(pairs)} |")


if __name__ == "__main__":
    main()
