"""Transfer: how much sooner a search ends well when it has learnt from a finished one, and what a wrong one costs.

``python experiments/reproduce/nasbowl/transfer.py`` searches CIFAR-100 on NAS-Bench-201 with what a NAS-BOWL search of
150 queries on CIFAR-10 found (of the same seed), on a simulated cluster of five workers that never wait for each other:

- ``none``: without a source;
- ``motifs``: the paper's filter by the source's good motifs;
- ``prior``: the source's posterior mean as prior mean, the default;
- ``negated``, ``dealt``: the same prior after the outcomes of the source were negated, or dealt to random
  architectures (among its own, which are good ones, even noise would point to good ones): sources that are wrong, to
  see what believing them costs (negative transfer).

Shown are the queries until the regret is at most .1 (median and quartiles over seeds; a search that does not get there
counts as one query more than it had) and the mean regret, with its standard error, in percentage points of validation
accuracy. ``--out FOLDER`` keeps every curve as Parquet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import HELP, OBJECTIVE, BenchmarkTable, load_table, table_name

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.controllers.base import Source
from xnas_ray.spaces.base import Space

SOURCE, TARGET = "cifar10", "cifar100"
SOURCE_QUERIES = 150
QUERIES = 100
WORKERS = 5
SEEDS = 20
REGRET = 0.1
SHOWN = (5, 10, 20, 50, 100)


def found(table: BenchmarkTable, seed: int, queries: int = SOURCE_QUERIES, workers: int = WORKERS) -> Source:
    """What a NAS-BOWL search of a table knows at its end, in the order of its outcomes."""
    frame = simulate("nasbowl", table.task, queries, workers, seed, space=table.space)
    metrics = tuple({OBJECTIVE: float(value)} for value in frame[OBJECTIVE])
    return Source(f"{table.name}-{seed}", tuple(frame["genotype"]), metrics)


def negated(source: Source, space: Space, seed: int) -> Source:
    """What was best is worst: accuracies mirrored about the middle of their range."""
    values = np.array([metrics[OBJECTIVE] for metrics in source.metrics])
    turned = values.min() + values.max() - values
    return Source(source.search_id, source.genotypes, tuple({OBJECTIVE: float(value)} for value in turned))


def dealt(source: Source, space: Space, seed: int) -> Source:
    """The same accuracies, of as many random architectures."""
    dice = np.random.default_rng(seed)
    return Source(source.search_id, tuple(space.sample(dice) for _ in source.genotypes), source.metrics)


@dataclass(frozen=True)
class Start:
    """How a search begins.

    Attributes:
        params: of the controller.
        change: what is done to the source; None for no source.
    """

    params: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Source, Space, int], Source] | None = lambda source, *_: source


STARTS = {
    "none": Start(change=None),
    "motifs": Start({"transfer": "motifs"}),
    "prior": Start(),
    "negated": Start(change=negated),
    "dealt": Start(change=dealt),
}


def curves(
    source: BenchmarkTable,
    target: BenchmarkTable,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    queries: int = QUERIES,
    source_queries: int = SOURCE_QUERIES,
    workers: int = WORKERS,
) -> pd.DataFrame:
    """One row a start, seed and query: ``source``, ``target``, ``start``, ``seed``, ``query``, ``regret``."""
    frames = []
    for seed in seeds:
        known = found(source, seed, source_queries, workers)
        for name in names:
            start = STARTS[name]
            sources = [] if start.change is None else [start.change(known, target.space, seed)]
            trials = simulate(
                "nasbowl", target.task, queries, workers, seed, start.params, space=target.space, sources=sources
            )
            regret = target.best - np.fmax.accumulate(trials[OBJECTIVE].to_numpy())
            place = {"source": source.name, "target": target.name, "start": name, "seed": seed}
            frames.append(pd.DataFrame({**place, "query": np.arange(1, len(regret) + 1), "regret": regret}))
        print(f"seed {seed}", file=sys.stderr)
    return pd.concat(frames, ignore_index=True)


def queries_to(frame: pd.DataFrame, regret: float = REGRET) -> pd.Series:
    """First query after which the regret is at most this, by (start, seed); one more than there are where none is."""
    reached = frame.assign(at=frame["query"].where(frame["regret"] <= regret, frame["query"].max() + 1))
    return reached.groupby(["start", "seed"], sort=False)["at"].min()


def report(frame: pd.DataFrame) -> None:
    """A line a start."""
    shown = [query for query in SHOWN if query <= frame["query"].max()]
    pair = f"{frame['source'].iloc[0]} -> {frame['target'].iloc[0]}"
    print(f"\n{pair}, {frame['seed'].nunique()} seeds; queries to regret {REGRET}, mean regret (standard error) after")
    print(f"{'start':<10}{'queries':>8}{'quartiles':>13}" + "".join(f"{query:>15}" for query in shown))
    needed = queries_to(frame)
    for name, rows in frame.groupby("start", sort=False):
        low, middle, high = needed[name].quantile([0.25, 0.5, 0.75])
        regrets = rows.groupby("query")["regret"].agg(["mean", "sem"]).loc[shown]
        cells = "".join(f"{row['mean']:>8.3f} ({row['sem']:.3f})"[:16].rjust(15) for _, row in regrets.iterrows())
        print(f"{name:<10}{middle:>8g}{f'{low:g} to {high:g}':>13}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=table_name, default=SOURCE, metavar="TABLE", help=HELP)
    parser.add_argument("--target", type=table_name, default=TARGET, metavar="TABLE", help=HELP)
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=list(STARTS), metavar="START")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--source-queries", type=int, default=SOURCE_QUERIES)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--out", type=Path, help="a folder for transfer-SOURCE-TARGET.parquet")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    frame = curves(
        load_table(given.source),
        load_table(given.target),
        given.starts,
        seeds,
        queries=given.queries,
        source_queries=given.source_queries,
        workers=given.workers,
    )
    report(frame)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(given.out / f"transfer-{given.source}-{given.target}.parquet", index=False)


if __name__ == "__main__":
    main()
