"""Look-ups that take a little while: the value of a cell is a function of its genotype, known to the test."""

import os
import time

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem

PACE = float(os.environ.get("STEPS_PACE", "1"))  # of the trials: 2 takes them twice as long


def evaluate(space, candidate, recipe, seed, context):
    """Wait for a time that depends on the seed, look for a stop, answer."""
    end = time.monotonic() + PACE * (0.05 + 0.1 * (seed % 1000) / 1000)
    while time.monotonic() < end:
        if context.stop_requested():
            from xnas_ray.errors import StoppedError

            raise StoppedError("asked to")
        time.sleep(0.01)
    return {"val_accuracy": float(sum(g * w for g, w in zip(candidate.genotype, (1, 2, 3, 5, 7, 11), strict=True)))}


problem = Problem(
    space=NASBench201(), evaluate=evaluate, shape=DataShape(((3, 32, 32),), 10), objectives=("val_accuracy",)
)
