"""Which cells a supernet of NAS-Bench-201 speaks for, by every way of reading it, looked up in the benchmark's table.

``selection.py train --out FOLDER`` trains a shrunk supernet on the CIFAR-10 of ``XNAS_DATA`` for every seed and keeps
it after every epoch; interrupted, it goes on. ``selection.py read --out FOLDER`` reads cells off the last one by
magnitude, perturbation, influence (IF) and influential magnitude (IM), and prints their test accuracies after 200
epochs of the full network, mean and standard deviation over the seeds, beside those of random cells.
``selection.py sweep --out FOLDER`` does so for N batches of the estimates, for gamma of Neumann's series, and after
every epoch, and draws them.

What a search on a few thousand images with four channels chooses is looked up in a table of networks with sixteen that
were trained on all of CIFAR-10: the supernet is small, the table is real.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from xnas_ray.errors import InfluenceError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.nasbench201 import OPERATIONS, NASBench201
from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.discretize import Evidence, InfluentialMagnitude, discretize
from xnas_ray.supernets.inverse_hessian import Neumann
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import data_file
from xnas_ray.tasks.loading import load_task
from xnas_ray.training.checkpoint import load_checkpoint, save_checkpoint

SPACE = NASBench201()
SETTINGS = {"order": 1, "weight_decay": 5e-4, "nesterov": True, "augment": ["random_crop", "horizontal_flip"]}
BATCH_SIZE = 64
BATCHES = (1, 10, 20, 30, 40, 50)
GAMMAS = (1e-4, 1e-3, 1e-2, 1e-1, None)
"""Factors of Neumann's series; None is ``1/λmax``."""
DAMPING = 0.1
POWER_STEPS = 6
"""Hessian products of an estimate of λmax after each of many epochs, where 20 would be most of the work."""

READINGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "magnitude": ("magnitude", {}),
    "perturbation": ("perturbation", {}),
    "IF, neumann": ("influence", {"solver": "neumann", "solver_params": {"damping": DAMPING}}),
    "IM, neumann": ("influential_magnitude", {"solver": "neumann", "solver_params": {"damping": DAMPING}}),
    "IM, sherman_morrison": ("influential_magnitude", {"solver": "sherman_morrison", "batches": 30}),
    "IM, identity": ("influential_magnitude", {"solver": "identity"}),
}
"""What ``read`` prints: label, method and its settings."""


class Table:
    """Test accuracies on CIFAR-10 after 200 epochs, in percent, of every cell."""

    def __init__(self, path: Path) -> None:
        """Read them."""
        table = pq.read_table(path, columns=["arch", "cifar10_test_200"]).to_pydict()
        self.by_genotype = {
            SPACE.parse(text): value for text, value in zip(table["arch"], table["cifar10_test_200"], strict=True)
        }

    def of(self, genotype: Genotype) -> float:
        """Of one cell."""
        return float(self.by_genotype[genotype])

    def random(self, *, without_none: bool) -> tuple[float, float]:
        """Mean and standard deviation of a cell drawn at random: over all of them, so without an error."""
        none = OPERATIONS.index("none")
        values = [v for g, v in self.by_genotype.items() if not (without_none and none in g)]
        return float(np.mean(values)), float(np.std(values))


# ---- supernets -------------------------------------------------------------------------------------------------------


def make(data: Data, seed: int, epochs: int, channels: int) -> DartsSearch:
    """A search that has not begun."""
    parts = SearchData(data.train, batch_size=BATCH_SIZE, seed=seed)
    supernet = {"channels": channels, "cells_per_stage": 1}
    return DartsSearch(SPACE, data.data_shape, parts, epochs=epochs, seed=seed, supernet=supernet, **SETTINGS)


def place(out: Path, seed: int, epoch: int) -> Path:
    """File of a supernet after so many epochs."""
    return out / f"seed_{seed}" / f"epoch_{epoch:03d}.pt"


def train(out: Path, seeds: Sequence[int], epochs: int, channels: int) -> None:
    """Train what is not trained yet."""
    data = load_task("cifar10").load_data()
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(json.dumps({"seeds": list(seeds), "epochs": epochs, "channels": channels}))
    for seed in seeds:
        search = make(data, seed, epochs, channels)
        done = [epoch for epoch in range(1, epochs + 1) if place(out, seed, epoch).exists()]
        if done:
            search.load(load_checkpoint(place(out, seed, done[-1]), str(seed)))
        while search.progress.epoch < epochs:
            record = search.run()
            save_checkpoint(place(out, seed, search.progress.epoch), str(seed), search.state())
            print(
                f"seed {seed}, epoch {search.progress.epoch}: loss {record['train_loss']:.3f}, "
                f"architecture's part {record['architecture_accuracy']:.1f} %",
                flush=True,
            )


def trained(out: Path, epochs: Sequence[int] | None = None) -> Iterator[tuple[int, int, DartsSearch]]:
    """Seed, epoch and search of every supernet that is asked for; by default of the last epochs."""
    settings = json.loads((out / "settings.json").read_text())
    data = load_task("cifar10").load_data()
    for seed in settings["seeds"]:
        search = make(data, seed, settings["epochs"], settings["channels"])
        for epoch in epochs or [settings["epochs"]]:
            search.load(load_checkpoint(place(out, seed, epoch), str(seed)))
            yield seed, epoch, search


# ---- what is read off them -------------------------------------------------------------------------------------------


def looked_up(search: DartsSearch, table: Table, method: str, params: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy and number of skips of the cell that a method reads off; NaN where its solver does not converge."""
    tune = search._tune if method == "perturbation" else None
    evidence = Evidence(search.data, loss=search.loss, ridge=search.settings.weight_decay, seed=search.seed, tune=tune)
    try:
        genotype = discretize(search.supernet, method, evidence, params).genotype
    except InfluenceError as error:
        print(f"  {method} {params}: {error}")
        return {"accuracy": float("nan"), "skips": float("nan")}
    return {"accuracy": table.of(genotype), "skips": float(genotype.count(OPERATIONS.index("skip_connect")))}


class Found:
    """Rows that take minutes each: written when they are there, and not computed again.

    Args:
        path: a file of JSON lines.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier run has found."""
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def add(self, what: Mapping[str, Any], compute: Callable[[], Mapping[str, float]]) -> None:
        """The row of ``what``, computed unless it is there."""
        if any(what.items() <= row.items() for row in self.rows):
            return
        row = {**what, **compute()}
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print("  " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def read(out: Path, table: Table) -> pd.DataFrame:
    """A row a seed and reading, of the last epoch."""
    found = Found(out / "read.jsonl")
    for seed, epoch, search in trained(out):
        for label, (method, params) in READINGS.items():
            what = {"seed": seed, "epoch": epoch, "reading": label}
            found.add(what, partial(looked_up, search, table, method, params))
    return pd.DataFrame(found.rows)


def say(frame: pd.DataFrame, table: Table) -> None:
    """A line a reading."""
    print(f"{'':<24}{'test accuracy, %':>20}{'skips of 6':>12}{'seeds':>7}")
    for label, rows in frame.groupby("reading", sort=False):
        found = rows["accuracy"].dropna()
        spread = f"{found.mean():.2f} ± {found.std(ddof=0):.2f}" if len(found) else "-"
        print(f"{label:<24}{spread:>20}{rows['skips'].mean():>12.1f}{len(found):>7}")
    for label, without_none in (("random", False), ("random, without none", True)):
        mean, std = table.random(without_none=without_none)
        print(f"{label:<24}{f'{mean:.2f} ± {std:.2f}':>20}")


def estimated_gamma(search: DartsSearch) -> float:
    """``1/λmax`` of the damped Hessian of ten batches."""
    method = InfluentialMagnitude(solver_params={"damping": DAMPING})
    evidence = Evidence(search.data, loss=search.loss, ridge=search.settings.weight_decay, seed=search.seed)
    _, curvature = method.derivatives(search.supernet, evidence)
    settled = method.make_solver().settled(curvature, curvature.gradient())
    assert isinstance(settled, Neumann) and settled.gamma is not None
    return settled.gamma


def sweep(out: Path, table: Table, every: int) -> pd.DataFrame:
    """Influential magnitude against N, gamma and the epoch: a row a seed, solver and value.

    λmax is estimated once a supernet of the last epoch, from ten batches, for every N.
    """
    found = Found(out / "sweep.jsonl")

    def add(
        seed: int, what: str, solver: str, value: float | None, search: DartsSearch, params: Mapping[str, Any]
    ) -> None:
        compute = partial(looked_up, search, table, "influential_magnitude", {"solver": solver, **params})
        found.add({"seed": seed, "against": what, "solver": solver, "value": value}, compute)

    for seed, _, search in trained(out):
        gamma_of = {"seed": seed, "against": "lambda_max"}
        found.add(gamma_of, lambda search=search: {"gamma": estimated_gamma(search)})
        estimated = next(row["gamma"] for row in found.rows if gamma_of.items() <= row.items())
        neumann = {"solver_params": {"damping": DAMPING, "gamma": estimated}}
        for count in BATCHES:
            for solver, params in (("neumann", neumann), ("sherman_morrison", {}), ("identity", {})):
                add(seed, "N", solver, count, search, {"batches": count, **params})
        for gamma in GAMMAS:
            settings = {"damping": DAMPING, "gamma": estimated if gamma is None else gamma}
            add(seed, "gamma", "neumann", gamma, search, {"solver_params": settings})
    epochs = json.loads((out / "settings.json").read_text())["epochs"]
    neumann = {"solver_params": {"damping": DAMPING, "power_steps": POWER_STEPS}}
    for seed, epoch, search in trained(out, range(every, epochs + 1, every)):
        for solver, params in (("neumann", neumann), ("sherman_morrison", {"batches": 30}), ("identity", {})):
            add(seed, "epoch", solver, epoch, search, params)
        what = {"seed": seed, "against": "epoch", "solver": "magnitude", "value": epoch}
        found.add(what, partial(looked_up, search, table, "magnitude", {}))
    return pd.DataFrame([row for row in found.rows if "solver" in row])


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Mean and spread over the seeds, a panel each for N and the epoch."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for panel, what in zip(panels, ("N", "epoch"), strict=True):
        for solver, rows in frame[frame["against"] == what].groupby("solver"):
            grouped = rows.groupby("value")["accuracy"]
            panel.errorbar(grouped.mean().index, grouped.mean(), grouped.std(ddof=0), label=solver, capsize=2)
        panel.set_xlabel({"N": "batches of the estimate", "epoch": "epochs of the supernet"}[what])
        panel.legend()
    panels[0].set_ylabel("test accuracy, %")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "read", "sweep"))
    parser.add_argument("--out", type=Path, required=True, help="folder of supernets and figures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--every", type=int, default=5, help="epochs of the sweep: every so many")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "train":
        return train(given.out, given.seeds, given.epochs, given.channels)
    table = Table(data_file("nasbench201.parquet", "NAS-Bench-201 as a table"))
    frame = read(given.out, table) if given.what == "read" else sweep(given.out, table, given.every)
    frame.to_parquet(given.out / f"{given.what}.parquet")
    if given.what == "read":
        return say(frame, table)
    draw(frame, given.out / "sweep.svg")
    print(frame.groupby(["against", "solver", "value"], dropna=False)["accuracy"].agg(["mean", "std"]).to_string())


if __name__ == "__main__":
    main()
