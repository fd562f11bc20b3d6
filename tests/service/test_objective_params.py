"""Parameters of objectives in a specification reach the objective, and their trials are not mixed with others'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import SpecError, UnknownNameError
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.resolve import Search, resolve
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks.bundle import bundle_task

TRAINED = Path(__file__).parents[1] / "system" / "tasks" / "trained"


def resolved(root: Path, **spec: Any) -> Search:
    given = SearchSpec.from_mapping({"task": str(TRAINED), "seed": 3, **spec})
    return resolve(root, given, bundle_task(TRAINED, root).hash)


def test_they_reach_the_objective(root):
    search = resolved(root, objective_params={"introspectability": {"group_by": "label", "max_samples": 9}})
    accuracy, introspectability = search.objectives
    assert (introspectability.group_by, introspectability.max_samples) == ("label", 9)
    assert accuracy.name == "val_accuracy"


@pytest.mark.parametrize(
    ("params", "error", "told"),
    [
        ({"introspectabilty": {}}, UnknownNameError, r"objective_params\.introspectabilty.*Did you mean"),
        ({"introspectability": {"layer": "conv"}}, UnknownNameError, r"layers"),
        ({"flops": {}}, UnknownNameError, "is not measured"),
        ({"introspectability": 3}, SpecError, "objective_params"),
    ],
)
def test_mistakes_are_found_at_submit(root, params, error, told):
    with pytest.raises(error, match=told):
        resolved(root, objective_params=params)


def test_their_trials_are_never_taken_for_others(root):
    params = [{}, {"introspectability": {"layers": "conv"}}, {"introspectability": {"layers": "activation"}}]
    seeds = {OpenSearch(resolved(root, objective_params=one)).propose().train_seed for one in params}
    assert len(seeds) == 3
