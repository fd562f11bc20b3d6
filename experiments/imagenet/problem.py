"""ImageNet (ILSVRC 2012), scaled to squares; subsets of its classes are chosen by ``data`` of a search."""

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
