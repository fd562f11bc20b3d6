"""How far the predictor can be trusted: what clipped labels do to it, and what its standard deviations are worth.

``python experiments/reproduce/nars/trust.py`` fits the predictor of a search (``controllers.nars_predictions.learn``)
to the first 24 to 240 of the same labelled architectures, with labels as they are and with poor ones clipped, and asks
it about a thousand others, five times with other draws and other initial weights. The data are those of
``pretraining.py``. Some of the networks in the tables did not learn: those are the labels that clipping is for.

Shown are means over the draws, with the standard deviation of the first:

- Spearman's correlation with all others, and with their better half, which is what a search has to tell apart;
- how far the mean of the best predicted hundredth (three at least) is below that of the best, in points of accuracy;
- the mean absolute error of what is stated of all others, and of their better half;
- which share of the others is within one and within two of the stated standard deviations (of a normal distribution
  68 and 95 % would be), what those have to be multiplied with so that 68 % are within one, and the rank correlation of
  the standard deviation with the error: whether it knows where it errs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pretraining import DATA, Data, searched

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nars_labels import Labels
from xnas_ray.controllers.nars_predictions import learn
from xnas_ray.errors import DataMissingError
from xnas_ray.randomness import Domain, rng
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
from xnas_ray.surrogates.calibration import coverage, interval_factor, spearman
from xnas_ray.surrogates.mixed_encoding import MixedEncoding

SIZES = (24, 48, 96, 240)
SEEDS = 5
MEMBERS = 4
POOL = 4_000
BEST_SHARE, FEWEST = 0.01, 3
ONE, TWO = 0.6827, 0.9545
"""Probabilities of one and two standard deviations of a normal distribution."""
GOAL = Goal("val_accuracy", maximize=True)


def measures(stated: np.ndarray, stds: np.ndarray, ranked: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How good predictions were.

    Args:
        stated: what people are told, in percent, float64 [n].
        stds: beside it, above 0.
        ranked: what architectures are ranked by.
        truth: what was measured.
    """
    better, count = truth >= np.median(truth), max(FEWEST, round(BEST_SHARE * len(truth)))
    error, best = np.abs(stated - truth), np.argsort(-ranked, kind="stable")[:count]
    return {
        "spearman": spearman(ranked, truth),
        "better_half": spearman(ranked[better], truth[better]),
        "lost": float(np.sort(truth)[-count:].mean() - truth[best].mean()),
        "error": float(error.mean()),
        "error_better_half": float(error[better].mean()),
        "within_one": coverage(truth, stated, stds**2, ONE),
        "within_two": coverage(truth, stated, stds**2, TWO),
        "factor": interval_factor(truth, stated, stds**2, ONE),
        "knows": spearman(stds, error),
    }


def run(data: Data, sizes: Sequence[int], seeds: int, members: int = MEMBERS) -> pd.DataFrame:
    """One row a number of labels, clipping and seed: ``data``, ``size``, ``clip``, ``seed`` and ``measures``.

    Sizes for which there are not enough labels are left out.
    """
    encoding = MixedEncoding(data.space)
    places = rng(0, Domain.POOL).permutation(len(data.pool))[:POOL]
    pool = [data.pool[place] for place in places.tolist()]
    flops, params = data.space.costs(pool, data.shape)
    rows = []
    for seed in range(seeds):
        genotypes, percents = data.labels(seed)
        known = Labels(tuple(genotypes[data.asked :]), percents[data.asked :])
        asked, truth = genotypes[: data.asked], percents[: data.asked]
        predictor = AccuracyPredictor(encoding, seed=seed, members=members)
        predictor.pretrain(pool, flops, params)
        for size in (size for size in sizes if size <= len(known)):
            for clip in (False, True):
                unit = learn(predictor, known.at(np.arange(size)), GOAL, clip=clip)
                means, stds = predictor.predict(asked)
                found = measures(*unit.stated(means, stds), means, truth)
                rows.append({"data": data.name, "size": size, "clip": clip, "seed": seed, **found})
        print(f"{data.name}: {seed + 1}/{seeds}", file=sys.stderr)
    return pd.DataFrame(rows)


def report(frame: pd.DataFrame) -> None:
    """Two Markdown tables a data set: what clipping does, and what standard deviations are worth with it."""
    columns = {
        "spearman": ("Spearman", 3),
        "better_half": ("of the better half", 3),
        "lost": ("the best lose", 2),
        "error": ("error", 2),
        "error_better_half": ("of the better half", 2),
    }
    for name, part in frame.groupby("data", sort=False):
        print(f"\n{name}, {part['seed'].nunique()} draws; labels as they are / clipped:\n")
        table(["labels", *(title for title, _ in columns.values())])
        for size, rows in part.groupby("size"):
            of_clip = [rows[rows["clip"] == clip] for clip in (False, True)]
            cells = [
                " / ".join(shown(one[measure], digits, spread=measure == "spearman") for one in of_clip)
                for measure, (_, digits) in columns.items()
            ]
            print(f"| {size} | {' | '.join(cells)} |")
        print()
        table(["labels, clipped", "within one", "within two", "factor", "rank correlation with the error"])
        for size, rows in part[part["clip"]].groupby("size"):
            shares = [f"{rows[measure].mean():.0%}" for measure in ("within_one", "within_two")]
            print(
                f"| {size} | {' | '.join(shares)} | {shown(rows['factor'], 1)} | {shown(rows['knows'], 2)} |",
                flush=True,
            )


def table(head: Sequence[str]) -> None:
    """The head of a Markdown table."""
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")


def shown(values: pd.Series, digits: int, spread: bool = False) -> str:
    """Their mean, and their standard deviation."""
    beside = f" ± {values.std():.{digits}f}" if spread and len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{beside}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=list(DATA), metavar="DATA")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--members", type=int, default=MEMBERS, help="networks of a predictor, at least 2")
    parser.add_argument("--store", type=Path, help="a store of results; only its search is looked at")
    parser.add_argument("--search", default="latest", help="id of a search in it")
    given = parser.parse_args(arguments)
    if given.members < 2:
        sys.exit("one network has no standard deviation: --members 2 at least")
    makers = [DATA[name] for name in given.data]
    if given.store is not None:
        makers = [lambda: searched(given.store, given.search, GOAL.name)]
    for make in makers:
        try:
            frame = run(make(), given.sizes, given.seeds, given.members)
        except DataMissingError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if frame.empty:
            sys.exit(f"there are too few labels for {min(given.sizes)}; ask for fewer with --sizes")
        report(frame)


if __name__ == "__main__":
    main()
