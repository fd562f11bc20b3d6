"""What a network and its decision tree are worth with and without tree supervision (after Table 5.3 of the thesis).

``python experiments/reproduce/nbdt/supervision.py`` trains one cell of NAS-Bench-201 on digits from scratch with
several seeds, as a search would with these recipes: on labels alone, and along trees that are induced from its own
weights while it is trained. A seed gives all recipes the same initial weights and the same order of images. Shown are
means and standard deviations over the seeds, in percent, on the test split, after the last epoch: nothing is selected.
``gap`` is the network's accuracy less that of the tree that it was trained along, by soft inference; ``gap of its
weights`` the same of the tree that its last weights hold, which for labels alone is the only one. Under two CPU
minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import torch

from xnas_ray.messages import Candidate
from xnas_ray.objectives.decision_tree import HardTreeAccuracy, TreeAccuracy, TreeGap
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.loading import LoadedTask, load_task
from xnas_ray.training.context import LocalContext
from xnas_ray.training.trained import TrainedCandidate

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
CONSTANT = {"tree_weight_start": 1.0, "tree_weight_end": 1.0, "label_weight_end": 1.0}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "labels alone": {},
    "soft, 0 to 0.5, labels 1 to 0": {"tree_loss": "soft"},
    "soft, 1, labels 1": {"tree_loss": "soft", **CONSTANT},
    "soft, 1, labels 1, legacy": {"tree_loss": "soft", **CONSTANT, "tree_legacy": True},
    "hard, 0 to 0.5, labels 1 to 0": {"tree_loss": "hard"},
    "hard, 10, labels 1": {"tree_loss": "hard", **CONSTANT, "tree_weight_start": 10.0, "tree_weight_end": 10.0},
}
HEADER = "| recipe | network | NBDT, soft | NBDT, hard | gap | gap of its weights |\n|---|---|---|---|---|---|"


def trained(task: LoadedTask, data: Data, recipe: Mapping[str, Any], *, seed: int, epochs: int) -> TrainedCandidate:
    """The cell, trained on the train and validation images; its ``outputs`` are those of the test split."""
    space = task.space()
    found = evaluate_candidate(
        problem=task.problem,
        space=space,
        candidate=Candidate(0, space.parse(CELL), fidelity=epochs, schedule_epochs=epochs),
        objectives=(),
        seed=seed,
        context=LocalContext(),
        data=data,
        recipe=recipe,
        measure_on="test",
    ).trained
    assert found is not None
    return found


def measured(found: TrainedCandidate) -> tuple[float, ...]:
    """The columns of the table, of one network."""
    gaps = (TreeGap(), TreeGap(tree="induced"))
    trees = (TreeAccuracy().measure(found), HardTreeAccuracy().measure(found))
    return (TreeAccuracy().outcome(found).network_accuracy, *trees, *(gap.measure(found) for gap in gaps))


def line(name: str, rows: Sequence[tuple[float, ...]]) -> str:
    """A line of the table, of one row a seed."""
    columns = zip(*rows, strict=True)
    cells = [f"{mean(values):.2f} ± {stdev(values) if len(values) > 1 else 0:.2f}" for values in columns]
    return f"| {name} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    task = load_task("digits")
    data = task.load_data()
    print(HEADER)
    for name, recipe in RECIPES.items():
        networks = (trained(task, data, recipe, seed=seed, epochs=given.epochs) for seed in range(given.seeds))
        print(line(name, [measured(network) for network in networks]), flush=True)


if __name__ == "__main__":
    main()
