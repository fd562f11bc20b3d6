"""What designs for several budgets cost on FBNetV3's space with recipes: all of `xnas design` but reading the store.

    python experiments/performance/design_speed.py [--labels 200] [--members 5] [--pool 4000] [--top 10]

The labels are made up (larger networks are better, with noise), for only time is measured: seconds of the CPU and of
the clock, of the predictor (pool, pretraining, cross-validation, fit) and of the evolution within each budget.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.design import MEMBERS, POOL, Budget, Designer
from xnas_ray.controllers.design_evidence import Evidence
from xnas_ray.controllers.nars_labels import Labels
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.joint import JointSpace

SHAPE = DataShape(((3, 272, 272),), 1000)
BUDGETS = (450e6, 550e6, 650e6, 750e6)


def made_up(space: JointSpace, count: int) -> Evidence:
    """Labels in percent."""
    dice = np.random.default_rng(0)
    genotypes = tuple(dict.fromkeys(space.canonical(space.sample(dice)) for _ in range(count)))
    flops, _ = space.costs(genotypes, SHAPE)
    values = 75 + 4 * np.log(flops / 500e6) + dice.normal(scale=0.3, size=len(genotypes))
    return Evidence(Labels(genotypes, values), tuple(range(len(genotypes))), frozenset(), Goal("top1", True), None)


def main() -> None:
    """Print a row a step, and their sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--pool", type=int, default=POOL)
    parser.add_argument("--top", type=int, default=10)
    args = parser.parse_args()
    space = JointSpace(architecture=FBNetV3(), recipe="nars")
    evidence = made_up(space, args.labels)
    began = marks = time.process_time(), time.perf_counter()

    def say(step: str, since: tuple[float, float]) -> tuple[float, float]:
        now = time.process_time(), time.perf_counter()
        print(f"{step:<24}{now[0] - since[0]:>8.2f} s CPU{now[1] - since[1]:>8.2f} s clock", flush=True)
        return now

    designer = Designer(space, SHAPE, evidence, seed=0, members=args.members, pool=args.pool)
    marks = say("predictor", marks)
    for limit in BUDGETS:
        designs = designer.design(Budget(flops=limit), args.top)
        if max(one.flops for one in designs) > limit:
            raise SystemExit(f"a design is above {limit:,.0f} FLOPs")
        marks = say(f"at most {limit / 1e6:.0f} MFLOPs", marks)
    say("in all", began)


if __name__ == "__main__":
    main()
