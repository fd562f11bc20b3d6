"""What the built-in objectives are called, which way is better and in which unit: readable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["max", "min"]


@dataclass(frozen=True, slots=True)
class ObjectiveName:
    """One objective as a table, a specification or a controller names it.

    Attributes:
        name: its name, also the name of the metric that it becomes.
        direction: ``"max"`` when larger is better, else ``"min"``.
        unit: unit of its values, ``""`` for a plain number.
    """

    name: str
    direction: Direction
    unit: str

    @property
    def maximize(self) -> bool:
        """Whether larger is better."""
        return self.direction == "max"


def measured_name(name: str, split: str) -> str:
    """What a metric or objective is called that was measured on a split: ``val_accuracy`` on test: ``test_accuracy``.

    Names that say nothing of a split stay.
    """
    return "test_" + name.removeprefix("val_") if split == "test" and name.startswith("val_") else name


OBJECTIVE_NAMES: dict[str, ObjectiveName] = {
    entry.name: entry
    for entry in (
        ObjectiveName("val_accuracy", "max", "%"),
        ObjectiveName("val_error", "min", "%"),
        ObjectiveName("val_mse", "min", ""),
        ObjectiveName("val_r2", "max", ""),
        ObjectiveName("flops", "min", "MACs"),
        ObjectiveName("params", "min", "parameters"),
        ObjectiveName("latency_ms", "min", "ms"),
        ObjectiveName("latency_table_ms", "min", "ms"),
        ObjectiveName("introspectability", "max", ""),
        ObjectiveName("introspectability_weighted", "max", ""),
        ObjectiveName("introspectability_weighted_mean", "max", ""),
        ObjectiveName("val_nbdt_accuracy", "max", "%"),
        ObjectiveName("val_nbdt_hard_accuracy", "max", "%"),
        ObjectiveName("nbdt_gap", "min", "%"),
        ObjectiveName("nbdt_path_entropy", "min", "nats"),
        ObjectiveName("wordnet_agreement", "max", ""),
    )
}
"""The built-in objectives; ``objectives.registry`` holds their classes."""
