"""What the job of a supernet search has left in the store, as its controller takes it."""

from __future__ import annotations

from pathlib import Path

from xnas_ray.controllers.supernet import Derived
from xnas_ray.service.archive import stored_explanations

DISCRETIZATION, STRENGTHS, CURVES = "discretization", "strengths", "supernet"
"""Kinds of explanations that a job writes: what becomes candidates, why, and what its epochs were like."""


def has_discretization(root: Path, search_id: str) -> bool:
    """Whether the job of a search has ended well."""
    return stored_explanations(root, search_id, DISCRETIZATION) is not None


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
