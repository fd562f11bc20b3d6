"""Material of searches that were never run: frames as the store gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xnas_ray.explain.motifs import COLUMNS, tree_id, tree_to_json
from xnas_ray.report.material import Material
from xnas_ray.store.tree_samples import TreeSamples

BEGAN = pd.Timestamp("2024-05-01T12:00:00", tz="UTC")
ACCURACY = {"name": "accuracy", "maximize": True, "unit": "%"}
FLOPS = {"name": "flops", "maximize": False, "unit": ""}


def made_material(
    trials: Sequence[Mapping[str, Any]],
    *,
    objectives: Sequence[Mapping[str, Any]] = (ACCURACY, FLOPS),
    log: Sequence[Mapping[str, Any]] = (),
    resources: Mapping[str, Any] | None = None,
    constraints: Sequence[str] = (),
    tables: Mapping[str, pd.DataFrame] | None = None,
    curves: Sequence[Mapping[str, Any]] = (),
    root: Path | None = None,
    **record: Any,
) -> Material:
    """A search of trials given by what matters: numbers not given are consecutive, times in seconds."""
    rows = [_row(number, dict(trial)) for number, trial in enumerate(trials)]
    columns = list(_row(0, {}))
    happened = [{"state": "running", "duration_s": None, "detail": "", **one, "at": _at(one["at"])} for one in log]
    spec = {"constraints": list(constraints), "resources": dict(resources or {"cpus": 2, "gpus": 0})}
    return Material(
        record={
            **{"search_id": "01HF7YAT000123456789ABCDEF", "name": "made", "task": "toy", "controller": "nsga2"},
            **{"state": "finished", "reason": "", "submitted_at": BEGAN, **record},
        },
        card={"spec": spec, "objectives": list(objectives), "task": "toy", "space": "nasbench201"},
        trials=pd.DataFrame(rows, columns=None if rows else columns),
        log=pd.DataFrame(happened, columns=["trial", "state", "at", "duration_s", "detail"]),
        curves=pd.DataFrame(list(curves), columns=["trial", "epoch", "metric", "value"]),
        tables=tables or {},
        root=root,
    )


def _row(number: int, given: dict[str, Any]) -> dict[str, Any]:
    metrics = {f"metric_{name}": value for name, value in given.pop("metrics", {}).items()}
    start_s, end_s = given.pop("start_s", 0.0), given.pop("end_s", 1.0)
    row = {
        **{"trial": number, "status": "completed" if metrics else "failed", "attempts": 1, "fidelity": 1},
        **{"replicate": 0, "train_seed": 2**62 + number, "architecture": f"a{number}", "recipe": "{}"},
        **{"environment": "{}", "key": f"k{number}", "genotype": (number % 3, 0), "reused_from": None},
        **{"worker": "w-1", "node": "n-1", "duration_s": 1.0, "origin": "{}"},
        **dict.fromkeys(("failure_kind", "failure_type", "failure_message", "failure_log")),
        **given,
    }
    row["origin"] = row["origin"] if isinstance(row["origin"], str) else json.dumps(row["origin"])
    row["started_at"] = None if start_s is None else _at(start_s)
    row["finished_at"] = _at(end_s)
    return {**row, **metrics}


def _at(seconds: float) -> pd.Timestamp:
    return BEGAN + pd.Timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def made() -> Callable[..., Material]:
    """Makes material (see ``made_material``)."""
    return made_material


@dataclass(frozen=True)
class GrownTree:
    """A trial's table ``decision_tree``, and samples on their ways through that tree; their images are noise."""

    table: pd.DataFrame
    samples: TreeSamples


@pytest.fixture(scope="session")
def grown_tree(random_tree) -> Callable[..., GrownTree]:
    """``grown_tree(classes, seed, names=None, size=(8, 8, 1))``: 60 samples of a random tree, ten of them ambiguous.

    Every node has two examples; all trees of a seed have the same images.
    """
    import torch

    from xnas_ray.objectives.tree_outcome import TreeOutcome

    def grow(classes: int, seed: int = 0, *, names: Sequence[str] | None = None, size=(8, 8, 1)) -> GrownTree:
        rng = np.random.default_rng(seed)
        tree = random_tree(classes, seed)
        logits = torch.from_numpy(3 * rng.normal(size=(60, classes))).float()
        outcome = TreeOutcome(tree, logits, torch.from_numpy(rng.integers(0, classes, 60)))
        spread, rules = outcome.rules(logits).exp().numpy(), outcome.rules
        number = {name: k for k, name in enumerate(tree.class_names)}
        reach = np.stack([spread[:, [number[leaf] for leaf in node.leaves]].sum(1) for node in tree.nodes], axis=1)
        entropy = rules.decisions(logits, hard=True).path_entropy.numpy()
        similar = [(node, int(s)) for node in range(len(tree.nodes)) for s in np.argsort(-reach[:, node])[:2]]
        rows = np.array([*np.argsort(-entropy)[:10], *(s for _, s in similar)])
        called = dict(zip(tree.class_names, names or tree.class_names, strict=True))
        predicted = {"network": logits.argmax(1), "soft": rules.soft(logits), "hard": rules.hard(logits)}
        samples = TreeSamples(
            classes=tuple(called.values()),
            group=np.array(["ambiguous"] * 10 + ["similar"] * len(similar)),
            node=np.array([-1] * 10 + [node for node, _ in similar]),
            sample=rows,
            target=outcome.targets.numpy()[rows],
            **{name: found.numpy()[rows] for name, found in predicted.items()},
            path_entropy=entropy[rows].astype(np.float32),
            reach=reach[rows].astype(np.float32),
            images=rng.integers(0, 256, (60, *size), dtype=np.uint8)[rows],
        )
        table = outcome.per_node()
        return GrownTree(table.assign(name=[called.get(name, name) for name in table["name"]]), samples)

    return grow


@pytest.fixture(scope="session")
def two_motifs() -> pd.DataFrame:
    """A table with a good motif and a bad one, each an operation right before the output and nowhere else."""

    def row(operation: str, effect: float, mark: str) -> dict[str, Any]:
        tree = (operation, (("output", ()),))
        numbers = {name: effect for name, kind in COLUMNS.items() if kind == "float64"}
        text = f"{operation} > (output)"
        names = {"cell": "cell", "text": text, "tree": tree_to_json(tree), "mark": mark, "by": "whole", "unit": "%"}
        counts = {"motif": tree_id(tree, 1), "layer": 1, "occurrence": 1, "support": 9, "architectures": 20}
        return {**numbers, **names, **counts, "metric": ""}

    rows = [row("nor_conv_3x3", 1.5, "good"), row("avg_pool_3x3", -2.5, "bad")]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
