"""Everything that a report shows as one JSON value: columns instead of rows, what repeats once."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from xnas_ray.explain.drawing import operation_colours
from xnas_ray.messages import Genotype, TrialStatus
from xnas_ray.report.columns import SharedTexts, number, numbers, plain
from xnas_ray.report.drawings import Drawings, Graphs
from xnas_ray.report.failures import failure_groups
from xnas_ray.report.genes import genes
from xnas_ray.report.heat_maps import LAYERS, PAIRS, layer_map, pair_map
from xnas_ray.report.joint import joint_info
from xnas_ray.report.lineage import lineage
from xnas_ray.report.material import Material, chosen
from xnas_ray.report.motif_panels import MOTIFS, search_motifs
from xnas_ray.report.nars import nars_info
from xnas_ray.report.progress import (
    Box,
    Steps,
    best_so_far,
    common_box,
    front_trials,
    hypervolume_steps,
    spending,
)
from xnas_ray.report.supernets import supernet_info
from xnas_ray.report.timeline import counts, timeline
from xnas_ray.report.trees import PICTURES_BYTES, trees_info
from xnas_ray.report.trial_tables import kinds as trial_kinds
from xnas_ray.spaces.base import Choice

SEARCH_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#767676")
"""Of Okabe and Ito's palette for the colour-blind, without the yellow that no white page shows; one a search."""

STATUSES = tuple(str(status) for status in TrialStatus)
MAPPED_TRIALS = 120
"""Trials of which everything is kept: the front and the best ones."""
MAPPED_VALUES = 400_000
"""Numbers of all heat maps of a search; fewer trials are mapped where networks have many layers or classes."""
CURVE_ROWS = 60_000
TABLE_ROWS = 1_000
"""Rows of a table of explanations that the page has no picture for."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A search with what only its space tells.

    Attributes:
        material: from the store.
        graphs: of its genotypes, to draw them; None where the space cannot be had.
        choices: of its space.
        note: why there are no drawings, if there are none.
        supernet: search with a supernet over the same space and task, if there is one.
    """

    material: Material
    graphs: Graphs | None = None
    choices: Sequence[Choice] | None = None
    note: str = ""
    supernet: Material | None = None


def report_payload(searches: Sequence[Searched], *, version: str, made_at: datetime.datetime) -> dict[str, Any]:
    """What the page draws.

    Hypervolumes are comparable between the searches with the same objectives: they share the box in which they are
    measured.

    Args:
        searches: at least one; their order is that of their colours.
        version: of the package.
        made_at: time that the report bears.

    Returns:
        A JSON value: ``version``, ``made_at``, ``operations`` (name to colour), ``palette``, ``statuses`` and
        ``searches``.
    """
    boxes: dict[Hashable, list[Material]] = {}
    for one in searches:
        boxes.setdefault(one.material.aims, []).append(one.material)
    box_of = {aims: common_box(materials) for aims, materials in boxes.items()}
    found = [
        _search(
            one, box_of[one.material.aims], SEARCH_COLOURS[i % len(SEARCH_COLOURS)], PICTURES_BYTES // len(searches)
        )
        for i, one in enumerate(searches)
    ]
    colours = operation_colours({name for one in found for name in one["operations"]})
    return {
        "version": version,
        "made_at": made_at.isoformat(timespec="seconds"),
        "operations": colours,
        "palette": list(SEARCH_COLOURS),
        "statuses": list(STATUSES),
        "searches": found,
    }


def _search(one: Searched, box: Box | None, colour: str, pictures_bytes: int) -> dict[str, Any]:
    material, drawings = one.material, Drawings()
    front = front_trials(material)
    everything = chosen(material, front, MAPPED_TRIALS)
    genotypes: list[Genotype] = [tuple(genotype) for genotype in material.trials["genotype"]]
    drawn = drawings.of_genotypes(genotypes, one.graphs) if one.graphs is not None else None
    motifs = _motifs(one, everything, drawings)
    spent = spending(material)
    supernets, rounds = supernet_info(material), nars_info(material)
    trees = trees_info(material, everything, pictures_bytes=pictures_bytes)
    joint = joint_info(material, one.choices, one.supernet)
    shown = (found.kinds for found in (supernets, rounds, trees) if found is not None)
    kinds = {LAYERS, PAIRS, MOTIFS, *trial_kinds(material)}.union(*shown)
    return {
        **_facts(material),
        "colour": colour,
        "note": one.note,
        "front": front,
        "best": next(iter(chosen(material, None, 1)), None),
        "progress": {
            "unit": spent.unit,
            "hours": numbers(spent.hours),
            "best": {name: _steps(steps) for name, steps in best_so_far(material).items()},
            "hypervolume": None if box is None else _steps(hypervolume_steps(material, box)),
            "reference": None if box is None else _unsigned(material, box.reference),
            "ideal": None if box is None else _unsigned(material, box.ideal),
        },
        "trials": _trials(material),
        "metrics": {name: numbers(values) for name, values in material.metrics.items() if np.isfinite(values).any()},
        "genes": [
            {"name": g.name, "options": g.options, "picked": g.picked.tolist(), "share": number(g.share)}
            for g in genes(material, one.choices)
        ],
        "lineage": _lineage(material),
        "timeline": _timeline(material),
        "failures": [plain(group) for group in failure_groups(material)],
        "operations": drawings.operations,
        "drawings": drawings.drawings,
        "drawn": drawn,
        "motifs": motifs,
        "joint": None if joint is None else plain(joint),
        **_maps(material, everything),
        "curves": _curves(material, everything),
        "supernets": _parts(supernets, "lines", "probabilities", "strengths", "derived", "methods"),
        "nars": _parts(rounds, "rounds", "predictions", "stopping"),
        "trees": _parts(trees, "trees", "of", "pictures", "notes"),
        "tables": _tables(material, everything, kinds),
    }


def _facts(material: Material) -> dict[str, Any]:
    record, card = material.record, material.card
    return {
        "id": material.search_id,
        "name": str(record["name"] or ""),
        "task": str(record["task"] or card.get("task") or ""),
        "controller": str(record["controller"] or ""),
        "state": str(record["state"]),
        "reason": str(record["reason"] or ""),
        "submitted_at": record["submitted_at"].isoformat(timespec="seconds"),
        "space": str(card.get("space") or ""),
        "spec": card["spec"],
        "objectives": [plain(aim) for aim in material.aims],
        "counts": counts(material),
    }


def _trials(material: Material) -> dict[str, Any]:
    """Columns of the finished trials; ``texts`` has what several of them share, by number."""
    frame, shared = material.trials, SharedTexts()
    columns: dict[str, Any] = {
        "trial": material.numbers.tolist(),
        "status": [STATUSES.index(status) for status in frame["status"]],
        "measured": material.measured.astype(int).tolist(),
        "duration_s": numbers(frame["duration_s"].to_numpy(dtype=float)),
    }
    for name in ("attempts", "fidelity", "replicate"):
        columns[name] = frame[name].astype(int).tolist()
    for name in ("architecture", "recipe", "environment"):
        columns[name] = [shared.number(text) for text in frame[name]]
    reused = {int(t): text for t, text in zip(material.numbers, frame["reused_from"], strict=True) if _is_text(text)}
    seeds = [str(seed) for seed in frame["train_seed"]]  # 64 bits do not fit into a number of JavaScript
    return {**columns, "train_seed": seeds, "reused_from": reused, "texts": shared.texts}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _lineage(material: Material) -> dict[str, Any]:
    found, shared = lineage(material), SharedTexts()
    return {
        "parents": {trial: list(parents) for trial, parents in found.parents.items()},
        "stage": [shared.number(found.stages.get(trial, "")) for trial in material.numbers.tolist()],
        "stages": shared.texts,
        "generations": dict(found.generations),
    }


def _timeline(material: Material) -> dict[str, Any]:
    found = timeline(material)
    return {
        "workers": [plain(worker) for worker in found.workers],
        "worker": list(found.worker),
        "start_s": numbers(np.round(found.start_s, 3)),
        "end_s": numbers(np.round(found.end_s, 3)),
        "earlier": [plain(list(span)) for span in found.earlier],
        "asked": found.asked,
        "running": found.running,
    }


def _motifs(one: Searched, trials: Sequence[int], drawings: Drawings) -> dict[str, Any] | None:
    rows = {int(trial): i for i, trial in enumerate(one.material.numbers)}
    genotypes = [(trial, tuple(one.material.trials["genotype"].iloc[rows[trial]])) for trial in trials]
    found = search_motifs(one.material, genotypes, one.graphs)
    if found is None or not (found.best or found.worst):
        return None
    return {
        "title": found.title,
        "good": len(found.best),
        "panels": [
            {"title": panel.title, "text": panel.motif.text, "drawing": drawings.of_tree(panel.nodes)}
            for panel in (*found.best, *found.worst)
        ],
        "trials": {trial: list(places) for trial, places in found.occurrences.items()},
    }


def _maps(material: Material, trials: Sequence[int]) -> dict[str, Any]:
    layers = layer_map(material, trials)
    pairs = pair_map(material, trials)
    found: dict[str, Any] = {"layers": None, "pairs": None}
    if layers is not None:
        kept = max(1, MAPPED_VALUES // max(1, len(layers.layers)))
        found["layers"] = {
            "trials": list(layers.trials[:kept]),
            "layers": list(layers.layers),
            "scores": [numbers(row, 4) for row in layers.scores[:kept]],
        }
    if pairs is not None:
        kept = max(1, MAPPED_VALUES // max(1, len(pairs.classes) ** 2))
        upper = np.triu_indices(len(pairs.classes), 1)
        found["pairs"] = {
            "trials": list(pairs.trials[:kept]),
            "classes": list(pairs.classes),
            "of_classes": pairs.of_classes,
            "distances": [numbers(matrix[upper], 4) for matrix in pairs.distances[:kept]],
        }
    return found


def _curves(material: Material, trials: Sequence[int]) -> dict[str, Any]:
    """Learning curves by trial and metric: epochs and values; of the best trials alone where there are many."""
    frame = material.curves
    if len(frame) > CURVE_ROWS:
        lengths = frame["trial"].value_counts()
        so_far = np.cumsum([int(lengths.get(trial, 0)) for trial in trials])
        frame = frame[frame["trial"].isin([t for t, rows in zip(trials, so_far, strict=True) if rows <= CURVE_ROWS])]
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for trial, epoch, metric, value in frame[["trial", "epoch", "metric", "value"]].itertuples(index=False, name=None):
        xs, ys = found.setdefault(str(trial), {}).setdefault(metric, [[], []])
        xs.append(int(epoch))
        ys.append(number(value))
    return found


def _parts(found: object | None, *names: str) -> dict[str, Any] | None:
    """What the page draws of an info, by the names of its attributes; None where there is none."""
    return None if found is None else {name: plain(getattr(found, name)) for name in names}


def _tables(material: Material, trials: Sequence[int], drawn: Set[str]) -> list[dict[str, Any]]:
    """Explanations that have no picture of their own, as they are; long ones of the best trials alone."""
    found = []
    for kind, table in material.tables.items():
        if kind not in drawn:
            of_best = table[table["trial"].isin(trials)] if "trial" in table and len(table) > TABLE_ROWS else table
            shown = of_best.head(TABLE_ROWS)
            rows = [[plain(value) for value in row] for row in shown.itertuples(index=False, name=None)]
            found.append({"kind": kind, "columns": list(map(str, shown.columns)), "rows": rows, "of": len(table)})
    return found


def _steps(steps: Steps) -> dict[str, Any]:
    return {"rows": list(steps.rows), "values": numbers(steps.values)}


def _unsigned(material: Material, corner: Sequence[float]) -> list[float | None]:
    return [number(value if aim.maximize else -value) for value, aim in zip(corner, material.aims, strict=True)]
