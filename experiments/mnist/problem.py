"""MNIST: handwritten digits of 28 x 28 pixels."""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={"batch_size": 64, "lr": 0.1, "schedule": "cosine"},
    loss="cross_entropy",
    metrics=("top1",),
    objectives=("val_accuracy",),
    fidelity=3,
)
