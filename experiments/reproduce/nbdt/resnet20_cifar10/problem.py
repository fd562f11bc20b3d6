"""A ResNet-20 that was trained on CIFAR-10, for one further epoch: with which loss does its tree decide best?"""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={
        "batch_size": 128,
        "lr": 0.01,
        "nesterov": False,
        "schedule": "cosine",
        "augment": ["random_crop", "horizontal_flip"],
    },
    loss="cross_entropy",
    metrics=("top1",),
    objectives=("val_accuracy", "val_nbdt_accuracy"),
    fidelity=1,
)
