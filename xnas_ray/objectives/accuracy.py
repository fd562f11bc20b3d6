"""Accuracy on the validation split."""

from __future__ import annotations

from collections.abc import Mapping

from xnas_ray.messages import Cost
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.registry import register_objective


@register_objective("val_accuracy")
class ValidationAccuracy(Objective):
    """Percentage of validation samples whose class is predicted, after the last epoch."""

    name = "val_accuracy"
    direction = "max"
    unit = "%"
    requires = "classification"


@register_objective("val_error")
class ValidationError(Objective):
    """Percentage of validation samples whose class is not predicted, ``100 - val_accuracy``."""

    name = "val_error"
    direction = "min"
    unit = "%"
    requires = "classification"

    def derive(self, metrics: Mapping[str, float], cost: Cost | None) -> float | None:
        """From ``val_accuracy``, unless it is given itself."""
        if self.name in metrics or "val_accuracy" not in metrics:
            return metrics.get(self.name)
        return 100.0 - metrics["val_accuracy"]
