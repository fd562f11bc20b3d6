"""What a barrier costs, and whether doing without costs quality: NSGA-II on accuracy and FLOPs with 64 workers.

``python experiments/reproduce/xnas/barrier.py`` searches NAS-Bench-201 for 1,000 trials with every contender and seed,
on a simulated cluster. Shown are means over the seeds (standard errors in brackets): the share of the exact front's
hypervolume that was found, its difference to pymoo's generational NSGA-II with the operators of XNAS, seed by seed with
a 95 % interval, the makespan as a share of that one's, and the number of different architectures that were evaluated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from accuracy_and_flops import AccuracyAndFlops, load
from measures import mean_interval
from peers import pymoo_search

from xnas_ray.benchmarks.simulator import simulate

TRIALS = 1000
WORKERS = 64
POPULATION = 64
SEEDS = 20
BARRIER = "pymoo, XNAS' operators"

Found = tuple[float, float, int]
"""Share of the hypervolume, makespan in seconds, different architectures."""


def simulated(controller: str, **params: object) -> Callable[[AccuracyAndFlops, int, int], Found]:
    """A contender that is a controller."""

    def run(table: AccuracyAndFlops, trials: int, seed: int) -> Found:
        frame = simulate(controller, table.task, trials, WORKERS, seed, {"population": POPULATION, **params})
        distinct = len({table.space.key(genotype) for genotype in frame["genotype"]})
        return table.share_of_frame(frame), float(frame["finished_at_s"].max()), distinct

    return run


def pymoo(mixed: bool) -> Callable[[AccuracyAndFlops, int, int], Found]:
    """A contender that is pymoo's own."""

    def run(table: AccuracyAndFlops, trials: int, seed: int) -> Found:
        found = pymoo_search(
            table.space,
            table.point,
            table.duration_s,
            trials=trials,
            population=POPULATION,
            seed=seed,
            mixed=mixed,
        )
        return table.share(found.points), found.makespan_s, found.distinct

    return run


CONTENDERS = {
    BARRIER: pymoo(mixed=False),
    "pymoo, mixed variables": pymoo(mixed=True),
    "ours, generational": simulated("nsga2", mode="generational"),
    "ours, asynchronous": simulated("nsga2"),
    "the same, XNAS' operators": simulated("nsga2", operators="ordinal"),
    "Optuna": simulated("peers:OptunaNSGA2"),
}


def compare(table: AccuracyAndFlops, names: Sequence[str], seeds: Sequence[int], trials: int) -> pd.DataFrame:
    """One row a contender and seed: ``share``, ``makespan_s``, ``distinct``."""
    rows = []
    for name in names:
        for seed in seeds:
            share, makespan_s, distinct = CONTENDERS[name](table, trials, seed)
            rows.append(
                {"contender": name, "seed": seed, "share": share, "makespan_s": makespan_s, "distinct": distinct}
            )
        print(name, file=sys.stderr)
    return pd.DataFrame(rows)


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Of every contender to the barrier, seed by seed: mean, ends of the 95 % interval, mean ratio of makespans."""
    shares, makespans = (frame.pivot(index="seed", columns="contender", values=c) for c in ("share", "makespan_s"))
    rows = {}
    for name in shares.columns:
        paired = shares[name] - shares[BARRIER]
        low, high = mean_interval(paired)
        rows[name] = {
            "mean": paired.mean(),
            "low": low,
            "high": high,
            "makespan": (makespans[name] / makespans[BARRIER]).mean(),
        }
    return pd.DataFrame(rows).T


def report(frame: pd.DataFrame, table: AccuracyAndFlops) -> None:
    """A line a contender."""
    print(f"exact front: {len(table.exact.front.points)} of {len(table.exact.points):,} classes, hypervolume share 1")
    print(f"{frame['seed'].nunique()} seeds, {WORKERS} workers\n")
    print(f"{'':<27}{'hypervolume share':>20}{'to the barrier [95 %]':>30}{'makespan':>10}{'distinct':>10}")
    compared = differences(frame)
    for name, rows in frame.groupby("contender", sort=False):
        found = compared.loc[name]
        interval = f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"
        share = f"{rows['share'].mean():.4f} ({rows['share'].sem():.4f})"
        print(f"{name:<27}{share:>20}{interval:>30}{found['makespan']:>10.2f}{rows['distinct'].mean():>10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--out", type=Path, help="a Parquet file for every single figure")
    given = parser.parse_args()
    table = load()
    names = list(dict.fromkeys([BARRIER, *given.contenders]))
    frame = compare(table, names, range(given.seeds), given.trials)
    report(frame, table)
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(given.out)


if __name__ == "__main__":
    main()
