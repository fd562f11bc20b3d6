"""Analytic costs of the network."""

from __future__ import annotations

from collections.abc import Mapping

from xnas_ray.messages import Cost
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.registry import register_objective


@register_objective("flops")
class Flops(Objective):
    """Multiply-accumulate operations of one forward pass of one sample, as ``Space.cost`` counts them."""

    name = "flops"
    direction = "min"
    unit = "MACs"

    def derive(self, metrics: Mapping[str, float], cost: Cost | None) -> float | None:
        """From the analytic cost, unless the task gives it."""
        return metrics.get(self.name, float(cost.flops) if cost else None)


@register_objective("params")
class Params(Objective):
    """Trainable parameters, as ``Space.cost`` counts them."""

    name = "params"
    direction = "min"
    unit = "parameters"

    def derive(self, metrics: Mapping[str, float], cost: Cost | None) -> float | None:
        """From the analytic cost, unless the task gives it."""
        return metrics.get(self.name, float(cost.params) if cost else None)
