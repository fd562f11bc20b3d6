"""Diabetes: the regression task. Which perceptron explains most of the progression?"""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.01, "batch_size": 32, "schedule": "cosine"},
    loss="mse",
    metrics=("mse", "r2"),
    objectives=("val_r2", "params"),
    fidelity=20,
)
