"""Finalists as students of the largest of them: who teaches, what the second search is, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xnas_ray.errors import SpecError, StoreError
from xnas_ray.service import finalists
from xnas_ray.service.distilled import check_untaught, largest, side_by_side, specification
from xnas_ray.service.finalists import key_of
from xnas_ray.service.resolve import resolve
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks.bundle import bundle_task

TRAINED = Path(__file__).parents[1] / "system" / "tasks" / "trained"
FINALISTS = [{"trial": n, "genotype": (n % 3, 1, 0)} for n in (4, 2, 7)]


def card_of(root: Path, recipe: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """Of the search of finalists that are trained on labels."""
    bundle = bundle_task(TRAINED, root)
    spec = SearchSpec.from_mapping({"task": str(TRAINED), "seed": 3, "recipe": recipe or {}})
    parent = resolve(root, spec, bundle.hash).card()
    return resolve(root, finalists.specification("01PARENT", parent, FINALISTS, seeds=2, **given), bundle.hash).card()


def searched(flops: list[float], params: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"trial": [2, 4, 7, 9], "metric_flops": [*flops, 1e9], "metric_params": [*params, 1e9]})


def trials(**status: str) -> pd.DataFrame:
    """Six trainings; those of finalist 4 have the numbers 0 and 3."""
    rows = [
        {
            "trial": number,
            "origin": json.dumps({"finalist": of}),
            "replicate": 1 + number // 3,
            "status": status.get(f"t{number}", "completed"),
        }
        for number, of in enumerate([4, 2, 7, 4, 2, 7])
    ]
    return pd.DataFrame(rows[::-1])  # in the order in which they ended


@pytest.mark.parametrize(
    ("flops", "params", "expected"),
    [([1, 3, 2], [9, 1, 9], 4), ([1, 3, 3], [9, 1, 9], 7), ([3, 3, 3], [1, 1, 1], 4), ([3, 1, 2], [1, 1, 1], 2)],
)
def test_the_largest_has_the_most_flops_and_is_a_finalist(root, flops, params, expected):
    assert largest(card_of(root), searched(flops, params)) == expected


def test_it_is_the_first_search_again_but_for_its_teacher(root):
    card = card_of(root)
    spec = specification("01PLAIN", card, trials(), searched([1, 3, 2], [1, 1, 1]), resources={"workers": 4})
    assert spec.recipe == {**card["spec"]["recipe"], "teacher": "01PLAIN/0"}, "the first seed, not the best on test"
    assert spec.name == "finalists of 01PARENT, distilled from trial 4" and spec.resources.workers == 4
    changed = ("recipe", "name", "resources")
    same = {name: value for name, value in spec.to_json().items() if name not in changed}
    assert same == {name: value for name, value in card["spec"].items() if name not in changed}
    assert key_of(spec) == key_of(specification("01PLAIN", card, trials(), searched([1, 3, 2], [1, 1, 1])))
    assert key_of(spec) != key_of(SearchSpec.from_mapping(card["spec"]))


def test_a_seed_that_failed_does_not_teach(root):
    sizes = searched([1, 3, 2], [1, 1, 1])
    assert specification("01PLAIN", card_of(root), trials(t0="failed"), sizes).recipe["teacher"] == "01PLAIN/3"
    with pytest.raises(StoreError, match="no training of trial 4 completed"):
        specification("01PLAIN", card_of(root), trials(t0="failed", t3="failed"), sizes)


def test_who_had_a_teacher_is_trained_on_labels_first(root):
    parent = card_of(root)["spec"]
    taught = {"spec": {**parent, "measure_on": "validation", "recipe": {**parent["recipe"], "teacher": "01AA/3"}}}
    assert finalists.specification("01PARENT", taught, FINALISTS).recipe["teacher"] == "01AA/3"
    assert finalists.specification("01PARENT", taught, FINALISTS, untaught=True).recipe["teacher"] == ""
    old = {"spec": {**taught["spec"], "recipe": {"lr": 0.1}}}
    assert finalists.specification("01PARENT", old, FINALISTS, untaught=True).recipe == {"lr": 0.1}
    students = {"spec": {**taught["spec"], "measure_on": "test"}}
    with pytest.raises(StoreError, match=r"had a teacher already.*--distill-from-largest"):
        specification("01STUDENTS", students, trials(), searched([1, 3, 2], [1, 1, 1]))
    with pytest.raises(StoreError, match="trains no finalists"):
        specification("01PARENT", taught, trials(), searched([1, 3, 2], [1, 1, 1]))


def test_candidates_that_choose_their_teacher_keep_it():
    """A gene comes after the search's recipe, so the largest would teach nobody."""
    inner = {"name": "joint", "params": {"architecture": "task", "recipe": {"teacher": ["", "a"]}}}
    for space in (inner, {"name": "joint", "params": {"architecture": inner, "recipe": {"lr": [0.1]}}}):
        with pytest.raises(SpecError, match="choose their teacher themselves"):
            check_untaught({"spec": {"space": space}})
    for space in (None, {"name": "joint", "params": {"architecture": "task", "recipe": "nars"}}):
        check_untaught({"spec": {"space": space}})


def test_labels_alone_beside_taught():
    plain = pd.DataFrame(
        {"trial": [4, 2], "architecture": ["four", "two"], "seeds": [2, 2], "failed": [0, 0], "searched_x": [1.0, 2.0]}
        | {"test_accuracy": [90.0, 80.0], "test_accuracy_std": [0.5, 1.0]}
    )
    students = plain.assign(test_accuracy=[91.0, np.nan], seeds=[2, 0], failed=[0, 2]).iloc[::-1]
    found = side_by_side(plain, students, teacher=4)
    assert found["trial"].tolist() == [4, 2] and found["teacher"].tolist() == [True, False]
    assert found["test_accuracy"].tolist() == [90.0, 80.0] and found["distilled_test_accuracy"][0] == 91.0
    assert np.isnan(found["distilled_test_accuracy"][1]) and found["distilled_seeds"].tolist() == [2, 0]
    assert not [name for name in found if name in ("distilled_architecture", "distilled_searched_x")]
