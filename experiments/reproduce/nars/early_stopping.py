"""When the ranking of networks is known: the early-stopping rule of NARS on real learning curves.

``python experiments/reproduce/nars/early_stopping.py`` reads the validation accuracies of 19 networks on CIFAR-10 and
CIFAR-100 over 200 epochs (``cnn_learning_curves.csv.gz`` in the folder that ``XNAS_DATA`` names) and asks
``xnas_ray/controllers/early_stopping.py`` at several thresholds for the epoch from which on they rank as at the end.

Shown are that epoch, the share of the training time that stopping there saves, the rank correlation with the end at
that epoch, and the final accuracy of the network that leads there, beside the best one's. A search applies the epoch
to networks that it has not seen yet. So the last columns choose it from the curves of ten random networks and look at
the other nine: mean and standard deviation over 500 draws of the epoch and of the others' rank correlation there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xnas_ray.controllers.early_stopping import rank_correlations, stopping_epoch
from xnas_ray.errors import DataMissingError
from xnas_ray.randomness import Domain, rng
from xnas_ray.tasks.datasets import data_file

FILE = "cnn_learning_curves.csv.gz"
HOW_TO_GET = (
    "Set XNAS_DATA to the folder that has it: columns dataset, model, epoch, val_acc (percent) and elapsed_s, such as "
    "the training logs of github.com/chenyaofo/pytorch-cifar-models give."
)
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.92, 0.95, 0.98, 1.0)
CHOOSING = 10
DRAWS = 500


def read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Accuracies in percent and seconds since the start, networks x epochs each, by data set."""
    frame = pd.read_csv(path)
    found = {}
    for name, part in frame.groupby("dataset", sort=True):
        tables = [part.pivot(index="model", columns="epoch", values=column) for column in ("val_acc", "elapsed_s")]
        found[str(name)] = (tables[0].to_numpy(dtype=float), tables[1].to_numpy(dtype=float))
    return found


def rows(
    accuracies: np.ndarray, elapsed_s: np.ndarray, thresholds: Sequence[float], draws: int, choosing: int
) -> list[dict[str, float]]:
    """What each threshold comes to.

    Args:
        accuracies: networks x epochs, percent.
        elapsed_s: networks x epochs.
        thresholds: of the rank correlation.
        draws: how often networks are divided.
        choosing: how many of them choose the epoch for the others.
    """
    correlations = rank_correlations(accuracies)
    found = []
    for threshold in thresholds:
        epoch = stopping_epoch(accuracies, threshold)
        leader = int(np.argmax(accuracies[:, epoch - 1]))
        epochs, elsewhere = divided(accuracies, threshold, draws, choosing)
        found.append(
            {
                "threshold": threshold,
                "epoch": epoch,
                "saved": 1 - float(elapsed_s[:, epoch - 1].sum() / elapsed_s[:, -1].sum()),
                "correlation": float(correlations[epoch - 1]),
                "leader": float(accuracies[leader, -1]),
                "best": float(accuracies[:, -1].max()),
                "epoch_mean": float(epochs.mean()),
                "epoch_std": float(epochs.std()),
                "elsewhere_mean": float(elsewhere.mean()),
                "elsewhere_std": float(elsewhere.std()),
            }
        )
    return found


def divided(accuracies: np.ndarray, threshold: float, draws: int, choosing: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs that random networks choose, and the rank correlation of the others there: one each a draw."""
    epochs, correlations = np.zeros(draws), np.zeros(draws)
    for draw in range(draws):
        order = rng(0, Domain.SPLIT, draw).permutation(len(accuracies))
        epoch = stopping_epoch(accuracies[order[:choosing]], threshold)
        epochs[draw] = epoch
        correlations[draw] = rank_correlations(accuracies[order[choosing:]])[epoch - 1]
    return epochs, correlations


def report(name: str, found: Sequence[dict[str, float]], networks: int, choosing: int) -> None:
    """A Markdown table."""
    print(f"\n{name}, {networks} networks; the best ends at {found[0]['best']:.2f} %:\n")
    print(
        "| threshold | epoch | time saved | rank correlation | the leader ends at | "
        f"epoch by {choosing} networks | rank correlation of the others |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in found:
        cells = [
            f"{row['threshold']:g}",
            f"{row['epoch']:.0f}",
            f"{100 * row['saved']:.0f} %",
            f"{row['correlation']:.3f}",
            f"{row['leader']:.2f} %",
            f"{row['epoch_mean']:.0f} ± {row['epoch_std']:.0f}",
            f"{row['elsewhere_mean']:.3f} ± {row['elsewhere_std']:.3f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--thresholds", nargs="+", type=float, default=list(THRESHOLDS))
    parser.add_argument("--choosing", type=int, default=CHOOSING, help="networks whose curves choose the epoch")
    parser.add_argument("--draws", type=int, default=DRAWS)
    given = parser.parse_args(arguments)
    try:
        data = read(data_file(FILE, HOW_TO_GET))
    except DataMissingError as error:
        sys.exit(str(error))
    for name, (accuracies, elapsed_s) in data.items():
        found = rows(accuracies, elapsed_s, given.thresholds, given.draws, given.choosing)
        report(name, found, len(accuracies), given.choosing)


if __name__ == "__main__":
    main()
