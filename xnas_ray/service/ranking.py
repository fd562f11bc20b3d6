"""Which trials are better: signs of objectives, and the volume that a search has found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.messages import TrialStatus
from xnas_ray.pareto import Front, non_dominated
from xnas_ray.spec import parse_constraint, satisfies
from xnas_ray.store.schema import METRIC_PREFIX

if TYPE_CHECKING:
    import pandas as pd

SCALE_POINTS = 10
SCALE_MARGIN = 0.1
"""Of the reference point beyond the box of the first points, so that its corners count."""


def signed_objectives(metrics: Mapping[str, float], objectives: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The objectives of a trial with the sign that makes larger better."""
    return tuple(metrics[o["name"]] if o["maximize"] else -metrics[o["name"]] for o in objectives)


def satisfies_all(metrics: Mapping[str, float], constraints: Sequence[str]) -> bool:
    """Whether every constraint holds on a metric that was measured."""
    limits = (parse_constraint(text) for text in constraints)
    return all(satisfies(metrics[name], operator, limit) for name, operator, limit in limits if name in metrics)


def comparable(metrics: Mapping[str, float], card: Mapping[str, Any]) -> bool:
    """Whether a completed trial of a search takes part in its front: it has all objectives and is feasible."""
    measured = all(objective["name"] in metrics for objective in card["objectives"])
    return measured and satisfies_all(metrics, card["spec"]["constraints"])


def with_standing(trials: pd.DataFrame, card: Mapping[str, Any]) -> pd.DataFrame:
    """Trials of one search with what only all of them together tell.

    Args:
        trials: as ``store.load_trials`` gives them, of this search alone.
        card: of the search (see ``resolve.Search.card``).

    Returns:
        The same rows with three more columns: ``front`` (completed, feasible, and dominated by no other such trial),
        ``generation`` (Int64; missing where the controller has none) and ``parents`` (trial numbers, a list).
    """
    import pandas as pd

    metrics = [name for name in trials.columns if name.startswith(METRIC_PREFIX)]
    rows = trials[metrics].rename(columns=lambda name: name.removeprefix(METRIC_PREFIX)).to_dict("records")
    known = [{name: value for name, value in row.items() if value == value} for row in rows]
    taking = [
        i for i, status in enumerate(trials["status"]) if status == TrialStatus.COMPLETED and comparable(known[i], card)
    ]
    best = non_dominated([signed_objectives(known[i], card["objectives"]) for i in taking])
    front = np.zeros(len(trials), dtype=bool)
    front[[taking[i] for i in sorted(best)]] = True
    origins = [json.loads(text) for text in trials["origin"]]
    generations = pd.array([origin.get("generation") for origin in origins], dtype="Int64")
    parents = pd.Series([origin.get("parents", []) for origin in origins], index=trials.index, dtype=object)
    return trials.assign(front=front, generation=generations, parents=parents)


class DominatedVolume:
    """The hypervolume of a growing front, in a scale that does not change while a search goes on.

    The box between the worst and the best values of the first ten points has volume 1 and its worst corner, moved out
    by a tenth of the box, is the reference: the same points in the same order, as a restarted service reads them back,
    give the same volumes.
    """

    def __init__(self) -> None:
        """No point yet."""
        self._first: list[tuple[float, ...]] = []
        self._front: Front | None = None
        self._box = 1.0

    def add(self, point: tuple[float, ...]) -> None:
        """A point whose objectives are all to be maximised."""
        if self._front is not None:
            self._front.add(point)
            return
        self._first.append(point)
        if len(self._first) == SCALE_POINTS:
            first = np.array(self._first)
            extent = np.where(np.ptp(first, axis=0) > 0, np.ptp(first, axis=0), 1.0)
            front = Front((first.max(axis=0) - (1 + SCALE_MARGIN) * extent).tolist())
            for each in self._first:
                front.add(each)
            self._box, self._front = float(extent.prod()), front

    def value(self) -> float | None:
        """The volume, None before the tenth point; may be asked in another thread."""
        return None if self._front is None else self._front.hypervolume / self._box
