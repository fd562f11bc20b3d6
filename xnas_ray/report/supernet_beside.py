"""Which supernet says something of a search: its own, or one over the same space and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xnas_ray.errors import XnasError
from xnas_ray.report.material import Material, read_material
from xnas_ray.report.supernets import STRENGTHS
from xnas_ray.store import load_spec
from xnas_ray.store.layout import Layout
from xnas_ray.store.reader import search_records


def supernet_beside(root: Path | str, material: Material, shown: Sequence[Material]) -> Material | None:
    """The search whose table of strengths is set against a search's motifs.

    Its own comes first, then those that are shown with it, then others of the store, the newest first.

    Args:
        root: folder of the store.
        material: the search.
        shown: searches of the same report.

    Returns:
        One of the same task and space that has strengths; None where there is none. A search of the store that cannot
        be read is passed over.
    """
    for one in (material, *shown):
        if STRENGTHS in one.tables and _same(one.card, material.card):
            return one
    if STRENGTHS not in Layout(root).explanation_kinds():
        return None
    known = {one.search_id for one in shown}
    records = sorted(search_records(root), key=lambda record: record["submitted_at"], reverse=True)
    for record in records:
        other = str(record["search_id"])
        if other in known or not Layout(root).table(f"explanations/{STRENGTHS}", other).is_dir():
            continue
        try:
            if _same(load_spec(root, other), material.card):
                return read_material(root, other)
        except XnasError:
            continue
    return None


def _same(card: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two searches are over the same space and task, by their names."""
    return all(card.get(name) is not None and card.get(name) == other.get(name) for name in ("task", "space"))
