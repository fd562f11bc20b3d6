"""Search curves: how far the best architecture found is from the best there is, after every query.

``python experiments/reproduce/nasbowl/curves.py cifar10`` runs every controller on the table for several seeds, on a
simulated cluster of five workers that never wait for each other: the scheduler and the controllers are those of the
service. A query is a trial that ended. Shown are means over the seeds and, in brackets, standard errors of the regret,
in percentage points of validation accuracy, and the CPU seconds that a search takes its controller.

``--out FOLDER`` keeps every curve as Parquet and draws them as PNG.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import HELP, OBJECTIVE, BenchmarkTable, load_table, table_name

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import UnknownNameError

QUERIES = 150
WORKERS = 5
SEEDS = 20
SHOWN = (10, 20, 30, 50, 75, 100, 125, 150)


@dataclass(frozen=True)
class Contender:
    """A controller with parameters.

    Attributes:
        controller: registered name, or ``"module:Class"``.
        params: of its constructor.
    """

    controller: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether its controller can be made here."""
        try:
            CONTROLLERS.get(self.controller)
        except UnknownNameError:
            return False
        return True


CONTENDERS = {
    "random": Contender("random_search"),
    "evolution": Contender("regularized_evolution", {"population": 30, "sample": 10}),
    "TPE": Contender("optuna_tpe:OptunaTPE"),
    "BANANAS m": Contender("bananas", {"pool": "mutation"}),
    "BANANAS r": Contender("bananas", {"pool": "random"}),
    "NAS-BOWL": Contender("nasbowl"),
}


def regrets(table: BenchmarkTable, contender: Contender, seed: int, queries: int, workers: int) -> np.ndarray:
    """Regret of the best so far after 1 to ``queries`` queries, in percentage points.

    The last value is repeated where a space is exhausted before.
    """
    frame = simulate(contender.controller, table.task, queries, workers, seed, contender.params, space=table.space)
    best = np.fmax.accumulate(frame[OBJECTIVE].to_numpy())
    return np.pad(table.best - best, (0, queries - len(best)), mode="edge")


def curves(
    table: BenchmarkTable, names: Sequence[str], seeds: Sequence[int], queries: int = QUERIES, workers: int = WORKERS
) -> pd.DataFrame:
    """One row a contender, seed and query: ``table``, ``contender``, ``seed``, ``query``, ``regret``, ``cpu_s``."""
    frames = []
    for name in names:
        for seed in seeds:
            begun_s = time.process_time()
            regret = regrets(table, CONTENDERS[name], seed, queries, workers)
            place = {"table": table.name, "contender": name, "seed": seed, "cpu_s": time.process_time() - begun_s}
            frames.append(pd.DataFrame({**place, "query": np.arange(1, queries + 1), "regret": regret}))
        print(f"{table.name}: {name}", file=sys.stderr)
    return pd.concat(frames, ignore_index=True)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error of the regret over seeds: one row a contender and query."""
    found = frame.groupby(["contender", "query"], sort=False)["regret"].agg(["mean", "sem"]).reset_index()
    return found.rename(columns={"sem": "error"})


def report(frame: pd.DataFrame, table: BenchmarkTable) -> None:
    """A line a contender."""
    seeds, queries = frame["seed"].nunique(), int(frame["query"].max())
    shown = [query for query in SHOWN if query <= queries]
    print(f"\n{table.name}: best {table.best:.3f} % of {len(table.genotypes):,} architectures, {seeds} seeds")
    print(f"{'queries':<12}" + "".join(f"{query:>15}" for query in shown) + f"{'CPU s':>9}")
    means = summary(frame)
    for name in dict.fromkeys(frame["contender"]):
        rows = means[means["contender"] == name].set_index("query").loc[shown]
        cells = "".join(f"{row['mean']:>8.3f} ({row['error']:.3f})"[:16].rjust(15) for _, row in rows.iterrows())
        cpu_s = frame[frame["contender"] == name].groupby("seed")["cpu_s"].first().mean()
        print(f"{name:<12}{cells}{cpu_s:>9.1f}")


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Means with one standard error; logarithmic, so that the end can be seen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    means = summary(frame)
    floor = max(means.loc[means["mean"] > 0, "mean"].min() / 2, 1e-4)
    for name in dict.fromkeys(frame["contender"]):
        rows = means[means["contender"] == name]
        (line,) = axes.plot(rows["query"], rows["mean"].clip(floor), label=name)
        low, high = (rows["mean"] - rows["error"]).clip(floor), (rows["mean"] + rows["error"]).clip(floor)
        axes.fill_between(rows["query"], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(yscale="log", xlabel="queries", ylabel="regret of validation accuracy (percentage points)")
    axes.set_title(", ".join(dict.fromkeys(frame["table"])))
    axes.legend()
    FigureCanvasAgg(figure).print_png(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=table_name, help=HELP)
    parser.add_argument("--contenders", nargs="+", default=None, choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--out", type=Path, help="a folder for curves-TABLE.parquet and curves-TABLE.png")
    given = parser.parse_args()
    names = given.contenders or [name for name, contender in CONTENDERS.items() if contender.available]
    table = load_table(given.table)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    frame = curves(table, names, seeds, given.queries, given.workers)
    report(frame, table)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(given.out / f"curves-{table.name}.parquet", index=False)
        draw(frame, given.out / f"curves-{table.name}.png")


if __name__ == "__main__":
    main()
