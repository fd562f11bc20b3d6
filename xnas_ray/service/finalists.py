"""What a search ends with: the test split, measured once and kept, and the search that trains its finalists anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import StoreError
from xnas_ray.messages import TrialStatus
from xnas_ray.randomness import canonical_json
from xnas_ray.service.kept_files import no_weights
from xnas_ray.service.reports import WEIGHTS_FILE, Assignment
from xnas_ray.spaces.constrained import ANALYTIC
from xnas_ray.spec import FINALISTS, SearchSpec, parse_constraint
from xnas_ray.store.layout import Layout, attempt_folder
from xnas_ray.store.replay import SearchReplay
from xnas_ray.store.schema import METRIC_PREFIX

if TYPE_CHECKING:
    import pandas as pd

KIND = "test"

# ---- the weights that a search kept ---------------------------------------------------------------------------------


def stored_test(root: Path, search_id: str, trial: int) -> dict[str, float] | None:
    """What was measured of a trial on the test split, None if nothing was."""
    from xnas_ray.store import load_explanations

    if KIND not in Layout(root).explanation_kinds():
        return None
    table = load_explanations(root, KIND, search_id)
    rows = table[table["trial"] == trial] if len(table) else table
    return dict(zip(rows["metric"], rows["value"], strict=True)) if len(rows) else None


def weights_assignment(layout: Layout, search_id: str, trial: int, history: SearchReplay) -> Assignment:
    """Where the weights of a finished trial are.

    Raises:
        StoreError: the trial has not ended, or its weights are not kept.
    """
    outcome = next((o for o in history.outcomes if o.trial == trial), None)
    if outcome is None:
        raise StoreError(f"trial {search_id}/{trial} has not ended.", field="trial")
    folders = [p.parent for p in (layout.root / f"artifacts/{search_id}/{trial}").glob(f"*/{WEIGHTS_FILE}")]
    if not folders:
        raise no_weights(search_id, trial)
    epoch, number = max(tuple(int(x) for x in f.name.split("-")) for f in folders)
    folder = attempt_folder(search_id, trial, (epoch, number))
    return Assignment(search_id, trial, (epoch, number), outcome.candidate, 0, folder)


# ---- trained anew ---------------------------------------------------------------------------------------------------


def choose(ranked: Sequence[Mapping[str, Any]], top: int | None) -> list[Mapping[str, Any]]:
    """The finalists of a search: its Pareto front; of a search with one objective its best trial.

    Args:
        ranked: its trials, best first, as ``archive.best_trials`` gives them.
        top: at most so many, the best by the first objective; of one objective so many of all trials.

    Raises:
        StoreError: no trial completed that satisfies the constraints.
    """
    if not ranked:
        raise StoreError("no trial completed that satisfies the constraints.", field="search_id")
    if len(ranked[0]["objectives"]) == 1:
        return list(ranked[: top or 1])
    return [one for one in ranked if one["front"]][:top]


def specification(
    search_id: str,
    card: Mapping[str, Any],
    finalists: Sequence[Mapping[str, Any]],
    *,
    seeds: int = 3,
    epochs: int | None = None,
    resources: Mapping[str, Any] | None = None,
    untaught: bool = False,
) -> SearchSpec:
    """The search that trains the finalists of another one, on train and validation, and measures them on test.

    It goes the way of every search: it can be killed, moved and resumed. What an earlier one has trained in the same
    way is taken over, so that no finalist is measured twice.

    Args:
        search_id: where the finalists come from.
        card: of that search (see ``resolve.Search.card``).
        finalists: ``trial`` and ``genotype`` of each.
        seeds: trainings of each.
        epochs: of each training; by default the schedule of the search or the task's own epochs, whichever is longer.
        resources: what differs from the search's own resources, such as ``{"gpus": 4}``.
        untaught: train on labels alone, even if the search's candidates had a teacher.

    Raises:
        StoreError: the search is one of finalists itself.
        SpecError: a value is out of range.
    """
    parent = card["spec"]
    recipe = {**parent["recipe"], "teacher": ""} if untaught and "teacher" in parent["recipe"] else parent["recipe"]
    if parent.get("measure_on") == "test":
        raise StoreError(
            f"search {search_id} has trained the finalists of {parent['parent']} already.",
            field="search_id",
            fix=f"See them with `xnas finalize {parent['parent']}`.",
        )
    candidates = [{"trial": int(one["trial"]), "genotype": [int(g) for g in one["genotype"]]} for one in finalists]
    changes = {
        "name": f"finalists of {search_id}",
        "controller": {"name": FINALISTS, "params": {"candidates": candidates, "seeds": seeds}},
        "constraints": [text for text in parent["constraints"] if parse_constraint(text)[0] in ANALYTIC],
        "recipe": recipe,
        "fidelity": epochs,
        "schedule_epochs": epochs or parent["schedule_epochs"],
        "budget": {"trials": max(1, len(candidates) * seeds)},
        "resources": {**parent["resources"], **(resources or {})},
        "reuse": "completed",
        "keep_weights": "all",
        "keep_activations": "none",
        "report_test": False,
        "warm_start": [],
        "measure_on": "test",
        "parent": search_id,
    }
    return SearchSpec.from_mapping({**parent, **changes})


def key_of(spec: SearchSpec) -> str:
    """Idempotency key of a search of finalists: asking for the same again gives the same search."""
    return child_key("finalists", spec)


def child_key(kind: str, spec: SearchSpec) -> str:
    """The key of a search that another one gave rise to; how many workers train it and how soon is no part of it."""
    what = spec.model_dump(mode="json", exclude={"resources": {"workers"}, "priority": True})
    return f"{kind}-{hashlib.blake2b(canonical_json(what).encode(), digest_size=12).hexdigest()}"


def finalist_of(origin: str) -> int | None:
    """Which finalist a trial trained: its number in the search that it comes from, out of the JSON of its origin."""
    found = json.loads(origin).get("finalist")
    return None if found is None else int(found)


def finalists_frame(
    card: Mapping[str, Any], trials: pd.DataFrame, searched: pd.DataFrame, objectives: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """What became of finalists: one row each, in the order in which they were given.

    Args:
        card: of the search of finalists.
        trials: its finished trials, as ``store.load_trials`` gives them.
        searched: those of the search that they come from.
        objectives: of that search.

    Returns:
        Columns ``trial`` (in the search that it comes from), ``architecture``, ``seeds`` (completed trainings),
        ``failed``, for every objective of that search ``searched_<objective>``, its value there, and for every metric
        of the trainings ``<metric>`` (mean over the seeds) and ``<metric>_std`` (of a sample; missing with fewer than
        two seeds).
    """
    import pandas as pd

    of = [finalist_of(text) for text in trials["origin"]]
    before = searched.set_index("trial")
    metrics = [name for name in trials.columns if name.startswith(METRIC_PREFIX)]
    rows = []
    for finalist in card["spec"]["controller"]["params"]["candidates"]:
        number = finalist["trial"]
        own = trials[[one == number for one in of]]
        done = own[own["status"] == TrialStatus.COMPLETED]
        row: dict[str, Any] = {
            "trial": number,
            "architecture": before.at[number, "architecture"],
            "seeds": len(done),
            "failed": int((own["status"] == TrialStatus.FAILED).sum()),
        }
        row |= {f"searched_{o['name']}": before.at[number, METRIC_PREFIX + o["name"]] for o in objectives}
        for name in metrics:
            short = name.removeprefix(METRIC_PREFIX)
            row |= {short: done[name].mean(), f"{short}_std": done[name].std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows)
