"""What the store knows of a search, read once for everything that a report shows of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.messages import TrialStatus
from xnas_ray.spec import parse_constraint, satisfies
from xnas_ray.store import load_curves, load_explanations, load_log, load_spec, load_trials, resolve_search_id
from xnas_ray.store.layout import Layout
from xnas_ray.store.reader import search_records
from xnas_ray.store.schema import METRIC_PREFIX

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Aim:
    """An objective as a search had it: its name, whether more of it is better, and its unit."""

    name: str
    maximize: bool
    unit: str = ""


@dataclass(frozen=True)
class Material:
    """One search as its rows tell it; frames are in the order in which outcomes were told.

    Attributes:
        record: of the search, as ``store.list_searches`` has it (``name``, ``state``, ``submitted_at`` …).
        card: its complete specification and objectives.
        trials: finished trials (see ``store.load_trials``).
        log: transitions of trials before they ended (see ``store.load_log``).
        curves: learning curves (see ``store.load_curves``).
        tables: explanations by kind.
        root: folder of the store, in which trials keep files; None where there are none.
    """

    record: Mapping[str, Any]
    card: Mapping[str, Any]
    trials: pd.DataFrame
    log: pd.DataFrame
    curves: pd.DataFrame
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    root: Path | None = None

    @property
    def search_id(self) -> str:
        """Its id."""
        return str(self.record["search_id"])

    @functools.cached_property
    def aims(self) -> tuple[Aim, ...]:
        """Its objectives, the first one first."""
        return tuple(Aim(o["name"], bool(o["maximize"]), o.get("unit") or "") for o in self.card["objectives"])

    @functools.cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """By name, one number a trial; NaN where a trial has none."""
        names = [name for name in self.trials.columns if name.startswith(METRIC_PREFIX)]
        return {name.removeprefix(METRIC_PREFIX): self.trials[name].to_numpy(dtype=float) for name in names}

    @functools.cached_property
    def measured(self) -> np.ndarray:
        """Which trials completed with every objective and satisfy the constraints (those that are measured)."""
        right = (self.trials["status"] == TrialStatus.COMPLETED).to_numpy(dtype=bool)
        for aim in self.aims:
            right = right & np.isfinite(self.metrics.get(aim.name, np.full(len(right), np.nan)))
        for name, operator, limit in map(parse_constraint, self.card["spec"].get("constraints", ())):
            if name in self.metrics:
                kept = [bool(satisfies(value, operator, limit)) for value in self.metrics[name]]
                right = right & np.array(kept, dtype=bool)
        return right

    @functools.cached_property
    def signed(self) -> np.ndarray:
        """Objectives with the sign that makes larger better: trials x objectives, NaN where there is none."""
        gone = np.full(len(self.trials), np.nan)
        columns = [self.metrics.get(aim.name, gone) * (1 if aim.maximize else -1) for aim in self.aims]
        return np.where(self.measured[:, None], np.stack(columns, axis=1), np.nan)

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """Number of every finished trial."""
        return self.trials["trial"].to_numpy(dtype=int)


def read_material(root: Path | str, search: str) -> Material:
    """Read a search, also one that is going on.

    Args:
        root: folder of the store.
        search: an id, a unique prefix of one, or ``"latest"``.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    whole = resolve_search_id(root, search)
    record = next(one for one in search_records(root) if one["search_id"] == whole)
    tables = {}
    for kind in Layout(root).explanation_kinds():
        if Layout(root).table(f"explanations/{kind}", whole).is_dir():
            table = load_explanations(root, kind, whole)
            if len(table):
                tables[kind] = table.drop(columns=["search_id"], errors="ignore")
    return Material(
        record=record,
        card=load_spec(root, whole),
        trials=load_trials(root, whole),
        log=load_log(root, whole),
        curves=load_curves(root, whole),
        tables=tables,
        root=Path(root),
    )


def chosen(material: Material, front: Sequence[int] | None, count: int) -> list[int]:
    """Trials of which a report keeps everything: the front first, then the best ones of the first objective.

    Args:
        material: the search.
        front: trials of its front, if it has one.
        count: at most so many.

    Returns:
        Trial numbers, none twice.
    """
    rows = np.flatnonzero(material.measured)
    best = material.numbers[rows[np.argsort(-material.signed[rows, 0], kind="stable")]]
    return list(dict.fromkeys([*(front or ()), *(int(trial) for trial in best)]))[:count]
