"""What NARS did and how far its predictor can be trusted, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.early_stopping import rank_correlations
from xnas_ray.controllers.nars_labels import EarlyStopping, reading
from xnas_ray.messages import Outcome, TrialStatus

if TYPE_CHECKING:
    import pandas as pd

STAGES = "stages"
PREDICTOR = "predictor"
EARLY_STOPPING = "early_stopping"


def explanations(outcomes: Sequence[Outcome], goal: Goal, stopping: EarlyStopping) -> dict[str, pd.DataFrame]:
    """Tables by kind, those that would be empty left out.

    Args:
        outcomes: in the order of the tells.
        goal: the objective.
        stopping: has learnt them.
    """
    import pandas as pd

    tables = {
        STAGES: _stages(outcomes, goal),
        PREDICTOR: _predictor(outcomes, goal),
        EARLY_STOPPING: _early_stopping(stopping),
    }
    return {kind: pd.DataFrame(rows) for kind, rows in tables.items() if rows}


def _stages(outcomes: Sequence[Outcome], goal: Goal) -> list[dict[str, Any]]:
    """A row a round and stage that something was told of.

    Columns: ``round``, ``stage``, ``epochs`` (most of a candidate), ``told`` (outcomes that the round knew),
    ``completed``, ``failed``, ``best`` (the objective as it was measured, NaN where nothing completed) and ``trial``
    (of the best; -1).
    """
    groups: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        origin = outcome.candidate.origin
        if "round" in origin:
            groups.setdefault((int(origin["round"]), str(origin["stage"])), []).append(outcome)
    rows = []
    for (number, stage), members in sorted(groups.items(), key=lambda item: item[0]):
        completed = [outcome for outcome in members if outcome.status == TrialStatus.COMPLETED]
        best = max(completed, key=lambda outcome: goal.signed(outcome.metrics), default=None)
        rows.append(
            {
                "round": number,
                "stage": stage,
                "epochs": max(outcome.candidate.fidelity for outcome in members),
                "told": min(int(outcome.candidate.origin["told"]) for outcome in members),
                "completed": len(completed),
                "failed": len(members) - len(completed),
                "best": float(best.metrics[goal.name]) if best else float("nan"),
                "trial": best.trial if best else -1,
            }
        )
    return rows


def _predictor(outcomes: Sequence[Outcome], goal: Goal) -> list[dict[str, Any]]:
    """A row a completed trial that was predicted before it was asked for, in the order of the tells.

    Columns: ``trial``, ``round``, ``stage``, ``epoch`` (of which both values are), ``predicted``, ``std`` (of the
    members) and ``observed``, in units of the objective.
    """
    rows = []
    for outcome in outcomes:
        origin = outcome.candidate.origin
        predicted = origin.get("predicted")
        if predicted is None or outcome.status != TrialStatus.COMPLETED:
            continue
        value = reading(outcome, goal, int(predicted["epoch"]))
        if value is not None:
            rows.append(
                {
                    "trial": outcome.trial,
                    "round": int(origin["round"]),
                    "stage": str(origin["stage"]),
                    "epoch": int(predicted["epoch"]),
                    "predicted": float(predicted["mean"]),
                    "std": float(predicted["std"]),
                    "observed": value if goal.maximize else -value,
                }
            )
    return rows


def _early_stopping(stopping: EarlyStopping) -> list[dict[str, Any]]:
    """A row an epoch of the curves that decided, once they did.

    Columns: ``epoch``, ``correlation`` (Spearman's, with the last epoch), ``curves``,
    ``threshold`` and ``chosen`` (whether later candidates stop there).
    """
    if stopping.decided_at is None:
        return []
    correlations = rank_correlations(np.array(stopping.curves))
    chosen = stopping.epoch or stopping.fidelity
    return [
        {
            "epoch": epoch,
            "correlation": float(value),
            "curves": len(stopping.curves),
            "threshold": stopping.threshold,
            "chosen": epoch == chosen,
        }
        for epoch, value in enumerate(correlations.tolist(), start=1)
    ]
