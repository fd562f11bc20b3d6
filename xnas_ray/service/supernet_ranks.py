"""What each rank of a supernet search runs: trains one supernet after the other, and reads architectures off them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xnas_ray.controllers.supernet import SupernetController
from xnas_ray.randomness import canonical_json
from xnas_ray.service.ranks_job import say_epoch, say_found
from xnas_ray.service.resolve import Search, open_search
from xnas_ray.service.train_job import rank_device
from xnas_ray.supernets.base import Discretization, SupernetSearch
from xnas_ray.supernets.discretize import strengths_table
from xnas_ray.supernets.registry import make_search
from xnas_ray.tasks.base import Data
from xnas_ray.training.augment import stream_seed
from xnas_ray.training.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from xnas_ray.training.determinism import isolated_randomness
from xnas_ray.training.device import limit_threads, typed_memory_errors
from xnas_ray.training.ranks import GroupRanks

FOUND = "derived.json"
"""Beside the checkpoint of a supernet: what was read off it when it was whole."""

_SUPERNET = 31


def train_supernets(config: dict[str, Any]) -> None:
    """Train every supernet of a search, from where an earlier job of it ended.

    The first rank writes a checkpoint after every epoch, and what was read off a supernet as soon as that is done;
    all ranks read them when they start. It tells of every epoch, also of those that were done before.

    Args:
        config: ``root`` of the store, ``card`` of the search, ``folder`` of its supernets in the store, ``cuda``.

    Raises:
        NanLossError: a loss is NaN or infinite.
        CheckpointError: a checkpoint is damaged, or of another search.
    """
    limit_threads(1)
    ranks = GroupRanks(rank_device(config["cuda"]))
    search = open_search(Path(config["root"]), config["card"])
    controller = search.controller()
    assert isinstance(controller, SupernetController)
    data = search.task.load_data(**search.spec.data)
    folder = Path(config["root"]) / config["folder"]
    found: list[dict[str, Any]] = []
    for number in range(controller.supernets):
        found += _one(config, search, controller, data, number, folder / str(number), ranks)
    if ranks.first:
        say_found(config, {"derived": found})


def _one(
    config: Mapping[str, Any],
    search: Search,
    controller: SupernetController,
    data: Data,
    number: int,
    folder: Path,
    ranks: GroupRanks,
) -> list[dict[str, Any]]:
    """Train one supernet; what was read off it, as JSON."""
    seed = stream_seed(controller.seed, _SUPERNET, number)
    # Weights are drawn from torch's global numbers, which must be the same on every rank and in every job.
    with isolated_randomness(seed, ranks.device), typed_memory_errors(ranks.device):
        one = make_search(
            controller.search,
            controller.settings,
            search.space.unwrapped,
            search.shape,
            data.train,
            seed=seed,
            device=ranks.device,
            ranks=ranks,
        )
        identity = _identity(search, controller, seed, one, data)
        if (folder / CHECKPOINT_NAME).exists():
            one.load(load_checkpoint(folder / CHECKPOINT_NAME, identity, ranks.device))
        for record in one.progress.curve:
            _say(config, number, record, ranks)
        while one.progress.epoch < one.epochs:
            record = one.run()
            if ranks.first:
                save_checkpoint(folder / CHECKPOINT_NAME, identity, one.state())
            _say(config, number, record, ranks)
        if (folder / FOUND).exists():
            known: list[dict[str, Any]] = json.loads((folder / FOUND).read_text(encoding="utf-8"))
            return known
        read = [_read(number, each) for each in one.discretize()]
    if ranks.first:
        _write(folder / FOUND, read)
    return read


def _say(config: Mapping[str, Any], number: int, record: Mapping[str, float], ranks: GroupRanks) -> None:
    if ranks.first:
        say_epoch(config, {"supernet": float(number), **record})


def _identity(search: Search, controller: SupernetController, seed: int, one: SupernetSearch, data: Data) -> str:
    facts = {
        "search": controller.search,
        "settings": controller.settings,
        "space": search.space.unwrapped.fingerprint,
        "seed": seed,
        "epochs": one.epochs,
        "data": data.fingerprint(),
    }
    return canonical_json(facts)


def _read(number: int, found: Discretization) -> dict[str, Any]:
    """What was read off, as JSON; a strength that there is none of is null."""
    strengths = strengths_table([found]).to_dict("list")
    strengths["strength"] = [None if math.isnan(value) else value for value in strengths["strength"]]
    return {"supernet": number, "method": found.method, "genotype": list(found.genotype), "strengths": strengths}


def _write(path: Path, value: Any) -> None:
    """Write JSON so that the file is whole or missing."""
    staging = path.with_name(f".{path.name}")
    staging.write_text(json.dumps(value), encoding="utf-8")
    staging.replace(path)
