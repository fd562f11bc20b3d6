"""Names of differentiable searches, and whether settings fit before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from xnas_ray.errors import SpecError
from xnas_ray.registry import Registry, build
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.supernets.base import SupernetSearch
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split
from xnas_ray.training.ranks import ALONE, Ranks

SEARCHES: Registry[SupernetSearch] = Registry(
    "differentiable search",
    {
        "darts": "xnas_ray.supernets.darts",
        "dmasking": "xnas_ray.supernets.dmasking",
        "pc_darts": "xnas_ray.supernets.pc_darts",
    },
)
"""Differentiable searches by name; another is named ``"package.module:Class"``."""

register_search = SEARCHES.register

_NAME = "controller.name"
_SAMPLES = 16
_DATA = ("batch_size", "weight_share")


def make_search(
    name: str,
    params: Mapping[str, Any],
    space: Space,
    shape: DataShape,
    train: Split,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    ranks: Ranks = ALONE,
) -> SupernetSearch:
    """A differentiable search on its data.

    Args:
        name: registered name.
        params: its settings, and of its data ``batch_size`` and ``weight_share``.
        space: what is searched, whole.
        shape: of the task's data.
        train: the training split.
        seed: of everything random.
        device: where it runs.
        ranks: the processes that share the work.

    Raises:
        UnknownNameError: no such search, or none with such a setting.
        SpecError: a setting is out of range, or does not fit the space or the data.
    """
    kind = SEARCHES.get(name, field=_NAME)
    own = {key: value for key, value in params.items() if key not in _DATA}
    data = SearchData(train, seed=seed, ranks=ranks, device=device, **_data_settings(kind, params))
    given = {"seed": seed, "device": device, "ranks": ranks}
    return build(kind, own, space, shape, data, what=f"differentiable search {name!r}", field="controller", **given)


def _data_settings(kind: type[SupernetSearch], params: Mapping[str, Any]) -> dict[str, Any]:
    size = params.get("batch_size", kind.BATCH_SIZE)
    share = params.get("weight_share", kind.WEIGHT_SHARE)
    if isinstance(size, bool) or not isinstance(size, int) or size < 2:
        raise SpecError(f"must be a whole number of at least 2, got {size!r}.", field="controller.params.batch_size")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise SpecError(f"must lie between 0 and 1, got {share!r}.", field="controller.params.weight_share")
    return {"batch_size": size, "weight_share": float(share)}


def check_settings(name: str, params: Mapping[str, Any], space: Space, shape: DataShape) -> None:
    """Make the search once, on a few samples that are zeros: whatever does not fit is said now, not by the job.

    Raises:
        UnknownNameError: no such search, or none with such a setting; the space has no supernet.
        SpecError: a setting is out of range, or does not fit the space.
    """
    _data_settings(SEARCHES.get(name, field=_NAME), params)
    targets = torch.zeros(_SAMPLES, dtype=torch.int64 if shape.kind == "classification" else torch.float32)
    split = Split(tuple(torch.zeros(_SAMPLES, *one) for one in shape.inputs), targets)
    make_search(name, {**params, "batch_size": _SAMPLES // 4, "weight_share": 0.5}, space, shape, split, seed=0)
