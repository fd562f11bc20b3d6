"""Digits: which cell reads them best in eight epochs (about 1.4 CPU seconds a candidate)?"""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={"batch_size": 16, "lr": 0.3, "schedule": "cosine"},
    loss="cross_entropy",
    metrics=("top1",),
    objectives=("val_accuracy",),
    fidelity=8,
)
