"""CIFAR-10: photographs of 32 x 32 pixels; twelve epochs, as in the short trainings of NAS-Bench-201."""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "cosine",
        "augment": ["random_crop", "horizontal_flip"],
    },
    loss="cross_entropy",
    metrics=("top1",),
    objectives=("val_accuracy",),
    fidelity=12,
)
