"""Do better networks have trees more like WordNet's? Rank correlations over the stored trials of searches.

``xnas run experiments/reproduce/nbdt/agreement.toml`` trains 300 random networks on CIFAR-10; then
``python experiments/reproduce/nbdt/agreement.py --root results latest`` prints Spearman's correlations of validation
accuracy with ``wordnet_agreement`` and with ``nbdt_gap``: over all trials and over the better half, with 95 % intervals
of the percentile bootstrap over trials, and the probability of one as strong by chance, by permutation. ``random tree``
is the control: each trial's accuracy with the agreement of a random tree. The thesis shows two networks, the better of
which has the more sensible tree (Figure 5.10).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from resnet20 import class_names

from xnas_ray.errors import XnasError
from xnas_ray.explain.induced_hierarchy import random_hierarchy
from xnas_ray.explain.tree_agreement import triples_agreement
from xnas_ray.explain.wordnet_hierarchy import wordnet_hierarchy
from xnas_ray.store import load_trials
from xnas_ray.surrogates.calibration import spearman

ACCURACY, AGREEMENT, GAP, RANDOM = "val_accuracy", "wordnet_agreement", "nbdt_gap", "random tree"
DRAWS = 2000
BANDS = 5


def trials_of(root: Path, searches: Sequence[str]) -> pd.DataFrame:
    """Completed trials with all three metrics, a column each.

    Raises:
        XnasError: there is no such search, or it has not measured them.
    """
    names = [ACCURACY, AGREEMENT, GAP]
    columns = ["status", *(f"metric_{name}" for name in names)]
    frame = pd.concat([load_trials(root, search, columns=columns) for search in searches], ignore_index=True)
    frame = frame[frame["status"] == "completed"].drop(columns="status")
    return frame.set_axis(names, axis=1).dropna().reset_index(drop=True)


def random_agreements(names: Sequence[str], wnids: Sequence[str], count: int) -> np.ndarray:
    """Agreement of ``count`` random trees with WordNet's."""
    reference = wordnet_hierarchy(wnids, names)
    return np.array([triples_agreement(random_hierarchy(names, seed=seed), reference) for seed in range(count)])


def interval(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """Ends of the 95 % interval of the rank correlation by the percentile bootstrap over pairs."""
    places = generator.integers(len(x), size=(DRAWS, len(x)))
    low, high = np.quantile([spearman(x[some], y[some]) for some in places], [0.025, 0.975])
    return float(low), float(high)


def chance(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> float:
    """Probability of a rank correlation as far from 0 when y is shuffled, the true order among the draws."""
    found = abs(spearman(x, y))
    as_strong = sum(abs(spearman(x, generator.permutation(y))) >= found for _ in range(DRAWS))
    return (1 + as_strong) / (1 + DRAWS)


def correlation_table(frame: pd.DataFrame, seed: int) -> None:
    """A line a measure and set of trials."""
    print(f"| {ACCURACY} with | trials | Spearman | 95 % | by chance |\n|---|---|---|---|---|")
    better = frame[frame[ACCURACY] >= frame[ACCURACY].median()]
    for name in frame.columns.drop(ACCURACY):
        for title, part in (("all", frame), ("better half", better)):
            generator = np.random.default_rng(seed)
            x, y = part[ACCURACY].to_numpy(), part[name].to_numpy()
            low, high = interval(x, y, generator)
            print(
                f"| {name} | {title}, {len(part)} | {spearman(x, y):+.3f} | {low:+.3f} to {high:+.3f} | "
                f"{chance(x, y, generator):.4f} |"
            )


def band_table(frame: pd.DataFrame) -> None:
    """Means by accuracy: equally many trials a line."""
    print(f"| {ACCURACY}, % | trials | {AGREEMENT} | {GAP}, points |\n|---|---|---|---|")
    for _, part in frame.groupby(pd.qcut(frame[ACCURACY].rank(method="first"), BANDS)):
        low, high = part[ACCURACY].min(), part[ACCURACY].max()
        cells = [f"{part[name].mean():.3f} ± {part[name].std():.3f}" for name in (AGREEMENT, GAP)]
        print(f"| {low:.1f} to {high:.1f} | {len(part)} | {' | '.join(cells)} |")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("searches", nargs="+", help="ids, unique prefixes of some, or latest")
    parser.add_argument("--root", type=Path, default=Path("results"), help="the store")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the permutations")
    given = parser.parse_args(arguments)
    try:
        frame = trials_of(given.root, given.searches)
        frame[RANDOM] = random_agreements(*class_names(), len(frame))
    except XnasError as error:
        sys.exit(str(error))
    correlation_table(frame, given.seed)
    print()
    band_table(frame)
    print(f"\nrandom trees agree by {frame[RANDOM].mean():.3f} ± {frame[RANDOM].std():.3f}")


if __name__ == "__main__":
    main()
