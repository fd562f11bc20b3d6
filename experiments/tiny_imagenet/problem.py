"""Tiny ImageNet: photographs of 64 x 64 pixels in 200 classes."""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "cosine",
        "augment": ["random_crop", "horizontal_flip"],
        "crop_padding": 8,
    },
    loss="cross_entropy",
    metrics=("top1", "top5"),
    objectives=("val_accuracy",),
    fidelity=12,
)
