"""What made the architectures of a search good, from all explanations together, and whether these agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.explain.objective_motifs import AGREEMENTS, DIFFERENCES, EFFECTS
from xnas_ray.explain.operation_effects import KIND as OPERATIONS
from xnas_ray.report.findings import Finding, answered
from xnas_ray.report.heat_maps import LAYERS, PAIRS
from xnas_ray.report.joint_questions import (
    about_best_motif,
    about_layer,
    about_motifs,
    about_strengths,
    about_tree,
    about_trials,
)
from xnas_ray.report.material import Aim, Material, chosen
from xnas_ray.report.progress import front_trials
from xnas_ray.report.standings import by_operation, standings
from xnas_ray.report.supernets import COLUMNS, STRENGTHS
from xnas_ray.report.trees import TREE
from xnas_ray.report.trial_tables import kinds, trial_table

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.spaces.base import Choice

NUMBER = 6
"""Motifs and layers of either sort that are listed."""


@dataclass(frozen=True, slots=True)
class MotifEffect:
    """A motif and what it is worth for every objective.

    Attributes:
        text: the motif, to be read.
        cell: whose graphs.
        layer: steps that it looks ahead.
        support: architectures that have it.
        effects: one an objective, positive is good; NaN where an objective has no model.
        stds: posterior standard deviations.
        differences: of the means with and without it, positive is good.
        lows: lower ends of their 95 % intervals.
        highs: upper ends.
    """

    text: str
    cell: str
    layer: int
    support: int
    effects: tuple[float, ...]
    stds: tuple[float, ...]
    differences: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation by three sources, for the first objective.

    Attributes:
        name: of the operation.
        main_effect: mean over the choices of its least-squares effect; NaN where it is no option that was met.
        motif_effect: of the motif that is the operation alone; NaN where that varies too little.
        motif_std: its posterior standard deviation.
        standings: by method of the supernet, mean over the choices, 0 to 1; NaN where it stands nowhere.
    """

    name: str
    main_effect: float
    motif_effect: float
    motif_std: float
    standings: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WinnerLayer:
    """A layer of the winner, by how far it tells the classes apart."""

    layer: str
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class Decision:
    """An inner node of the winner's tree: what it tells apart, how many samples come by, and the share that should."""

    name: str
    depth: int
    classes: int
    visits: int
    right: float


@dataclass(frozen=True, slots=True)
class JointInfo:
    """What the page shows.

    Attributes:
        objectives: of the search, the first one first.
        architectures: how many the motifs were learnt from; 0 where there are none.
        findings: agreements and disagreements; those that are decided first, those that were not tested last.
        motifs: all of them, best for the first objective first.
        operations: best by their main effects first.
        methods: of the supernet, in the order of ``Operation.standings``.
        supernet: id and name of the search whose supernet it was, empty where there is none.
        winner: best trial of the first objective, on the front where there is one; None without one.
        layers: of the winner, those that tell most first.
        decisions: of the winner's tree, from the root down.
    """

    objectives: tuple[str, ...]
    architectures: int
    findings: tuple[Finding, ...]
    motifs: tuple[MotifEffect, ...]
    operations: tuple[Operation, ...]
    methods: tuple[str, ...]
    supernet: tuple[str, ...]
    winner: int | None
    layers: tuple[WinnerLayer, ...]
    decisions: tuple[Decision, ...]


def joint_info(
    material: Material, choices: Sequence[Choice] | None = None, supernet: Material | None = None
) -> JointInfo | None:
    """All explanations of a search beside each other; None where it has neither motifs nor effects of options.

    Args:
        material: the search.
        choices: of its space; without them no supernet can be set against the trials.
        supernet: a search with a supernet over the same space and task, perhaps the same one.
    """
    if not kinds(material):
        return None
    strengths = None if supernet is None else _of(supernet.tables.get(STRENGTHS), COLUMNS[STRENGTHS])
    ranked = {} if strengths is None else standings(strengths)
    winner = _winner(material)
    layers, pairs, tree = (_of_trial(material, kind, winner) for kind in (LAYERS, PAIRS, TREE))
    names = [aim.name for aim in material.aims]
    first, seed = names[0], int(material.card["spec"].get("seed") or 0)
    effects, motifs = _main_effects(material, first), _motifs(material)
    alone = {name: effect for name, (effect, _) in operation_motifs(material, first).items()}
    questions = [
        *about_motifs(trial_table(material, AGREEMENTS), names),
        *about_best_motif(trial_table(material, DIFFERENCES), motifs[0] if motifs else None, names),
        *about_strengths(material, choices, ranked, effects, alone, seed),
        *about_trials(material),
        *about_layer(material),
        *about_tree(winner, tree, pairs, seed),
    ]
    table = trial_table(material, EFFECTS)
    return JointInfo(
        objectives=tuple(names),
        architectures=0 if table is None else int(table["architectures"].iloc[0]),
        findings=tuple(sorted(answered(questions), key=_rank)),
        motifs=tuple(motifs),
        operations=tuple(_operations(material, first, effects, ranked)),
        methods=tuple(ranked),
        supernet=(supernet.search_id, str(supernet.record["name"] or "")) if supernet is not None and ranked else (),
        winner=winner,
        layers=_layers(layers),
        decisions=_decisions(tree),
    )


def _rank(finding: Finding) -> tuple[bool, bool]:
    return finding.verdict == "undecided", bool(np.isnan(finding.p))


def _winner(material: Material) -> int | None:
    """The best trial of the first objective; of equal ones one that is on the front."""
    front = set(front_trials(material) or ())
    ranked = chosen(material, None, len(material.trials))
    return next((trial for trial in ranked if trial in front), ranked[0] if ranked else None)


def _of(table: pd.DataFrame | None, names: Sequence[str]) -> pd.DataFrame | None:
    return table if table is not None and len(table) and set(names) <= set(table) else None


def _of_trial(material: Material, kind: str, trial: int | None) -> pd.DataFrame | None:
    table = _of(material.tables.get(kind), ("trial",))
    return None if table is None or trial is None else table[table["trial"] == trial]


def _motifs(material: Material) -> list[MotifEffect]:
    """All motifs, best for the first objective first."""
    table = trial_table(material, EFFECTS)
    if table is None:
        return []
    differences: dict[Any, dict[str, dict[str, Any]]] = {}
    beside = trial_table(material, DIFFERENCES)
    for row in () if beside is None else beside.to_dict("records"):
        differences.setdefault((row["motif"], row["cell"], row["occurrence"]), {})[row["metric"]] = row
    found = []
    for key, rows in table.groupby(["motif", "cell", "occurrence"], sort=False):
        own = {row["metric"]: row for row in rows.to_dict("records")}
        any_row = rows.iloc[0]

        def each(
            of: Mapping[str, Mapping[str, Any]], column: str, aims: Sequence[Aim] = material.aims
        ) -> tuple[float, ...]:
            return tuple(float(of[aim.name][column]) if aim.name in of else np.nan for aim in aims)

        with_it = differences.get(key, {})
        found.append(
            MotifEffect(
                *(str(any_row["text"]), str(any_row["cell"]), int(any_row["layer"]), int(any_row["support"])),
                *(each(own, "whole"), each(own, "whole_posterior_std")),
                *(each(with_it, "difference"), each(with_it, "low"), each(with_it, "high")),
            )
        )
    return sorted(found, key=lambda motif: -np.nan_to_num(motif.effects[0], nan=-np.inf))


def _main_effects(material: Material, metric: str) -> dict[tuple[str, str], float]:
    table = trial_table(material, OPERATIONS)
    if table is None:
        return {}
    own = table[table["metric"] == metric]
    return {(str(c), str(o)): float(e) for c, o, e in zip(own["choice"], own["option"], own["effect"], strict=True)}


def _operations(
    material: Material,
    metric: str,
    effects: Mapping[tuple[str, str], float],
    ranked: Mapping[str, Mapping[tuple[str, str], float]],
) -> list[Operation]:
    """Everything that is an operation: an option or a node that motifs or supernets know."""
    main, stood = by_operation(effects), {method: by_operation(own) for method, own in ranked.items()}
    motifs = operation_motifs(material, metric)
    known = set(motifs).union(*stood.values())
    names = [
        name for name in dict.fromkeys([*main, *motifs, *(n for own in stood.values() for n in own)]) if name in known
    ]
    found = [
        Operation(
            name,
            main.get(name, np.nan),
            *motifs.get(name, (np.nan, np.nan)),
            tuple(own.get(name, np.nan) for own in stood.values()),
        )
        for name in names
    ]
    return sorted(found, key=lambda one: -np.nan_to_num(one.main_effect, nan=-np.inf))


def operation_motifs(material: Material, metric: str) -> dict[str, tuple[float, float]]:
    """Effect and posterior deviation of the motifs that are one operation, the mean over cells."""
    table = trial_table(material, EFFECTS)
    if table is None:
        return {}
    alone = table[(table["metric"] == metric) & (table["layer"] == 0) & (table["occurrence"] == 1)]
    grouped = alone.groupby("text", sort=False)[["whole", "whole_posterior_std"]].mean()
    return {str(name): (float(effect), float(std)) for name, effect, std in grouped.itertuples()}


def _layers(table: pd.DataFrame | None) -> tuple[WinnerLayer, ...]:
    if table is None:
        return ()
    best = table.sort_values("score", ascending=False, kind="stable").head(NUMBER)
    rows = zip(best["layer"], best["score"], best["share"], strict=True)
    return tuple(WinnerLayer(str(layer), float(score), float(share)) for layer, score, share in rows)


def _decisions(table: pd.DataFrame | None) -> tuple[Decision, ...]:
    if table is None:
        return ()
    inner = table[table["classes"] > 1].sort_values(["depth", "node"])
    rows = zip(*(inner[name] for name in ("name", "depth", "classes", "visits", "right")), strict=True)
    return tuple(Decision(str(n), int(d), int(c), int(v), float(r)) for n, d, c, v, r in rows)
