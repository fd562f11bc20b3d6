"""Candidates that behave badly: the first operation of the cell decides how."""

import os
import time

from xnas_ray.errors import NanLossError, OutOfMemoryError, StoppedError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem


def evaluate(space, candidate, recipe, seed, context):
    """Fail in the way that the first operation names; the others are counted."""
    mood = candidate.genotype[0]
    if mood == 0:
        raise ZeroDivisionError("a candidate that raises")
    if mood == 1:
        raise NanLossError("the loss is NaN")
    if mood == 2:
        raise OutOfMemoryError("no memory left")
    if mood == 3:
        return {"val_accuracy": float("inf")}
    if candidate.genotype[1] == 0:
        os._exit(17)
    if candidate.genotype[1] == 1:
        time.sleep(600)
    if candidate.genotype[1] == 2:
        while not context.stop_requested():
            time.sleep(0.01)
        raise StoppedError("asked to")
    return {"val_accuracy": float(sum(candidate.genotype))}


problem = Problem(
    space=NASBench201(), evaluate=evaluate, shape=DataShape(((3, 32, 32),), 10), objectives=("val_accuracy",)
)
