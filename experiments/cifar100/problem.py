"""CIFAR-100: photographs of 32 x 32 pixels in 100 classes; twelve epochs, as in NAS-Bench-201's short trainings."""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "cosine",
        "augment": ["random_crop", "horizontal_flip"],
    },
    loss="cross_entropy",
    metrics=("top1", "top5"),
    objectives=("val_accuracy",),
    fidelity=12,
)
