"""A search whose truth is known: what convolutions, pooling and the rest are worth for every objective is planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from xnas_ray.explain.measured_architectures import Trial
from xnas_ray.report.material import Material
from xnas_ray.service.trial_explanations import trial_explanations
from xnas_ray.spaces.nasbench201 import OPERATIONS, NASBench201

SPACE = NASBench201(channels=4, cells_per_stage=1, stages=2)
AIMS = (
    {"name": "val_accuracy", "maximize": True, "unit": "%"},
    {"name": "introspectability", "maximize": True, "unit": ""},
    {"name": "nbdt_gap", "maximize": False, "unit": "%"},
)
CLASSES = ("cat", "dog", "fox", "car", "bus", "van")


def genotypes(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Canonical architectures, all different."""
    draw = np.random.default_rng(seed)
    found: dict[str, tuple[int, ...]] = {}
    while len(found) < count:
        genotype = SPACE.canonical(SPACE.sample(draw))
        found.setdefault(SPACE.key(genotype), genotype)
    return list(found.values())


def outcomes(count: int, worth: Mapping[str, Mapping[str, float]], noise: float, seed: int = 0) -> list[dict[str, Any]]:
    """Trials whose objectives add up what each operation of the architecture is worth, and noise.

    Args:
        count: of them.
        worth: by objective and operation.
        noise: its standard deviation.
        seed: of architectures and noise.
    """
    draw = np.random.default_rng(seed + 1)
    rows = []
    for genotype in genotypes(count, seed):
        metrics = {
            aim["name"]: 50
            + noise * draw.normal()
            + sum(worth.get(aim["name"], {}).get(OPERATIONS[i], 0) for i in genotype)
            for aim in AIMS
        }
        rows.append({"genotype": genotype, "metrics": metrics})
    return rows


def said(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """What such trials say by themselves."""
    trials = [Trial(i, row["genotype"], 1, row["metrics"]) for i, row in enumerate(rows)]
    return trial_explanations(SPACE, trials, {aim["name"]: aim["maximize"] for aim in AIMS}, seed=0)


def strengths(
    worth: Mapping[str, float], methods: tuple[str, ...] = ("magnitude",), noise: float = 0.0
) -> pd.DataFrame:
    """Of a supernet that has learnt what operations are worth; ``none`` is left out."""
    draw, rows = np.random.default_rng(5), []
    for method in methods:
        for number in range(2):
            for choice in SPACE.choices:
                for option in choice.options:
                    value = worth.get(str(option), 0.0) + noise * draw.normal()
                    strength = np.nan if option == "none" else value
                    rows.append((number, method, choice.name, option, strength, False))
    return pd.DataFrame(rows, columns=["supernet", "method", "decision", "option", "strength", "chosen"])


def tree(trial: int) -> pd.DataFrame:
    """Animals against vehicles, then one by one."""
    nodes = [
        (0, -1, 0, "thing", CLASSES),
        (1, 0, 1, "animal", CLASSES[:3]),
        (2, 1, 2, "cat", CLASSES[:1]),
        (3, 1, 2, "dog / fox", CLASSES[1:3]),
        (4, 3, 3, "dog", CLASSES[1:2]),
        (5, 3, 3, "fox", CLASSES[2:3]),
        (6, 0, 1, "vehicle", CLASSES[3:]),
        (7, 6, 2, "car", CLASSES[3:4]),
        (8, 6, 2, "bus / van", CLASSES[4:]),
        (9, 8, 3, "bus", CLASSES[4:5]),
        (10, 8, 3, "van", CLASSES[5:]),
    ]
    frame = pd.DataFrame(nodes, columns=["node", "parent", "depth", "name", "own"])
    frame["wnid"], frame["classes"] = "", [len(own) for own in frame["own"]]
    frame["leaves"] = [", ".join(own) for own in frame["own"]]
    frame = frame.drop(columns="own").assign(visits=10, right=0.9, entropy=0.1)
    return frame.assign(trial=trial)


def pairs(trial: int) -> pd.DataFrame:
    """Activations that are near where the tree parts late."""
    near = {("dog", "fox"): 0.1, ("bus", "van"): 0.12, ("cat", "dog"): 0.3, ("cat", "fox"): 0.31}
    near |= {("car", "bus"): 0.29, ("car", "van"): 0.33}
    rows = [
        (first, second, near.get((first, second), 0.8 + 0.01 * j))
        for i, first in enumerate(CLASSES)
        for j, second in enumerate(CLASSES)
        if i < j
    ]
    return pd.DataFrame(rows, columns=["first", "second", "distance"]).assign(weight=1.0, trial=trial)


def layers(trials: int) -> pd.DataFrame:
    """Three layers of every trial."""
    draw = np.random.default_rng(3)
    rows = [(t, name, draw.uniform(), 1 / 3) for t in range(trials) for name in ("stem", "cell", "head")]
    return pd.DataFrame(rows, columns=["trial", "layer", "score", "share"])


PLANTED = {
    "val_accuracy": {"nor_conv_3x3": 4.0, "nor_conv_1x1": 2.0, "avg_pool_3x3": -2.0, "none": -3.0},
    "introspectability": {"nor_conv_3x3": -4.0, "nor_conv_1x1": -2.0, "avg_pool_3x3": 3.0, "none": 2.0},
}
"""Convolutions raise accuracy and lower introspectability; nothing is worth anything for the gap of the tree."""


def planted(made: Callable[..., Material], count: int = 60, supernet: bool = True) -> Material:
    """The search, with every table."""
    rows = outcomes(count, PLANTED, noise=1.0)
    best = max(range(count), key=lambda i: rows[i]["metrics"]["val_accuracy"])
    tables = said(rows) | {
        "decision_tree": tree(best),
        "introspectability_pairs": pairs(best),
        "introspectability_layers": layers(count),
    }
    if supernet:
        tables["strengths"] = strengths(PLANTED["val_accuracy"], ("magnitude", "influential_magnitude"), noise=0.5)
    return made(rows, objectives=AIMS, tables=tables)
