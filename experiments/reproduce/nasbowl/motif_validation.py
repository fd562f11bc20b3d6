"""Do motifs keep their promise? Learnt on some architectures, looked for in others that the model never saw.

``python experiments/reproduce/nasbowl/motif_validation.py`` draws architectures of every table, fits the WL Gaussian
process to 200 of them, ranks motifs by both effects (``ag``: the paper's average gradient, one count alone; ``whole``:
with the smaller subtrees at the same root) and compares, among 1,000 others, those with each motif and those without,
twenty times with other draws. Shown are means over the repetitions, with standard errors:

- ``kept``: share of the good and bad motifs whose architectures are better, and worse, than those without;
- ``rank``: Spearman's correlation of effect and difference over all motifs;
- ``gain``: median accuracy of the architectures with at least one good motif minus that of all, in percentage points
  (the filter with which the paper transfers motifs between tasks).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from regression import log_target
from scipy.stats import spearmanr
from tables import TABLES, load_table

from xnas_ray.errors import DataMissingError
from xnas_ray.explain.motifs import best_motifs, motif_table, read_motifs
from xnas_ray.explain.occurrences import presence, validate
from xnas_ray.explain.wl_part import WLPart
from xnas_ray.randomness import Domain, rng
from xnas_ray.surrogates.gram_gp import GramGP, evidence
from xnas_ray.surrogates.wl_features import WLFeatures

TRAINING = 200
VALIDATION = 1000
REPETITIONS = 20
DEPTHS = (1, 2)
KINDS = ("subtree", "oa")
EFFECTS = ("ag", "whole")
MEASURES = ("kept", "rank", "gain")


def fitted(features: WLFeatures, rows: range, y: np.ndarray, depth: int) -> WLPart:
    """The posterior of a Gaussian process with the WL kernel alone, noise and scale by the marginal likelihood."""
    gram = sum(features.gram(rows, rows, layer, "cell") for layer in range(depth + 1))
    norms = np.sqrt(np.diag(gram))
    gram = gram / np.outer(norms, norms)
    best = evidence(gram, y)
    process = GramGP(gram, best.noise_ratio)
    process.set_targets(y)
    alpha, scale = process.alpha / process.scale, process.scale
    return WLPart.by_cell(features, rows, alpha, depth, scale, precision=process.precision())


def measure(features: WLFeatures, part: WLPart, accuracy: np.ndarray, by: str) -> dict[str, float]:
    """How well the motifs of a model hold on the architectures behind its own."""
    seen = len(part.rows)
    rows, unseen = range(seen, len(accuracy)), accuracy[seen:]
    table = motif_table(features, part, by=by)
    found = validate(read_motifs(table), features, rows, unseen)
    marked, known = found["mark"] != "", found["superiority"].notna()
    has = presence(features, rows, best_motifs(table)).any(axis=1)
    gain = np.median(unseen[has]) - np.median(unseen) if has.any() else np.nan
    return {
        "motifs": len(found),
        "kept": float(found.loc[marked & known, "kept"].mean()),
        "rank": float(spearmanr(found.loc[known, "effect"], found.loc[known, "superiority"]).statistic),
        "gain": float(gain),
    }


def run(name: str, repetitions: int, training: int = TRAINING) -> pd.DataFrame:
    """One row a depth, kind of kernel, repetition and effect."""
    table, rows = load_table(name), []
    for repetition in range(repetitions):
        chosen = rng(repetition, Domain.EXPLAIN).permutation(len(table.genotypes))[: training + VALIDATION]
        genotypes = [table.genotypes[i] for i in chosen]
        accuracy = table.accuracies(genotypes)
        y = log_target(accuracy[:training])
        y = np.maximum(y, 2 * np.median(y) - y.max())  # the poor tail must not set the scale of everything
        y = (y - y.mean()) / y.std()
        for kind in KINDS:
            features = WLFeatures(max(DEPTHS), kind=kind)
            for genotype in genotypes:
                features.add(table.space.key(genotype), table.space.graphs(genotype))
            for depth in DEPTHS:
                part = fitted(features, range(training), y, depth)
                place = {"table": name, "kind": kind, "depth": depth, "repetition": repetition}
                rows += [{**place, "by": by, **measure(features, part, accuracy, by)} for by in EFFECTS]
        print(f"{name}: {repetition + 1}/{repetitions}", file=sys.stderr)
    return pd.DataFrame(rows)


def report(frame: pd.DataFrame) -> None:
    """A line a kind of kernel, depth and effect: means and standard errors."""
    repetitions = frame["repetition"].nunique()
    print(f"\n{frame['table'].iloc[0]}: {repetitions} repetitions")
    print(
        f"{'kernel':<9}{'h':>2}  {'effect':<6}{'motifs':>7}" + "".join(f"{name + ' (s.e.)':>15}" for name in MEASURES)
    )
    for (kind, depth, by), group in frame.groupby(["kind", "depth", "by"], sort=False):
        figures = "".join(f"{group[name].mean():>7.2f} ({group[name].sem():.2f}) " for name in MEASURES)
        print(f"{kind:<9}{depth:>2}  {by:<6}{group['motifs'].mean():>7.1f} {figures}".rstrip())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=list(TABLES), metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--training", type=int, default=TRAINING, help="architectures that the model is fitted to")
    parser.add_argument("--out", type=Path, help="a Parquet file for every single figure")
    given = parser.parse_args(arguments)
    frames = []
    for name in given.tables:
        try:
            frames.append(run(name, given.repetitions, given.training))
        except DataMissingError as error:
            print(f"{name} is left out. {error}", file=sys.stderr)
            continue
        report(frames[-1])
        if given.out is not None:
            pd.concat(frames).to_parquet(given.out, index=False)
    if not frames:
        sys.exit("no table is there")


if __name__ == "__main__":
    main()
