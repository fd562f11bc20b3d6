"""When to read the tree that a network is trained along: at the end, in between, or at the start (Table 5.4).

``XNAS_DATA=data python experiments/reproduce/nbdt/mid_training.py --out mid_training.jsonl`` trains a small network on
5,000 images of CIFAR-10 from random weights, with the thesis' schedule of tree supervision and trees of several
origins. Its epochs, written for 200, are scaled to those that are trained. "trained weights" are those of the network
of the same seed that learned from the labels alone, whose own tree is in the first line. Shown are accuracies on 2,000
test images, how the last tree agrees with WordNet, and ±, the standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from resnet20 import class_names
from torch import Tensor
from trainings import (
    NO_TREE,
    RAMP,
    SCRATCH,
    SMALL_SIDE,
    Rows,
    images,
    logits_of,
    new_network,
    percent,
    right,
    spread,
    train,
    tree_of,
)

from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.explain.hierarchy_files import hierarchy_from_json, hierarchy_to_json
from xnas_ray.explain.tree_agreement import triples_agreement
from xnas_ray.explain.wordnet_hierarchy import wordnet_hierarchy
from xnas_ray.training.tree_supervision import TreeSupervision, TreeUpdates

WHOLE = 200
PLAIN, TRAINED, START = "labels alone", "trained weights", "random weights"
SCHEDULES = ((67, 120, 10), (90, 140, 10), (90, 140, 20), (120, 121, 10))
"""Epochs of 200 at which the first tree is read, before which the last one is, and between two: the thesis' own."""

WAYS = ("network", "soft", "hard")


def scaled(start: int, end: int, every: int, epochs: int) -> TreeUpdates:
    """A schedule for fewer epochs, with a tree at least."""
    first = min(epochs - 1, round(start * epochs / WHOLE))
    return TreeUpdates(first, max(first + 1, round(end * epochs / WHOLE)), max(1, round(every * epochs / WHOLE)))


class Study:
    """Trainings of one number of epochs."""

    def __init__(self, rows: Rows, epochs: int) -> None:
        """Read the images."""
        self.rows, self.epochs = rows, epochs
        self.names, wnids = class_names()
        self.wordnet = wordnet_hierarchy(wnids, self.names)
        self.images: Mapping[str, tuple[Tensor, Tensor]] = {
            split: images(split, SMALL_SIDE) for split in ("train", "test")
        }

    def row(self, tree: str, seed: int, compute: partial[dict[str, Any]]) -> None:
        """A training unless it is there."""
        self.rows.add({"tree": tree, "epochs": self.epochs, "seed": seed}, compute)

    def plain(self, seed: int) -> dict[str, Any]:
        """A training with the labels alone, and the tree of its weights."""
        return self._trained(seed, START, NO_TREE)

    def along(self, seed: int, origin: str) -> dict[str, Any]:
        """A training along the tree of trained or random weights."""
        return self._trained(seed, origin, RAMP)

    def rebuilt(self, seed: int, updates: TreeUpdates) -> dict[str, Any]:
        """A training along the trees of its own weights as they become."""
        network = new_network(seed)
        loss = TreeSupervision(None, updates=updates, build=lambda: tree_of(network, self.names), **RAMP)
        self._train(network, loss, seed)
        tree = loss.tree
        assert isinstance(tree, Hierarchy)
        return self._found(network, tree)

    def _trained(self, seed: int, origin: str, weights: Mapping[str, Any]) -> dict[str, Any]:
        network = new_network(seed)
        tree = tree_of(network, self.names) if origin == START else self._tree_of_plain(seed)
        self._train(network, TreeSupervision(tree, **weights), seed)
        return self._found(network, tree_of(network, self.names) if weights is NO_TREE else tree)

    def _tree_of_plain(self, seed: int) -> Hierarchy:
        (row,) = self.rows.where(tree=PLAIN, epochs=self.epochs, seed=seed)
        return hierarchy_from_json(row["hierarchy"])

    def _train(self, network: torch.nn.Module, loss: TreeSupervision, seed: int) -> None:
        train(network, loss, *self.images["train"], SCRATCH, epochs=self.epochs, seed=seed)

    def _found(self, network: torch.nn.Module, tree: Hierarchy) -> dict[str, Any]:
        x, labels = self.images["test"]
        accuracies = {way: percent(which) for way, which in right(tree, logits_of(network, x), labels).items()}
        return {**accuracies, "triples": triples_agreement(tree, self.wordnet), "hierarchy": hierarchy_to_json(tree)}


def run(study: Study, seed: int) -> None:
    """Every training of a seed."""
    study.row(PLAIN, seed, partial(study.plain, seed))
    for origin in (TRAINED, START):
        study.row(origin, seed, partial(study.along, seed, origin))
    for schedule in SCHEDULES:
        study.row(label(schedule), seed, partial(study.rebuilt, seed, scaled(*schedule, study.epochs)))


def label(schedule: tuple[int, int, int]) -> str:
    """What a schedule is called in the table, in epochs of 200."""
    return "{} to {}, every {}".format(*schedule)


def report(rows: Rows, epochs: int) -> None:
    """A line an origin of the tree; differences are those to the training with the labels alone, seed by seed."""
    print("| tree | NN, % | NBDT-S, % | NBDT-H, % | NN beside labels alone | NBDT-S beside it | triples |")
    print("|---|---|---|---|---|---|---|")
    plain = list(rows.where(tree=PLAIN, epochs=epochs))
    for name in (PLAIN, TRAINED, *map(label, SCHEDULES), START):
        found = list(rows.where(tree=name, epochs=epochs))
        cells = [spread([row[way] for row in found]) for way in WAYS]
        for way in ("network", "soft"):
            gaps = [row[way] - other[way] for row in found for other in plain if other["seed"] == row["seed"]]
            cells.append("" if name == PLAIN else spread(gaps))
        cells.append(spread([row["triples"] for row in found]))
        print(f"| {name} | {' | '.join(cells)} |")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--out", type=Path, help="file of JSON lines that an interrupted run goes on with")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    study = Study(Rows(given.out), given.epochs)
    for seed in range(given.seeds):
        run(study, seed)
    report(study.rows, given.epochs)


if __name__ == "__main__":
    main()
