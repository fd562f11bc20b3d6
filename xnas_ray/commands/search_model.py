"""How far a search's model can be trusted: ``xnas explain ID --model``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import MAX_WIDTH, clean, say, say_drawn, say_json, table
from xnas_ray.commands.explanation_tables import records
from xnas_ray.errors import ExplanationError

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle

SURROGATE = "surrogate"
TRANSFER = "transfer"


def explain_model(handle: SearchHandle, as_json: bool) -> None:
    """Print how well a search's model predicts, and what it learnt from other searches.

    Args:
        handle: the search.
        as_json: print it as JSON.

    Raises:
        ExplanationError: its controller has no model.
    """
    surrogate = handle.explanations(SURROGATE)
    taken = _table_if_any(handle, TRANSFER)
    if as_json:
        say_json({SURROGATE: records(surrogate), TRANSFER: [] if taken is None else records(taken)})
        return
    rows = surrogate.iloc[0]
    say(f"each outcome predicted from the other {rows['observations'] - 1}")
    columns = ("metric", "rank correlation", "in 90% interval", "kernel: WL", "depth", "noise")
    say_drawn(
        table(
            columns,
            [
                (
                    clean(row["metric"]),
                    f"{row['spearman']:.2f}",
                    f"{row['coverage_90']:.0%}",
                    f"{row['wl_share']:.0%}",
                    f"{row['depth']:.1f}",
                    f"{row['noise_ratio']:.2g}",
                )
                for row in records(surrogate)
            ],
            width=MAX_WIDTH,
        )
    )
    if taken is not None:
        say("\nlearnt from other searches")
        say_drawn(
            table(
                ("metric", "search", "form", "weight", "rank correlation"),
                map(_taken, records(taken)),
                width=MAX_WIDTH,
            )
        )


def _taken(row: dict[str, Any]) -> tuple[str, ...]:
    """Of a source: its weight is its share of the model's prior mean, as far as any source is trusted."""
    if row["form"] == "motifs":
        return clean(row["metric"]), clean(row["source"]), f"{row['motifs']} good motifs", "", ""
    weight = f"{row['weight']:.2f} x {row['trust']:.0%}"
    return clean(row["metric"]), clean(row["source"]), "prior", weight, f"{row['correlation']:.2f}"


def _table_if_any(handle: SearchHandle, kind: str) -> pd.DataFrame | None:
    try:
        return handle.explanations(kind)
    except ExplanationError:  # a search that learnt from no other has no such table
        return None
