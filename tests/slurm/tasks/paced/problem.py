"""Look-ups that take as long as a file says at that moment, so that a test decides what still runs when."""

import os
import time
from pathlib import Path

from xnas_ray.errors import StoppedError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem

PACE_S = Path(os.environ["XNAS_TEST_PACE"]) if "XNAS_TEST_PACE" in os.environ else None


def pace_s():
    """How long a trial takes; 0 without a file, and for ever at the moment in which it is being written."""
    return 0.0 if PACE_S is None else float(PACE_S.read_text() or "inf")


def evaluate(space, candidate, recipe, seed, context):
    """Wait, look for a stop, answer."""
    began = time.monotonic()
    while time.monotonic() - began < pace_s():
        if context.stop_requested():
            raise StoppedError("asked to")
        time.sleep(0.02)
    return {"val_accuracy": float(sum(g * w for g, w in zip(candidate.genotype, (1, 2, 3, 5, 7, 11), strict=True)))}


problem = Problem(
    space=NASBench201(), evaluate=evaluate, shape=DataShape(((3, 32, 32),), 10), objectives=("val_accuracy",)
)
