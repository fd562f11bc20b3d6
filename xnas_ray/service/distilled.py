"""Finalists as students of the largest of them (NARS, Dai et al. 2021, stage 3): the search that trains them.

Two searches, one after the other: the first trains all finalists on labels (``finalists.specification``), the second
trains them once more in the same way, but that they also imitate what the largest one has learnt in the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import SpecError, StoreError
from xnas_ray.messages import TrialStatus
from xnas_ray.service.finalists import finalist_of
from xnas_ray.spec import SearchSpec
from xnas_ray.store.schema import METRIC_PREFIX

if TYPE_CHECKING:
    import pandas as pd

STUDENTS = "distilled_"
"""Before the names of the students' columns."""


def searched_by(search_id: str, card: Mapping[str, Any]) -> str:
    """The search that finalists come from.

    Args:
        search_id: of the search of finalists.
        card: of it.

    Raises:
        StoreError: it is no search of finalists.
    """
    if card["spec"].get("measure_on") != "test":
        raise StoreError(f"search {search_id} trains no finalists.", fix=f"Begin with `xnas finalize {search_id}`.")
    return str(card["spec"]["parent"])


def check_untaught(card: Mapping[str, Any]) -> None:
    """Refuse a search whose candidates choose their teacher: its finalists would not have the one that they are given.

    Args:
        card: of the search that the finalists come from.

    Raises:
        SpecError: the teacher is a gene.
    """
    space = card["spec"]["space"] or {}
    while isinstance(space, Mapping):
        params = space.get("params") or {}
        if isinstance(params.get("recipe"), Mapping) and "teacher" in params["recipe"]:
            raise SpecError(
                "the candidates of this search choose their teacher themselves.",
                field="space.params.recipe.teacher",
                fix="Finalize it without distillation.",
            )
        space = params.get("architecture")


def largest(card: Mapping[str, Any], searched: pd.DataFrame) -> int:
    """The finalist with the most FLOPs; of several the one with the most parameters, then the first.

    Args:
        card: of the search of finalists.
        searched: trials of the search that they come from, as ``store.load_trials`` gives them.

    Returns:
        Its trial number in that search.
    """
    numbers = [one["trial"] for one in card["spec"]["controller"]["params"]["candidates"]]
    sizes = searched.set_index("trial")[[f"{METRIC_PREFIX}flops", f"{METRIC_PREFIX}params"]]
    return int(max(numbers, key=lambda number: tuple(sizes.loc[number])))


def specification(
    search_id: str,
    card: Mapping[str, Any],
    trials: pd.DataFrame,
    searched: pd.DataFrame,
    *,
    resources: Mapping[str, Any] | None = None,
) -> SearchSpec:
    """The search that trains finalists again as students of the largest, and measures them on test.

    The teacher is a training of the largest with the first seed that completed: which of its seeds is best only the
    test split could tell, and nothing is selected on it.

    Args:
        search_id: of the search of finalists, trained on labels.
        card: of it.
        trials: its finished trials, as ``store.load_trials`` gives them.
        searched: those of the search that the finalists come from.
        resources: what differs from its resources, such as ``{"workers": 4}``.

    Raises:
        StoreError: it is no search of finalists, they had a teacher, or the largest was not trained.
        SpecError: a value is out of range, or the teacher is a gene.
    """
    parent, spec = searched_by(search_id, card), card["spec"]
    check_untaught(card)
    if spec["recipe"].get("teacher"):
        raise StoreError(
            f"the finalists of search {search_id} had a teacher already.",
            field="search_id",
            fix=f"Begin with `xnas finalize {parent} --distill-from-largest`.",
        )
    best = largest(card, searched)
    own = trials[[finalist_of(text) == best for text in trials["origin"]]]
    done = own[own["status"] == TrialStatus.COMPLETED].sort_values("replicate")
    if done.empty:
        raise StoreError(
            f"no training of trial {best} completed, the largest finalist, so there is nobody to learn from.",
            field="search_id",
            fix=f"See why with `xnas results {search_id}`, or finalize without it: --trials.",
        )
    params = spec["controller"]["params"]
    changes = {
        "name": f"finalists of {parent}, distilled from trial {best}",
        "recipe": {**spec["recipe"], "teacher": f"{search_id}/{int(done.iloc[0]['trial'])}"},
        "budget": {"trials": max(1, len(params["candidates"]) * params["seeds"])},
        "resources": {**spec["resources"], **(resources or {})},
    }
    return SearchSpec.from_mapping({**spec, **changes})


def side_by_side(plain: pd.DataFrame, students: pd.DataFrame, teacher: int) -> pd.DataFrame:
    """What finalists gained: trained on labels, and beside that as students.

    Args:
        plain: as ``finalists.finalists_frame`` gives it, of those trained on labels.
        students: the same of the students.
        teacher: number of the finalist that taught.

    Returns:
        The columns of ``plain``, ``teacher`` (whether it is the one), and ``distilled_<name>`` for ``seeds``,
        ``failed`` and every metric with its ``_std``; a row each finalist of ``plain``, in its order.
    """
    same = [name for name in students if name == "architecture" or name.startswith("searched_")]
    measured = students.drop(columns=same).set_index("trial").add_prefix(STUDENTS)
    found = plain.merge(measured, how="left", left_on="trial", right_index=True)
    found.insert(1, "teacher", found["trial"] == teacher)
    return found
