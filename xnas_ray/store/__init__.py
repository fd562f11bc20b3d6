"""The store: everything that was proposed, tried and found, as Parquet that any tool can read.

``from xnas_ray.store import load_trials, load_curves, list_searches`` for results as pandas frames. What a name needs
is imported when it is first used; pandas only inside the functions that return frames.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xnas_ray.store.activations import load_activation_classes, load_activations
    from xnas_ray.store.compaction import CompactionReport
    from xnas_ray.store.fence import WriterRecord, current_writer
    from xnas_ray.store.ids import is_search_id, new_search_id
    from xnas_ray.store.layout import Layout
    from xnas_ray.store.reader import (
        list_searches,
        load_curves,
        load_explanations,
        load_log,
        load_spec,
        load_trials,
        resolve_search_id,
    )
    from xnas_ray.store.replay import SearchReplay, unfinished_searches
    from xnas_ray.store.reuse import ReuseIndex
    from xnas_ray.store.rows import CurveRow, LogRow, SearchRow, TrialRow
    from xnas_ray.store.tree_samples import load_tree_samples
    from xnas_ray.store.writer import StoreWriter

__all__ = [
    "CompactionReport",
    "CurveRow",
    "Layout",
    "LogRow",
    "ReuseIndex",
    "SearchReplay",
    "SearchRow",
    "StoreWriter",
    "TrialRow",
    "WriterRecord",
    "current_writer",
    "is_search_id",
    "list_searches",
    "load_activation_classes",
    "load_activations",
    "load_curves",
    "load_explanations",
    "load_log",
    "load_spec",
    "load_tree_samples",
    "load_trials",
    "new_search_id",
    "resolve_search_id",
    "unfinished_searches",
]

_MODULES = {
    "activations": ("load_activation_classes", "load_activations"),
    "compaction": ("CompactionReport",),
    "fence": ("WriterRecord", "current_writer"),
    "ids": ("is_search_id", "new_search_id"),
    "layout": ("Layout",),
    "reader": (
        "list_searches",
        "load_curves",
        "load_explanations",
        "load_log",
        "load_spec",
        "load_trials",
        "resolve_search_id",
    ),
    "replay": ("SearchReplay", "unfinished_searches"),
    "reuse": ("ReuseIndex",),
    "rows": ("CurveRow", "LogRow", "SearchRow", "TrialRow"),
    "tree_samples": ("load_tree_samples",),
    "writer": ("StoreWriter",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
