"""Does a search for introspectability pay? Both modes of XNAS on the complete digits table, at equal budget.

``python experiments/reproduce/xnas/claim.py`` runs NSGA-II with two objectives (validation accuracy in percent and
introspectability) and with ``single_objective``, which only records the second one, on ``nasbench201_digits.parquet``:
the same seeds, trials and workers. XNAS' claim is that the first finds networks that are more introspectable at an
accuracy within tolerable error. Shown are, seed by seed and with 95 % intervals of the mean:

- what the best of each search by accuracy has (of equals the most introspectable one), and their differences;
- the most introspectable architecture of each search within TOLERANCE points of the table's best accuracy;
- the share of the exact front's hypervolume that each search has found.

Accuracies of the winners on test images stand beside: those of validation are what was selected by.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from measures import ExactFront, mean_interval

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.spaces.nasbench201 import NASBench201

TABLE = Path(__file__).parents[2] / "digits" / "nasbench201_digits.parquet"
ACCURACY, INTROSPECTABILITY, TEST = "val_accuracy", "introspectability", "test_accuracy"
TRIALS, WORKERS, SEEDS = 500, 8, 20
TOLERANCE = 1.0
MODES = {"two objectives": {}, "accuracy alone": {"single_objective": True}}


def load(path: Path = TABLE) -> TabularTask:
    """The task: look-ups that take as long as the trainings did."""
    return TabularTask.from_parquet(
        path,
        NASBench201(channels=8, cells_per_stage=1, stages=1),
        objectives={ACCURACY: "val_accuracy_3", INTROSPECTABILITY: (INTROSPECTABILITY, "max")},
        report={TEST: "test_accuracy_3"},
        duration_s="duration_s",
    )


class Exact(ExactFront):
    """What an exhaustive search would find.

    Attributes:
        best: the table's highest validation accuracy, percent.
    """

    def __init__(self, task: TabularTask) -> None:
        """Look everything up."""
        found = [task.lookup(genotype).metrics for genotype in task.space.enumerate()]
        super().__init__(np.array([[one[ACCURACY], one[INTROSPECTABILITY]] for one in found]))
        self.best = float(self.points[:, 0].max())


def found_by(frame: pd.DataFrame, exact: Exact) -> dict[str, float]:
    """What a search ends with; NaN where nothing is within the tolerance."""
    ranked = frame.sort_values([ACCURACY, INTROSPECTABILITY], ascending=False)
    best, near = ranked.iloc[0], frame[frame[ACCURACY] >= exact.best - TOLERANCE]
    chosen = near.loc[near[INTROSPECTABILITY].idxmax()] if len(near) else pd.Series(dtype=float)
    return {
        "best: accuracy": best[ACCURACY],
        "best: test accuracy": best[TEST],
        "best: introspectability": best[INTROSPECTABILITY],
        "near: accuracy": chosen.get(ACCURACY, np.nan),
        "near: test accuracy": chosen.get(TEST, np.nan),
        "near: introspectability": chosen.get(INTROSPECTABILITY, np.nan),
        "hypervolume share": exact.share(frame[[ACCURACY, INTROSPECTABILITY]].to_numpy()),
    }


def compare(task: TabularTask, seeds: Sequence[int], trials: int, workers: int) -> pd.DataFrame:
    """One row a mode and seed, see ``found_by``."""
    exact = Exact(task)
    rows = []
    for mode, params in MODES.items():
        for seed in seeds:
            frame = simulate("nsga2", task, trials, workers, seed, params)
            rows.append({"mode": mode, "seed": seed, **found_by(frame, exact)})
    return pd.DataFrame(rows)


def interval(values: pd.Series) -> str:
    """Mean and ends of its 95 % interval by Student's t."""
    values = values.dropna()
    low, high = mean_interval(values)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def report(frame: pd.DataFrame) -> None:
    """A line a quantity: both modes and their paired difference."""
    first, second = MODES
    print(f"{frame['seed'].nunique()} seeds\n")
    print(f"{'':<26}{first:>28}{second:>28}{'difference, paired':>28}")
    for name in frame.columns.drop(["mode", "seed"]):
        wide = frame.pivot(index="seed", columns="mode", values=name)
        cells = [interval(wide[first]), interval(wide[second]), interval(wide[first] - wide[second])]
        print(f"{name:<26}" + "".join(f"{cell:>28}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    given = parser.parse_args()
    task = load()
    print(f"{len(task)} classes, {given.trials} trials, {given.workers} workers")
    report(compare(task, range(given.seeds), given.trials, given.workers))


if __name__ == "__main__":
    main()
