"""Tasks made on the spot: trials that do nothing, or sleep for given seconds, over the cells of NAS-Bench-201."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PROBLEM = '''"""Trials that sleep."""

import time

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem

SECONDS = {seconds}


def evaluate(space, candidate, recipe, seed, context):
    seconds = SECONDS[candidate.ask_number % len(SECONDS)]
    if seconds:
        time.sleep(seconds)
    return {{"val_accuracy": float(sum(candidate.genotype))}}


problem = Problem(
    space=NASBench201(),
    evaluate=evaluate,
    objectives=("val_accuracy",),
    shape=DataShape(inputs=((3, 32, 32),), outputs=10),
)
'''


def make_task(folder: Path, seconds: Sequence[float]) -> Path:
    """Write a task folder whose trial ``n`` sleeps ``seconds[n % len(seconds)]``; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "problem.py").write_text(PROBLEM.format(seconds=[float(s) for s in seconds]), encoding="utf-8")
    return folder
