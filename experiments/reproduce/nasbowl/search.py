"""What makes NAS-BOWL find good architectures: every ingredient taken away, one at a time.

``python experiments/reproduce/nasbowl/search.py cifar10 cifar100 digits`` searches each table with every variant, for
several seeds, on a simulated cluster of five workers that never wait for each other. A query is a trial that ended.
Shown are means over the seeds and, in brackets, standard errors of the regret of the best validation accuracy found, in
percentage points, and the share of seeds that found the best architecture there is.

The defaults were chosen on seeds from 1000 on; what is reported runs on 0 to 19. ``--out FILE`` keeps every curve as
Parquet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import HELP, OBJECTIVE, BenchmarkTable, load_table, table_name

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.wrapped import WrappedSpace

QUERIES = 100
WORKERS = 5
SEEDS = 20
SHOWN = (20, 30, 50, 75, 100)


class EveryGenotype(WrappedSpace):
    """A space whose isomorphic genotypes are different architectures: what a search without deduplication sees."""

    name = "every_genotype"

    def is_valid(self, genotype: Genotype) -> bool:
        """All of them are."""
        return self.space.is_valid(genotype)

    def key(self, genotype: Genotype) -> str:
        """The text: each genotype has its own."""
        return self.space.format(genotype)

    def canonical(self, genotype: Genotype) -> Genotype:
        """Itself."""
        return genotype


@dataclass(frozen=True)
class Variant:
    """A way to run NAS-BOWL.

    Attributes:
        params: of the controller.
        mode: of the simulation.
        repeats: whether isomorphic repeats are proposed.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "asynchronous"
    repeats: bool = False


VARIANTS = {
    "NAS-BOWL": Variant(),
    "likeliest kernel": Variant({"members": 1}),
    "no WL": Variant({"wl": False}),
    "no Hamming": Variant({"hamming": False}),
    "OA kernel": Variant({"kernel": "oa"}),
    "log error": Variant({"transform": "auto"}),
    "no clipping": Variant({"clip": False}),
    "neither": Variant({"transform": "auto", "clip": False}),
    "with repeats": Variant(repeats=True),
    "no fantasies": Variant({"fantasies": "none"}),
    "samples": Variant({"fantasies": "samples"}),
    "pool evolved": Variant({"candidates": "evolved"}),
    "pool m": Variant({"candidates": "mutants"}),
    "pool r": Variant({"candidates": "random"}),
    "Thompson": Variant({"acquisition": "thompson"}),
    "UCB": Variant({"acquisition": "ucb"}),
    "paper": Variant({"mode": "paper"}, mode="generational"),
}


def regrets(table: BenchmarkTable, variant: Variant, seed: int, queries: int, space: Space | None = None) -> np.ndarray:
    """Regret of the best so far after 1 to ``queries`` queries, in percentage points."""
    generational = variant.mode == "generational"
    frame = simulate(
        "nasbowl",
        table.task,
        queries,
        WORKERS,
        seed,
        dict(variant.params),
        space=space or table.space,
        mode="generational" if generational else "asynchronous",
        generation=WORKERS,
    )
    best = np.fmax.accumulate(frame[OBJECTIVE].to_numpy())
    return np.pad(table.best - best, (0, queries - len(best)), mode="edge")


def run(tables: Sequence[str], variants: Sequence[str], seeds: Sequence[int], queries: int) -> pd.DataFrame:
    """One row a table, variant, seed and query: ``regret`` beside them."""
    frames = []
    for table in map(load_table, tables):
        repeating = EveryGenotype(table.space)
        for name in variants:
            space = repeating if VARIANTS[name].repeats else table.space
            for seed in seeds:
                place = {"table": table.name, "variant": name, "seed": seed, "query": np.arange(1, queries + 1)}
                regret = regrets(table, VARIANTS[name], seed, queries, space)
                frames.append(pd.DataFrame({**place, "regret": regret}))
            print(f"{table.name}: {name}", file=sys.stderr)
    return pd.concat(frames, ignore_index=True)


def report(frame: pd.DataFrame) -> None:
    """A table for every benchmark table."""
    last_query = int(frame["query"].max())
    shown = [query for query in SHOWN if query <= last_query] or [last_query]
    for table, rows in frame.groupby("table", sort=False):
        print(f"\n{table}, {rows['seed'].nunique()} seeds")
        print(f"{'queries':<18}" + "".join(f"{query:>16}" for query in shown) + f"{'found':>8}")
        for variant, own in rows.groupby("variant", sort=False):
            at = own[own["query"].isin(shown)].groupby("query")["regret"].agg(["mean", "sem"])
            cells = "".join(f"{row['mean']:.3f} ({row['sem']:.3f})".rjust(16) for _, row in at.iterrows())
            last = own[own["query"] == shown[-1]]["regret"]
            print(f"{variant:<18}{cells}{(last < 1e-6).mean():>8.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=table_name, help=HELP)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--out", type=Path, help="a Parquet file for every curve")
    given = parser.parse_args(arguments)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    frame = run(given.tables, given.variants, seeds, given.queries)
    report(frame)
    if given.out is not None:
        frame.to_parquet(given.out, index=False)


if __name__ == "__main__":
    main()
