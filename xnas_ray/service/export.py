"""A trial taken out of the store: its architecture, recipe and weights, and a module that rebuilds the network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xnas_ray.errors import StoreError
from xnas_ray.service.archive import stored_card, trial_record, weights_of
from xnas_ray.service.resolve import open_search
from xnas_ray.store.layout import Layout

ARCHITECTURE, RECIPE, LOADER, TASK = "architecture.json", "recipe.json", "load.py", "task"

LOADER_TEXT = '''"""Rebuilds this folder's network; needs torch and xnas-ray.

    from load import load_network
    network = load_network()

Weights are read with ``weights_only=True``: nothing in them is run.
"""

import json
from pathlib import Path

import torch

from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.registry import SPACES
from xnas_ray.tasks.loading import load_task
from xnas_ray.training.build import build_network

HERE = Path(__file__).resolve().parent


def load_space(facts: dict) -> Space:
    """The space: a registered one, or one that the task folder beside makes."""
    if facts["source"] == "task":
        space = load_task(HERE / "task").space(facts["name"], facts["params"])
    else:
        space = SPACES.create(facts["name"], facts["params"], field="space")
    if space.fingerprint != facts["fingerprint"]:
        raise RuntimeError(f"the space is now {space.fingerprint}, it was {facts['fingerprint']}")
    return space


def load_network(device: str = "cpu") -> torch.nn.Module:
    """The network in evaluation mode, with its trained weights if weights.pt lies beside."""
    facts = json.loads((HERE / "architecture.json").read_text(encoding="utf-8"))
    shape = facts["shape"]
    inputs = tuple(tuple(one) for one in shape["inputs"])
    shape = DataShape(inputs=inputs, outputs=shape["outputs"], kind=shape["kind"])
    network = build_network(load_space(facts["space"]), tuple(facts["genotype"]), shape)
    weights = HERE / "weights.pt"
    if weights.is_file():
        network.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
    return network.to(device).eval()


if __name__ == "__main__":
    rebuilt = load_network()
    trained = "trained" if (HERE / "weights.pt").is_file() else "untrained"
    print(f"{sum(p.numel() for p in rebuilt.parameters()):,} parameters, {trained}")
'''


def export_trial(root: Path | str, search_id: str, trial: int, folder: Path) -> Path:
    """Write a finished trial to a new folder.

    ``architecture.json`` has the architecture as the field writes it, the genotype, the space (name, parameters,
    fingerprint), the shapes and the metrics; ``recipe.json`` how it was trained; ``weights.pt`` the state dictionary
    if it was kept; ``load.py`` rebuilds the network; ``task/`` is there when the space is the task's own.

    Args:
        root: folder of the store.
        search_id: whole id.
        trial: number of a finished trial.
        folder: to be made; it may exist if it is empty.

    Returns:
        The folder.

    Raises:
        StoreError: no such trial, or the folder is not empty or cannot be written.
        XnasError: the search's task cannot be imported.
    """
    layout = Layout(root)
    record = trial_record(root, search_id, trial)
    card = stored_card(root, search_id)
    facts = _architecture(Path(root), search_id, card, record)
    try:
        prepare_folder(folder)
        _write_json(folder / ARCHITECTURE, facts)
        _write_json(folder / RECIPE, _recipe(card, record))
        (folder / LOADER).write_text(LOADER_TEXT, encoding="utf-8")
        if facts["space"]["source"] == "task":
            shutil.copytree(layout.task(card["task_hash"]), folder / TASK)
        weights = weights_of(layout, record)
        if weights is not None:
            shutil.copyfile(weights, folder / weights.name)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}.", field="--out") from error
    return folder


def prepare_folder(folder: Path) -> None:
    """Make a folder to write a trial to; it may exist if it is empty.

    Raises:
        StoreError: it is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty.", field="--out", fix="Name a folder that does not exist yet.")


def _architecture(root: Path, search_id: str, card: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    opened = open_search(root, card)
    named = card["spec"]["space"]
    name, params = (named["name"], named["params"]) if named else ("task", {})
    genotype = tuple(record["genotype"])
    return {
        "search": search_id,
        "trial": record["trial"],
        "status": record["status"],
        "architecture": record["architecture"],
        "genotype": list(genotype),
        "choices": {name: str(option) for name, option in opened.space.describe(genotype).items()},
        "key": record["key"],
        "space": {
            "source": "task" if opened.task.makes(name, params) else "registry",
            "name": name,
            "params": params,
            "fingerprint": opened.space.fingerprint,
        },
        "shape": card["shape"],
        "metrics": record["metrics"],
    }


def _recipe(card: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": card["task"],
        "task_hash": card["task_hash"],
        "recipe": {**card["spec"]["recipe"], **json.loads(record["recipe"])},
        "epochs": record["fidelity"],
        "schedule_epochs": record["schedule_epochs"],
        "train_seed": record["train_seed"],
        "replicate": record["replicate"],
        "environment": json.loads(record["environment"]),
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n", encoding="utf-8")
