"""Perceptrons that are really trained, in milliseconds, with two objectives that the same network decides."""

from xnas_ray.tasks.base import Problem
from xnas_ray.testing.tiny import TinySpace

problem = Problem(
    space=TinySpace(),
    recipe={"batch_size": 32, "lr": 0.1},
    objectives=("val_accuracy", "introspectability"),
    fidelity=2,
)
