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


@register_objective("latency_table_ms")
class TabledLatency(Objective):
    """Milliseconds of a forward pass by a latency table: known before training, and the same wherever it is trained.

    It is what ``Space.cost`` says where a search has a table (``spaces.timed.TimedSpace``): the sum over the network's
    operators, each measured once on the device that the table names.

    Args:
        table: the table's file, which ``xnas latency-table`` wrote: an absolute path, read and copied into the store
            when the search is submitted, or a path in the task's folder, such as ``data/phone.json``.
    """

    name = "latency_table_ms"
    direction = "min"
    unit = "ms"

    def __init__(self, *, table: str) -> None:
        """Remember the file's name; whoever makes the space reads it."""
        self.table = table

    def derive(self, metrics: Mapping[str, float], cost: Cost | None) -> float | None:
        """From the analytic cost, where it has a latency."""
        return metrics.get(self.name, cost.latency_table_ms if cost else None)
