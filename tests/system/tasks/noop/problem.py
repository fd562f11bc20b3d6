"""Look-ups that take no time: the value of a cell is a function of its genotype, known to the test."""

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem


def evaluate(space, candidate, recipe, seed, context):
    """Answer at once."""
    return {"val_accuracy": float(sum(g * w for g, w in zip(candidate.genotype, (1, 2, 3, 5, 7, 11), strict=True)))}


problem = Problem(
    space=NASBench201(), evaluate=evaluate, shape=DataShape(((3, 32, 32),), 10), objectives=("val_accuracy",)
)
