"""Tables of explanations as they are stored: ``xnas explain ID --kind KIND``, and all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import clean, say, say_json, say_table
from xnas_ray.commands.joint import say_joint

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle

SHOWN = 20
"""Rows of a table that is one of several."""


def explain_kind(handle: SearchHandle, kind: str, as_json: bool) -> None:
    """Print one table as it is.

    Args:
        handle: the search.
        kind: name of the table.
        as_json: print it as JSON.

    Raises:
        ExplanationError: the search has no such table.
    """
    found = handle.explanations(kind).drop(columns="search_id", errors="ignore")
    if as_json:
        say_json(records(found))
        return
    say_frame(found)


def explain_kinds(handle: SearchHandle, kinds: Sequence[str], number: int, as_json: bool) -> None:
    """Print every table of a search whose controller learns no motifs: what it has to say, and what its trials say.

    Args:
        handle: the search.
        kinds: names of its tables.
        number: rows of each table of ``--joint`` at most.
        as_json: print all of them as JSON.
    """
    from xnas_ray.report.trial_tables import COLUMNS

    # Too wide for a terminal, where something else says what they come to.
    shown = kinds if as_json else [kind for kind in kinds if kind not in COLUMNS]
    found = {kind: handle.explanations(kind).drop(columns="search_id", errors="ignore") for kind in shown}
    if as_json:
        say_json({kind: records(one) for kind, one in found.items()})
        return
    if set(COLUMNS) & set(kinds):
        say_joint(handle, number, as_json)
    for kind, one in found.items():
        say(f"\n{clean(kind)}")
        say_frame(one.head(SHOWN))
        if len(one) > SHOWN:
            say(f"… {len(one) - SHOWN} more rows: --kind {clean(kind)}")


def say_frame(found: pd.DataFrame) -> None:
    """Print a table, texts first, then counts, then numbers."""
    columns = sorted(found.columns, key=lambda name: (found[name].dtype.kind == "f", found[name].dtype.kind in "iu"))
    texts = [[_text(value) for value in row] for row in found[columns].itertuples(index=False)]
    say_table([clean(name) for name in columns], texts)


def _text(value: object) -> str:
    """A cell of a table: numbers short, what there is none of empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None or str(value) == "<NA>" else clean(str(value))


def records(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows without the id of the search, which is always the same."""
    return found.drop(columns=["search_id"], errors="ignore").to_dict("records")
