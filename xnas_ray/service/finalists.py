"""The test split: measured for finalists alone, once, and kept."""

from __future__ import annotations

from pathlib import Path

from xnas_ray.errors import StoreError
from xnas_ray.service.reports import WEIGHTS_FILE, Assignment
from xnas_ray.store.layout import Layout, attempt_folder
from xnas_ray.store.replay import SearchReplay

KIND = "test"


def stored_test(root: Path, search_id: str, trial: int) -> dict[str, float] | None:
    """What was measured of a trial on the test split, None if nothing was."""
    from xnas_ray.store import load_explanations

    if KIND not in Layout(root).explanation_kinds():
        return None
    table = load_explanations(root, KIND, search_id)
    rows = table[table["trial"] == trial] if len(table) else table
    return dict(zip(rows["metric"], rows["value"], strict=True)) if len(rows) else None


def weights_assignment(layout: Layout, search_id: str, trial: int, history: SearchReplay) -> Assignment:
    """Where the weights of a finished trial are.

    Raises:
        StoreError: the trial has not ended, or its weights are not kept.
    """
    outcome = next((o for o in history.outcomes if o.trial == trial), None)
    if outcome is None:
        raise StoreError(f"trial {search_id}/{trial} has not ended.", field="trial")
    folders = [p.parent for p in (layout.root / f"artifacts/{search_id}/{trial}").glob(f"*/{WEIGHTS_FILE}")]
    if not folders:
        raise StoreError(
            f"no weights are kept of trial {search_id}/{trial}.",
            fix="Search with keep_weights = 'best', 'front' or 'all'.",
        )
    epoch, number = max(tuple(int(x) for x in f.name.split("-")) for f in folders)
    folder = attempt_folder(search_id, trial, (epoch, number))
    return Assignment(search_id, trial, (epoch, number), outcome.candidate, 0, folder)
