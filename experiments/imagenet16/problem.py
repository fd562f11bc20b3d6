"""ImageNet16-120: photographs of 16 x 16 pixels in 120 classes (Chrabaszcz et al. 2017; Dong & Yang, ICLR 2020)."""

from xnas_ray.tasks.base import Problem

problem = Problem(
    recipe={
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "cosine",
        "augment": ["random_crop", "horizontal_flip"],
        "crop_padding": 2,
    },
    loss="cross_entropy",
    metrics=("top1", "top5"),
    objectives=("val_accuracy",),
    fidelity=12,
)
