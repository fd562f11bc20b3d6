"""Two searches of different priority on one pool of real workers: how the workers divide.

``python experiments/performance/fair_share.py`` submits two searches of priorities 3 and 1 to a real service, lets both
run at once, and compares the seconds that workers gave to each while both had work. The target is that their ratio
is the ratio of the priorities within 10 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from made_task import make_task

from xnas_ray.randomness import Domain, rng

TOLERANCE = 0.10
SHORTEST_S, LONGEST_S = 0.1, 0.5


def share(frames: list[pd.DataFrame]) -> list[float]:
    """Seconds of workers that each search had while both were at work, cut at the ends of that time."""
    begins = max(frame["started_at"].min() for frame in frames)
    ends = min(frame["finished_at"].max() for frame in frames)
    seconds = []
    for frame in frames:
        inside = frame["finished_at"].clip(upper=ends) - frame["started_at"].clip(lower=begins)
        seconds.append(float(inside.dt.total_seconds().clip(lower=0).sum()))
    return seconds


def main() -> int:
    """Run both searches and print the ratio; the exit status tells whether the target is reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=600, help="of the first search; the second never runs out")
    parser.add_argument("--priorities", type=float, nargs=2, default=(3.0, 1.0))
    arguments = parser.parse_args()
    from xnas_ray.client import local_client

    seconds = rng(0, Domain.TRIAL).uniform(SHORTEST_S, LONGEST_S, size=997)
    with tempfile.TemporaryDirectory(prefix="xf-", dir="/tmp") as folder:
        task = make_task(Path(folder) / "task", np.round(seconds, 3).tolist())
        with local_client(Path(folder) / "store", workers=arguments.workers) as client:
            common = {"task": str(task), "keep_weights": "none"}
            handles = [
                client.submit({**common, "priority": p, "seed": i, "budget": {"trials": arguments.trials}})
                for i, p in enumerate(arguments.priorities)
            ]
            handles[0].wait()
            handles[1].cancel()
            handles[1].wait()
            frames = [frame[frame["status"] == "completed"] for frame in (handle.results() for handle in handles)]
    found, wanted = share(frames), arguments.priorities[0] / arguments.priorities[1]
    ratio = found[0] / found[1]
    reached = abs(ratio / wanted - 1) <= TOLERANCE
    trials = " and ".join(str(len(frame)) for frame in frames)
    print(f"{trials} trials, {found[0]:.1f} and {found[1]:.1f} worker seconds while both were at work")
    print(f"ratio {ratio:.3f}, wanted {wanted:g} within {TOLERANCE:.0%}: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
