"""FLOPs and parameters of many genotypes: all at once in arrays, beside one after the other.

    python experiments/performance/cost_speed.py [--genotypes 10000] [--loop 500] [--repeats 3]

CPU seconds of this process, the fastest of some repeats; the loop is timed on fewer genotypes and scaled up. That both
give the same integers is checked on those.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.joint import JointSpace

IMAGENET = DataShape(((3, 288, 288),), 1000)
DIGITS = DataShape(((1, 8, 8),), 10)
SPACES: dict[str, tuple[Space, DataShape]] = {
    "fbnetv3": (FBNetV3(), IMAGENET),
    "fbnetv3 with recipes": (JointSpace(architecture=FBNetV3(), recipe="nars"), IMAGENET),
    "fbnetv3 digits": (FBNetV3(preset="digits"), DIGITS),
    "fbnetv2 F": (FBNetV2(macro="F"), IMAGENET),
}


def fastest_s(work: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest of some runs."""
    found = []
    for _ in range(repeats):
        started_s = time.process_time()
        work()
        found.append(time.process_time() - started_s)
    return min(found)


def main() -> None:
    """Print a row a space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genotypes", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=500, help="genotypes of the loop")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{'space':<22}{'at once [s]':>12}{'loop [s]':>10}{'times':>7}   of {args.genotypes:,} genotypes")
    for name, (space, shape) in SPACES.items():
        rng = np.random.default_rng(0)
        genotypes = [space.sample(rng) for _ in range(args.genotypes)]
        few = genotypes[: args.loop]
        at_once, one_by_one = space.costs(few, shape), Space.costs(space, few, shape)
        if not all(np.array_equal(a, b) for a, b in zip(at_once, one_by_one, strict=True)):
            raise SystemExit(f"{name}: both ways differ")
        batch_s = fastest_s(lambda: space.costs(genotypes, shape), args.repeats)  # noqa: B023
        loop_s = fastest_s(lambda: Space.costs(space, few, shape), args.repeats) * len(genotypes) / len(few)  # noqa: B023
        print(f"{name:<22}{batch_s:>12.3f}{loop_s:>10.2f}{loop_s / batch_s:>7.0f}", flush=True)


if __name__ == "__main__":
    main()
