"""A search in another process, with other hashes of strings, proposes the same: services are restarted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace

GOAL = Goal("val_accuracy", maximize=True)
SEARCHES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "random_search": ("random_search", {}),
    "regularized_evolution": ("regularized_evolution", {"population": 6, "sample": 3}),
    "nasbowl": ("nasbowl", {"initial": 6}),
    "nasbowl with pools": ("nasbowl", {"initial": 6, "candidates": "evolved", "pool": 20}),
    "nars": ("nars", {"pool": 60, "bins": 5, "rounds": 2, "winners": 3, "members": 2}),
    "bananas": (
        "bananas",
        {"initial": 6, "refit_every": 5, "candidates": 20, "networks": 2, "layers": 2, "width": 6, "epochs": 5},
    ),
}


def space() -> RestrictedSpace:
    whole, dice = NASBench201(cells_per_stage=1, channels=4, stages=1), np.random.default_rng(0)
    return RestrictedSpace(whole, [whole.sample(dice) for _ in range(100)])


def proposals(search: str) -> list[list[int]]:
    """Of sixteen trials, the outcome of each told before the next one is asked."""
    name, params = SEARCHES[search]
    controller, asked = CONTROLLERS.create(name, dict(params), space(), [GOAL], seed=0), []
    for _ in range(16):
        candidate = controller.propose()
        assert candidate is not None
        asked.append(list(candidate.genotype))
        metrics = {GOAL.name: 50.0 + 5 * candidate.genotype.count(3) + 0.1 * candidate.genotype[0]}
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=metrics))
    return asked


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, list[list[int]]]:
    """What another process proposes in all searches."""
    other = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONHASHSEED": other},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("search", SEARCHES)
def test_proposals_are_those_of_another_process(search: str, elsewhere: dict[str, list[list[int]]]):
    assert elsewhere[search] == proposals(search)
    assert len({tuple(genotype) for genotype in elsewhere[search]}) == 16


if __name__ == "__main__":
    print(json.dumps({search: proposals(search) for search in SEARCHES}))
