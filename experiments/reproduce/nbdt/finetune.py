"""Fine-tuning of a trained network along its own tree, by several losses (Tables 5.3, 5.7 and 5.8 of the thesis).

``XNAS_DATA=data python experiments/reproduce/nbdt/finetune.py --out finetune.jsonl`` takes a ResNet-20 that was trained
on CIFAR-10, reads its tree, and trains it on for an epoch of 5,000 of its training images with every loss and seed
(``--epochs 10 --losses "soft, constant"``: for ten, with that loss and with none). The tree stays what it was.
Accuracies are those on 2,000 test images. Interrupted, it goes on where it was.

±: the standard deviation over the seeds, which differ in the order and augmentation of the images, not in the test
images. Of differences between two losses it is the standard error that the choice of the test images gives them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resnet20_cifar10.resnet20 import class_names, trained_network
from torch import Tensor
from trainings import (
    FINE_TUNING,
    NO_TREE,
    NOTHING,
    RAMP,
    Rows,
    images,
    logits_of,
    packed,
    percent,
    right,
    spread,
    train,
    tree_of,
    unpacked,
)

from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.training.tree_supervision import TreeSupervision, WeightSchedule

TEN = WeightSchedule(10.0, 10.0)
NONE = "none"
LOSSES: Mapping[str, Mapping[str, Any]] = {
    NONE: NO_TREE,
    "soft, constant": {},
    "soft, ramp": RAMP,
    "soft, without labels": {"label_weight": NOTHING},
    "hard": {"kind": "hard", "tree_weight": TEN},
    "hard, without labels": {"kind": "hard", "tree_weight": TEN, "label_weight": NOTHING},
    "soft, constant, legacy": {"legacy": True},
    "soft, ramp, legacy": {**RAMP, "legacy": True},
    "hard, legacy": {"kind": "hard", "tree_weight": TEN, "legacy": True},
}
"""Arguments of ``TreeSupervision``. The hard loss has the weight that the thesis found best on CIFAR (5.8)."""

COMPARED = (
    ("soft, constant", "soft, ramp"),
    ("soft, constant", "soft, without labels"),
    ("soft, constant", "hard"),
    ("soft, constant", "soft, constant, legacy"),
    ("soft, ramp", "soft, ramp, legacy"),
)
"""Losses whose differences are shown, beside those to ``NONE``."""

WAYS = ("network", "soft", "hard")
HEADER = "| loss | NN, % | NBDT-S, % | NBDT-H, % | NBDT-S beside none |\n|---|---|---|---|---|"


def trained_on(
    loss: Mapping[str, Any], tree: Hierarchy, both: Mapping[str, tuple[Tensor, Tensor]], epochs: int, seed: int
) -> dict[str, Any]:
    """Which test images are right after the fine-tuning with a loss, by the network and by its tree."""
    network = trained_network().to(memory_format=torch.channels_last)
    x, labels = both["train"]
    train(network, TreeSupervision(tree, **loss), x, labels, FINE_TUNING, epochs=epochs, seed=seed, mixed=True)
    return outcome(network, tree, both["test"])


def outcome(network: torch.nn.Module, tree: Hierarchy, test: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Accuracies, and which images are right."""
    found = right(tree, logits_of(network, test[0]), test[1])
    return {
        **{way: percent(which) for way, which in found.items()},
        **{f"{way}_right": packed(which) for way, which in found.items()},
        "count": len(test[1]),
    }


def beside(way: str, rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Mean difference of an accuracy in points, and its standard error over the images; seeds are averaged first."""

    def share(found: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.mean([unpacked(row[f"{way}_right"], row["count"]) for row in found], axis=0)

    difference = 100 * (share(rows) - share(others))
    return f"{difference.mean():+.2f} ± {difference.std(ddof=1) / len(difference) ** 0.5:.2f}"


def report(before: Mapping[str, Any], rows: Rows, epochs: int, losses: Sequence[str]) -> None:
    """A line a loss, then a line a pair of losses."""
    of = {name: list(rows.where(loss=name, epochs=epochs)) for name in losses}
    print(HEADER)
    cells = [f"{before[way]:.2f}" for way in WAYS]
    print(f"| before | {' | '.join(cells)} | {beside('soft', [before], of[NONE])} |")
    for name, found in of.items():
        cells = [spread([row[way] for row in found]) for way in WAYS]
        print(f"| {name} | {' | '.join(cells)} | {'' if name == NONE else beside('soft', found, of[NONE])} |")
    pairs = [pair for pair in COMPARED if of.keys() >= set(pair)]
    if pairs:
        print("\n| loss | less | NN | NBDT-S | NBDT-H |\n|---|---|---|---|---|")
    for name, other in pairs:
        print(f"| {name} | {other} | {' | '.join(beside(way, of[name], of[other]) for way in WAYS)} |")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--losses",
        nargs="+",
        choices=[name for name in LOSSES if name != NONE],
        default=list(LOSSES),
        metavar="LOSS",
        help=f"those that {NONE!r} is compared with; all by default",
    )
    parser.add_argument("--out", type=Path, help="file of JSON lines that an interrupted run goes on with")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network, (names, _) = trained_network(), class_names()
    tree, both = tree_of(network, names), {split: images(split) for split in ("train", "test")}
    rows = Rows(given.out)
    losses = [name for name in LOSSES if name == NONE or name in given.losses]
    for seed in range(given.seeds):
        for name in losses:
            what = {"loss": name, "epochs": given.epochs, "seed": seed}
            rows.add(what, partial(trained_on, LOSSES[name], tree, both, given.epochs, seed))
    report(outcome(network, tree, both["test"]), rows, given.epochs, losses)


if __name__ == "__main__":
    main()
