"""What searches for accuracy and introspectability have found: their fronts, hypervolumes, and how the two go together.

``python experiments/reproduce/xnas/found.py --root results latest`` reads finished searches of a store. Hypervolumes
are above one reference point for all of them, the worst that any of their trials has of either objective.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from xnas_ray import Client
from xnas_ray.pareto import hypervolume

BOTH = ["metric_val_accuracy", "metric_introspectability"]
SHOWN = ["trial", *BOTH, "metric_flops", "metric_params", "architecture"]


def correlation(frame: pd.DataFrame) -> tuple[float, float]:
    """Spearman's rank correlation of the two, and the probability of one as strong by chance."""
    found = stats.spearmanr(frame[BOTH[0]], frame[BOTH[1]])
    return float(found.statistic), float(found.pvalue)


def show(client: Client, searches: Sequence[str]) -> None:
    """Print a paragraph a search."""
    handles = [client.handle(one) for one in searches]
    frames = [handle.results() for handle in handles]
    frames = [frame[frame["status"] == "completed"].dropna(subset=BOTH) for frame in frames]
    reference = np.min([frame[BOTH].min().to_numpy() for frame in frames], axis=0)
    print(f"reference: accuracy {reference[0]:.3f} %, introspectability {reference[1]:.4f}")
    for handle, frame in zip(handles, frames, strict=True):
        points = frame[BOTH].to_numpy(dtype=float)
        rho, chance = correlation(frame)
        best = frame.loc[frame[BOTH[0]].idxmax()]
        print(f"\n{handle.card()['spec']['name']} ({handle.id}): {len(frame)} trials")
        print(
            f"hypervolume {hypervolume(points, reference.tolist()):.4f}; rank correlation {rho:+.3f} (p = {chance:.2g})"
        )
        print(
            f"best accuracy {best[BOTH[0]]:.3f} % with introspectability {best[BOTH[1]]:.4f}; mean "
            f"{frame[BOTH[0]].mean():.3f} % and {frame[BOTH[1]].mean():.4f}"
        )
        print(frame[frame["front"]].sort_values(BOTH[0], ascending=False)[SHOWN].to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("searches", nargs="+", help="ids, unique prefixes of some, or latest")
    parser.add_argument("--root", type=Path, default=Path("results"), help="the store")
    given = parser.parse_args()
    show(Client(given.root), given.searches)
