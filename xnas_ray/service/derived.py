"""What the job of a supernet search has left in the store, as its controller takes it."""

from __future__ import annotations

from pathlib import Path

from xnas_ray.controllers.supernet import Derived
from xnas_ray.service.archive import stored_explanations
from xnas_ray.service.supernet_job import DISCRETIZATION


def derived_architectures(root: Path, search_id: str) -> list[Derived]:
    """Architectures that were read off the search's supernets, in order; none of other searches, and before the end.

    Raises:
        StoreError: a part is damaged.
    """
    table = stored_explanations(root, search_id, DISCRETIZATION)
    if table is None:
        return []
    rows = zip(table["supernet"], table["method"], table["genotype"], strict=True)
    return [Derived(int(number), str(method), tuple(map(int, genotype))) for number, method, genotype in rows]
