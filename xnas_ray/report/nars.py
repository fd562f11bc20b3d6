"""What a search by NARS was like: its rounds, what its predictor said before the outcomes, and when trainings stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.controllers.nars_explain import EARLY_STOPPING, PREDICTOR, STAGES
from xnas_ray.report.material import Material
from xnas_ray.surrogates.calibration import spearman

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    STAGES: ("round", "stage", "epochs", "told", "completed", "failed", "best", "trial"),
    PREDICTOR: ("trial", "round", "stage", "epoch", "predicted", "std", "observed"),
    EARLY_STOPPING: ("epoch", "correlation", "curves", "threshold", "chosen"),
}
"""What a table of each kind has at least; another one of that name is shown as the table that it is."""

FEWEST = 3
"""Predictions that have a rank correlation."""


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """What came of a round; a batch of winners is one too.

    Attributes:
        number: from 0.
        stage: how its candidates were chosen.
        epochs: most of a candidate.
        told: outcomes that it knew.
        completed: of its candidates.
        failed: the others that have ended.
        best: the objective of its best, NaN where nothing completed.
        trial: of the best, None likewise.
        spearman: rank correlation of its predictions with the outcomes; NaN of fewer than ``FEWEST``.
        error: their mean absolute error, in the objective's unit; NaN where nothing was predicted.
    """

    number: int
    stage: str
    epochs: int
    told: int
    completed: int
    failed: int
    best: float
    trial: int | None
    spearman: float
    error: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was predicted before it was known, one a trial.

    Attributes:
        trials: their numbers.
        rounds: of each.
        epochs: after which both values are.
        predicted: in the objective's unit.
        stds: of the predictor's members.
        observed: what the trial had then.
        spearman: rank correlation of all of them.
    """

    trials: tuple[int, ...]
    rounds: tuple[int, ...]
    epochs: tuple[int, ...]
    predicted: tuple[float, ...]
    stds: tuple[float, ...]
    observed: tuple[float, ...]
    spearman: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """When the curves of the first candidates told their end.

    Attributes:
        epochs: from 1.
        correlations: rank correlation of each with the last one.
        curves: how many there were.
        threshold: least correlation.
        chosen: after which later candidates of the rounds stop; the last one where none does.
    """

    epochs: tuple[int, ...]
    correlations: tuple[float, ...]
    curves: int
    threshold: float
    chosen: int


@dataclass(frozen=True, slots=True)
class NarsInfo:
    """What a report shows of a search by NARS; what is not known yet is empty or None.

    Attributes:
        kinds: kinds of explanations that need not be shown beside it; predictions stand beside their trials too.
        rounds: in order.
        predictions: of all rounds.
        stopping: once it is decided.
    """

    kinds: frozenset[str]
    rounds: tuple[RoundSummary, ...]
    predictions: Predictions | None
    stopping: Stopping | None


def nars_info(material: Material) -> NarsInfo | None:
    """What to show of the rounds of a search; None where it has none."""
    stages = _of(material, STAGES)
    if stages is None:
        return None
    predictor, stopping = _of(material, PREDICTOR), _of(material, EARLY_STOPPING)
    known = (STAGES, *([EARLY_STOPPING] if stopping is not None else []))
    return NarsInfo(
        kinds=frozenset(known),
        rounds=tuple(_rounds(stages, predictor)),
        predictions=None if predictor is None else _predictions(predictor),
        stopping=None if stopping is None else _stopping(stopping),
    )


def _of(material: Material, kind: str) -> pd.DataFrame | None:
    table = material.tables.get(kind)
    return table if table is not None and len(table) and set(COLUMNS[kind]) <= set(table) else None


def _rounds(stages: pd.DataFrame, predictor: pd.DataFrame | None) -> list[RoundSummary]:
    by_round = {} if predictor is None else dict(iter(predictor.groupby(["round", "stage"])))
    found = []
    for row in stages.to_dict("records"):
        own = by_round.get((row["round"], row["stage"]))
        gaps = () if own is None else (own["predicted"] - own["observed"]).abs()
        found.append(
            RoundSummary(
                *(int(row["round"]), str(row["stage"]), int(row["epochs"]), int(row["told"])),
                *(int(row["completed"]), int(row["failed"]), float(row["best"])),
                trial=int(row["trial"]) if row["trial"] >= 0 else None,
                spearman=float("nan") if own is None else _spearman(own["predicted"], own["observed"]),
                error=float(np.mean(gaps)) if len(gaps) else float("nan"),
            )
        )
    return found


def _predictions(table: pd.DataFrame) -> Predictions:
    return Predictions(
        **{
            plural: tuple(map(int, table[name]))
            for plural, name in (("trials", "trial"), ("rounds", "round"), ("epochs", "epoch"))
        },
        predicted=tuple(map(float, table["predicted"])),
        stds=tuple(map(float, table["std"])),
        observed=tuple(map(float, table["observed"])),
        spearman=_spearman(table["predicted"], table["observed"]),
    )


def _stopping(table: pd.DataFrame) -> Stopping:
    ordered = table.sort_values("epoch")
    chosen = ordered.loc[ordered["chosen"].astype(bool), "epoch"]
    return Stopping(
        epochs=tuple(map(int, ordered["epoch"])),
        correlations=tuple(map(float, ordered["correlation"])),
        curves=int(ordered["curves"].iloc[0]),
        threshold=float(ordered["threshold"].iloc[0]),
        chosen=int(chosen.iloc[0] if len(chosen) else ordered["epoch"].iloc[-1]),
    )


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation; NaN of few, or where one side does not vary."""
    return spearman(np.asarray(first), np.asarray(second)) if len(first) >= FEWEST else float("nan")
