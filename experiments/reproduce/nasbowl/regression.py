"""How well surrogates predict architectures that they have not seen: NAS-BOWL's regression experiment, re-measured.

``python experiments/reproduce/nasbowl/regression.py`` draws 800 architectures of every table, fits each model on the
first 50, 100, 200 and 400 of one half and asks it about the other half, twenty times with other draws; the same draws
for every model. The target is ``-log(error)``. Shown are means over the repetitions: Spearman's rank correlation, the
root mean squared error, the negative log predictive density (nats an architecture), the share of architectures inside
the central 90 % predictive interval, and the CPU seconds of a fit.

A model that was never told how much it does not know is not helped out: intervals are its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from models import MODELS
from random_graphs import RandomGraphs, planted
from scipy.stats import spearmanr
from tables import TABLES, load_table

from xnas_ray.errors import DataMissingError, UnknownNameError
from xnas_ray.messages import Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.calibration import coverage, nlpd

SIZES = (50, 100, 200, 400)
VALIDATION = 400
REPETITIONS = 20
LEAST_ERROR = 0.1  # percentage points: a table may hold a perfect architecture
INTERVAL = 0.9
RANDOM_GRAPHS = "random_graphs"
DATA = (*TABLES, RANDOM_GRAPHS)
MEASURES = ("spearman", "rmse", "nlpd", "coverage", "fit_s")

Draw = Callable[[int, int], tuple[list[Genotype], np.ndarray]]
"""Architectures and their accuracies in percent, from their number and the repetition."""


def data(name: str) -> tuple[Space, Draw]:
    """What a table's architectures are of, and how they are drawn.

    Raises:
        DataMissingError: the table's file is not there.
        UnknownNameError: there is no such table.
    """
    if name not in DATA:
        raise UnknownNameError(f"there is no table {name!r}.", field="tables", got=name, valid=DATA)
    if name == RANDOM_GRAPHS:
        space = RandomGraphs()

        def made(count: int, repetition: int) -> tuple[list[Genotype], np.ndarray]:
            generator = rng(repetition, Domain.SPLIT)
            genotypes = [space.sample(generator) for _ in range(count)]
            return genotypes, planted(space, genotypes, noise_seed=repetition)

        return space, made
    table = load_table(name)

    def drawn(count: int, repetition: int) -> tuple[list[Genotype], np.ndarray]:
        chosen = rng(repetition, Domain.SPLIT).choice(len(table.genotypes), size=count, replace=False)
        genotypes = [table.genotypes[i] for i in chosen]
        return genotypes, table.accuracies(genotypes)

    return table.space, drawn


def log_target(accuracy: np.ndarray) -> np.ndarray:
    """``-log(error)`` of accuracies in percent."""
    return -np.log(np.maximum(100.0 - accuracy, LEAST_ERROR) / 100.0)


def measures(y: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> dict[str, float]:
    """How good a predictive distribution was.

    Args:
        y: true targets.
        mean: predicted means.
        spread: predicted standard deviations, above 0.
    """
    return {
        "spearman": float(spearmanr(y, mean).statistic) if np.ptp(mean) > 0 else 0.0,  # a constant ranks nothing
        "rmse": float(np.sqrt(np.mean((y - mean) ** 2))),
        "nlpd": nlpd(y, mean, spread**2),
        "coverage": coverage(y, mean, spread**2, INTERVAL),
    }


def run(names: Sequence[str], models: Sequence[str], repetitions: int, sizes: Sequence[int] = SIZES) -> pd.DataFrame:
    """One row a table, model, training size and repetition."""
    rows = []
    for name in names:
        space, draw = data(name)
        for repetition in range(repetitions):
            genotypes, accuracy = draw(VALIDATION + max(sizes), repetition)
            y = log_target(accuracy)
            for model_name in models:
                for size in sizes:
                    model = MODELS[model_name](space, repetition)
                    begun_s = time.process_time()
                    model.fit(genotypes[VALIDATION : VALIDATION + size], y[VALIDATION : VALIDATION + size])
                    fit_s = time.process_time() - begun_s
                    found = measures(y[:VALIDATION], *model.predict(genotypes[:VALIDATION]))
                    place = {"table": name, "model": model_name, "size": size, "repetition": repetition}
                    rows.append({**place, **found, "fit_s": fit_s})
            print(f"{name}: {repetition + 1}/{repetitions}", file=sys.stderr)
    return pd.DataFrame(rows)


def report(frame: pd.DataFrame) -> None:
    """One block a table: a line a model and size, means and the standard error of Spearman's correlation."""
    for name, part in frame.groupby("table", sort=False):
        print(f"\n{name}: {VALIDATION} validation architectures, {part['repetition'].nunique()} repetitions")
        print(f"{'':<18}{'n':>5}{'Spearman':>10}{'(s.e.)':>9}{'RMSE':>8}{'NLPD':>8}{'90 %':>8}{'fit s':>8}")
        for (model, size), group in part.groupby(["model", "size"], sort=False):
            mean = group[list(MEASURES)].mean()
            error = group["spearman"].sem() if len(group) > 1 else float("nan")
            print(
                f"{model:<18}{size:>5}{mean['spearman']:>10.3f}{f'({error:.3f})':>9}{mean['rmse']:>8.3f}"
                f"{mean['nlpd']:>8.2f}{mean['coverage']:>8.3f}{mean['fit_s']:>8.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=list(DATA), metavar="TABLE", help=", ".join(DATA))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--out", type=Path, help="a Parquet file for every single figure")
    given = parser.parse_args()
    frames = []
    for name in given.tables:
        try:
            frames.append(run([name], given.models, given.repetitions, given.sizes))
        except DataMissingError as error:
            print(f"{name} is left out. {error}", file=sys.stderr)
            continue
        report(frames[-1])
        if given.out is not None:  # after every table: a long run that is stopped leaves what it had
            pd.concat(frames).to_parquet(given.out, index=False)
    if not frames:
        sys.exit("no table is there")


if __name__ == "__main__":
    main()
