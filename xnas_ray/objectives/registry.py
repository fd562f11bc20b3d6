"""Names of objectives: ``@register_objective("mine")``, ``list_objectives("val_*")``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xnas_ray.objectives.base import Objective
from xnas_ray.registry import Registry

OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    {
        "val_accuracy": "xnas_ray.objectives.accuracy",
        "val_error": "xnas_ray.objectives.accuracy",
        "val_mse": "xnas_ray.objectives.regression",
        "val_r2": "xnas_ray.objectives.regression",
        "flops": "xnas_ray.objectives.cost",
        "params": "xnas_ray.objectives.cost",
        "introspectability": "xnas_ray.objectives.introspectability",
        "introspectability_weighted": "xnas_ray.objectives.weighted_introspectability",
        "introspectability_weighted_mean": "xnas_ray.objectives.weighted_introspectability",
        "latency_ms": "xnas_ray.objectives.latency",
        "latency_table_ms": "xnas_ray.objectives.cost",
        "val_nbdt_accuracy": "xnas_ray.objectives.decision_tree",
        "val_nbdt_hard_accuracy": "xnas_ray.objectives.decision_tree",
        "nbdt_gap": "xnas_ray.objectives.decision_tree",
        "nbdt_path_entropy": "xnas_ray.objectives.decision_tree",
        "wordnet_agreement": "xnas_ray.objectives.decision_tree",
    },
)
register_objective = OBJECTIVES.register
list_objectives = OBJECTIVES.names


def create_objectives(
    names: Sequence[str], params: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Objective, ...]:
    """The objectives of a search.

    Args:
        names: registered names, or ``"package.module:Class"``.
        params: parameters by name, for those that shall not have their defaults.

    Raises:
        UnknownNameError: an unknown name, with the nearest spelling, or unknown parameters.
    """
    given = params or {}
    return tuple(OBJECTIVES.create(name, given.get(name, {}), field="objectives") for name in names)
