"""What pretraining on FLOPs and parameters saves: the predictor's error against the number of trained networks.

``python experiments/reproduce/nars/pretraining.py`` fits the predictor of ``xnas_ray/surrogates/accuracy_predictor.py``
on the first 24 to 480 of the same labelled architectures and asks it about a thousand others, eight times with other
draws and other initial weights: as published (``pretrained``, its encoder frozen for the first half of a fit), with
pretraining but ``not frozen``, and from ``scratch``. The data:

- ``synthetic``: FBNetV3's joint space and accuracies that are made: smooth in the logarithms of FLOPs and parameters,
  smooth in the recipe, a little of both together, and noise. Costs explain most of what there is to know.
- ``nasbench101``: a subset of NAS-Bench-101 after 108 epochs (a file in the folder that ``XNAS_DATA`` names).
- ``nasbench201``: CIFAR-10 after 12 epochs, from there too.
- ``digits``: the project's own table of NAS-Bench-201, after three epochs on scikit-learn's digits.
- ``--store ROOT --search ID``: the completed trials of a search that the service ran, with ``--objective``; half of
  them are asked about.

An encoder is pretrained on the costs of 20,000 samples of the space, or of all architectures of a table: costs need no
training, so nothing is leaked. Shown are means and standard deviations of the mean absolute error (in points) and of
Spearman's correlation, and how many labels the predictor from scratch needs for the mean of either that the pretrained
one has, read from its own curve. ``--out`` keeps mean squared errors too; tables with a few networks that did not learn
make those a matter of who is asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.errors import DataMissingError
from xnas_ray.messages import Genotype, TrialStatus
from xnas_ray.randomness import Domain, rng
from xnas_ray.service.archive import stored_card
from xnas_ray.service.resolve import open_search
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.registry import SPACES
from xnas_ray.store import load_curves, load_trials, resolve_search_id
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
from xnas_ray.surrogates.mixed_encoding import MixedEncoding
from xnas_ray.tasks.datasets import data_file

PRETRAINED, THAWED, SCRATCH = MODELS = ("pretrained", "not frozen", "scratch")
MEASURES = ("mae", "mse", "spearman")
SIZES = (24, 48, 96, 144, 192, 240, 480)
SEEDS = 8
POOL = 20_000
ASKED = 1_000
IMAGES = DataShape(inputs=((3, 272, 272),), outputs=1000)
SMALL_IMAGES = DataShape(inputs=((3, 32, 32),), outputs=10)
HOW_TO_GET = "Set XNAS_DATA to the folder that has it, or ask for 'synthetic' or 'digits', which need no file."
DIGITS = Path(__file__).resolve().parents[2] / "digits" / "nasbench201_digits.parquet"

RECIPE = {
    "lr": {"linear": [0.02, 0.03], "levels": 11},
    "optimizer": ["rmsprop", "sgd"],
    "dropout": {"linear": [0.01, 0.31], "levels": 31},
    "drop_path": {"linear": [0.10, 0.31], "levels": 22},
    "mixup": {"linear": [0.0, 0.41], "levels": 42},
    "weight_decay": {"linear": [7e-6, 21e-6], "levels": 15},
}
"""The recipes of Table 4.2: 9,452,520."""

Labels = Callable[[int], tuple[list[Genotype], np.ndarray]]
"""Labelled architectures in the random order of a seed, and their accuracies in percent."""


@dataclass(frozen=True)
class Data:
    """Something to predict.

    Attributes:
        name: short.
        space: of the architectures, with or without recipes.
        shape: of the task, which decides costs.
        pool: what the encoder is pretrained on.
        labels: what is trained on and asked about.
        asked: how many are asked about.
    """

    name: str
    space: Space
    shape: DataShape
    pool: list[Genotype]
    labels: Labels
    asked: int = ASKED


# ---- the data -------------------------------------------------------------------------------------------------------


def synthetic(architecture: str = "fbnetv3", pool: int = POOL, asked: int = ASKED) -> Data:
    """Made accuracies on a joint space.

    Args:
        architecture: name of the space of architectures.
        pool: samples to pretrain on.
        asked: samples to ask about.
    """
    space = JointSpace(architecture=SPACES.create(architecture, {}), recipe=RECIPE)
    generator = rng(0, Domain.POOL)
    genotypes = [space.sample(generator) for _ in range(pool)]
    log_costs = np.log(np.stack(space.costs(genotypes, IMAGES), axis=1))
    mean, spread = log_costs.mean(axis=0), log_costs.std(axis=0)
    encoding = MixedEncoding(space)

    def labels(seed: int) -> tuple[list[Genotype], np.ndarray]:
        dice = rng(seed, Domain.SPLIT)
        found = [space.sample(dice) for _ in range(asked + max(SIZES))]
        sizes = (np.log(np.stack(space.costs(found, IMAGES), axis=1)) - mean) / spread
        return found, made(sizes, encoding.encode(found)[:, encoding.recipe], dice)

    return Data("synthetic", space, IMAGES, genotypes, labels, asked)


def made(sizes: np.ndarray, recipes: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Accuracies in percent: more for what is larger, ever less so; a best value for every setting of the recipe.

    Standard deviations are about 3 points by size, 2 by recipe, 0.7 by both together (what is larger wants another
    recipe), and half a point of noise.

    Args:
        sizes: standardised logarithms of FLOPs and parameters, n x 2.
        recipes: settings between 0 and 1, n x columns.
        dice: draws what is best, and the noise.
    """
    best, weight = dice.uniform(0, 1, recipes.shape[1]), dice.uniform(0.5, 1, recipes.shape[1])
    by_size = np.tanh(sizes[:, 0] / 2) + 0.4 * np.tanh(sizes[:, 1] / 2)
    by_recipe = -((recipes - best) ** 2) @ weight
    both = sizes[:, 0] * ((recipes - 0.5) @ dice.choice([-1.0, 1.0], recipes.shape[1]))
    parts = [(3.0, by_size), (2.0, by_recipe), (0.7, both), (0.5, dice.normal(size=len(sizes)))]
    return 72 + sum(points * (part - part.mean()) / part.std() for points, part in parts)


def looked_up(name: str, task: TabularTask, shape: DataShape, scale: float = 1.0) -> Data:
    """Accuracies of a table; ``scale`` makes them percent."""
    space = task.restricted()
    genotypes = list(dict.fromkeys(space.canonical(g) for g in space.genotypes()))

    def labels(seed: int) -> tuple[list[Genotype], np.ndarray]:
        chosen = rng(seed, Domain.SPLIT).choice(len(genotypes), size=ASKED + max(SIZES), replace=False)
        found = [genotypes[i] for i in chosen]
        return found, scale * np.array([task.lookup(g).metrics["val_accuracy"] for g in found])

    return Data(name, space, shape, genotypes, labels)


def nasbench101() -> Data:
    """Validation accuracy after 108 epochs; the table has fractions."""
    columns = [*NASBench101.table_columns, "val108"]
    table = pq.read_table(data_file("nasbench101_subset.parquet", HOW_TO_GET), columns=columns)
    task = TabularTask(table, space=NASBench101(), objectives={"val_accuracy": "val108"})
    return looked_up("nasbench101", task, SMALL_IMAGES, scale=100.0)


def nasbench201() -> Data:
    """Validation accuracy on CIFAR-10 after 12 epochs."""
    path, column = data_file("nasbench201.parquet", HOW_TO_GET), "cifar10_val_12"
    task = TabularTask.from_parquet(path, NASBench201(), objectives={"val_accuracy": column})
    return looked_up("nasbench201", task, SMALL_IMAGES)


def digits() -> Data:
    """The project's own table."""
    space = NASBench201(channels=8, cells_per_stage=1, stages=1)
    task = TabularTask.from_parquet(DIGITS, space, objectives={"val_accuracy": "val_accuracy_3"})
    return looked_up("digits", task, DataShape(inputs=((1, 8, 8),), outputs=10))


def searched(root: Path, search: str, objective: str) -> Data:
    """The completed trials of a search. All labels are of one epoch, the least that a trial was trained for.

    Args:
        root: folder of the store.
        search: its id, a unique prefix of it, or ``"latest"``.
        objective: what is predicted, a metric in percent.
    """
    whole = resolve_search_id(root, search)
    opened = open_search(root, stored_card(root, whole))
    space = opened.space.unwrapped
    trials = load_trials(root, whole)
    trials = trials[trials["status"] == TrialStatus.COMPLETED].set_index("trial")
    final = trials[f"metric_{objective}"].dropna()
    epoch = int(trials.loc[final.index, "fidelity"].min())
    curves = load_curves(root, whole)
    at_epoch = curves[(curves["metric"] == objective) & (curves["epoch"] == epoch)].set_index("trial")["value"]
    known: dict[Genotype, float] = {}
    for trial, value in final.items():
        known.setdefault(space.canonical(trials.at[trial, "genotype"]), float(at_epoch.get(trial, value)))
    genotypes = list(known)
    generator = rng(0, Domain.POOL)
    pool = list(dict.fromkeys(space.sample(generator) for _ in range(POOL)))

    def labels(seed: int) -> tuple[list[Genotype], np.ndarray]:
        found = [genotypes[i] for i in rng(seed, Domain.SPLIT).permutation(len(genotypes))]
        return found, np.array([known[genotype] for genotype in found])

    return Data(f"search {whole}, epoch {epoch}", space, opened.shape, pool, labels, len(genotypes) // 2)


DATA: dict[str, Callable[[], Data]] = {
    "synthetic": synthetic,
    "nasbench101": nasbench101,
    "nasbench201": nasbench201,
    "digits": digits,
}


# ---- the experiment -------------------------------------------------------------------------------------------------


def run(data: Data, sizes: Sequence[int], seeds: int, members: int = 1) -> pd.DataFrame:
    """One row a model, number of labels and seed: ``data``, ``model``, ``size``, ``seed`` and ``MEASURES``.

    Sizes for which there are not enough labels are left out.
    """
    encoding = MixedEncoding(data.space)
    flops, params = data.space.costs(data.pool, data.shape)
    rows = []
    for seed in range(seeds):
        genotypes, percents = data.labels(seed)
        asked, truth = genotypes[: data.asked], percents[: data.asked]
        rest, known = genotypes[data.asked :], percents[data.asked :]
        for model in MODELS:
            predictor = AccuracyPredictor(encoding, seed=seed, members=members, frozen=model == PRETRAINED)
            if model != SCRATCH:
                predictor.pretrain(data.pool, flops, params)
            for size in (size for size in sizes if size <= len(rest)):
                predictor.fit(rest[:size], known[:size])
                found = predictor.predict(asked)[0]
                place = {"data": data.name, "model": model, "size": size, "seed": seed}
                rows.append({**place, **measures(found, truth)})
        print(f"{data.name}: {seed + 1}/{seeds}", file=sys.stderr)
    return pd.DataFrame(rows)


def measures(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How good predictions were; a constant ranks nothing."""
    error = found - truth
    ranked = np.ptp(found) > 0 and np.ptp(truth) > 0
    rank = spearmanr(found, truth).statistic if ranked else 0.0
    return dict(zip(MEASURES, map(float, (np.abs(error).mean(), (error**2).mean(), rank)), strict=True))


def labels_needed(frame: pd.DataFrame, measure: str) -> dict[int, str]:
    """How many labels scratch needs for the pretrained predictor's mean of a measure, by the latter's labels.

    Read from scratch's own curve, straight between its sizes in logarithms of the sizes and made monotone where it is
    not; beyond its ends only on which side is known.
    """
    sign = 1 if measure == "spearman" else -1
    mean = sign * frame.groupby(["model", "size"])[measure].mean()
    scratch = mean[SCRATCH].cummax()
    sizes = scratch.index.to_numpy(dtype=float)
    found = {}
    for size, reached in mean[PRETRAINED].items():
        if reached > scratch.iloc[-1]:
            found[int(size)] = f"> {sizes[-1]:.0f}"
        elif reached < scratch.iloc[0]:
            found[int(size)] = f"< {sizes[0]:.0f}"
        else:
            found[int(size)] = f"{np.exp(np.interp(reached, scratch.to_numpy(), np.log(sizes))):.0f}"
    return found


def report(frame: pd.DataFrame) -> None:
    """A Markdown table a data set."""
    shown = {"mae": 2, "spearman": 3}
    for name, part in frame.groupby("data", sort=False):
        print(f"\n{name}, {part['seed'].nunique()} seeds:\n")
        models = " | ".join((PRETRAINED, THAWED, SCRATCH))
        print(f"| labels | error: {models} | Spearman: {models} | scratch needs: error | Spearman |")
        print("|---" * (3 + 2 * len(MODELS)) + "|")
        needed = [labels_needed(part, measure) for measure in shown]
        for size, rows in part.groupby("size"):
            cells = [
                f"{values.mean():.{digits}f} ± {values.std() if len(values) > 1 else 0:.{digits}f}"
                for measure, digits in shown.items()
                for model in MODELS
                for values in [rows.loc[rows["model"] == model, measure]]
            ]
            cells += [by_size[int(size)] for by_size in needed]
            print(f"| {size} | {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=list(DATA), metavar="DATA")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--members", type=int, default=1, help="networks of a predictor")
    parser.add_argument("--store", type=Path, help="a store of results; only its search is looked at")
    parser.add_argument("--search", default="latest", help="id of a search in it")
    parser.add_argument("--objective", default="val_accuracy", help="metric in percent that is predicted")
    parser.add_argument("--out", type=Path, help="a Parquet file for every single figure")
    given = parser.parse_args(arguments)
    makers = [DATA[name] for name in given.data]
    if given.store is not None:
        makers = [lambda: searched(given.store, given.search, given.objective)]
    frames = []
    for make in makers:
        try:
            frames.append(run(make(), given.sizes, given.seeds, given.members))
        except DataMissingError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if frames[-1].empty:
            sys.exit(f"there are too few labels for {min(given.sizes)}; ask for fewer with --sizes")
        report(frames[-1])
    if given.out is not None and frames:
        pd.concat(frames).to_parquet(given.out, index=False)


if __name__ == "__main__":
    main()
