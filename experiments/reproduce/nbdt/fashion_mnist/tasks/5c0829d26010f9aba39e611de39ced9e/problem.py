"""Fashion-MNIST: clothes of 28 x 28 pixels."""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={"batch_size": 128, "lr": 0.1, "schedule": "cosine", "augment": ["horizontal_flip"]},
    loss="cross_entropy",
    metrics=("top1",),
    objectives=("val_accuracy",),
    fidelity=5,
)
