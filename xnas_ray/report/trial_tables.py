"""Explanations that come of the trials, as a report reads them; tables of these names may be a controller's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xnas_ray.explain.objective_motifs import AGREEMENTS, DIFFERENCES, EFFECTS, SCORES
from xnas_ray.explain.operation_effects import KIND as OPERATIONS
from xnas_ray.report.material import Material

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    EFFECTS: (
        *("motif", "cell", "layer", "occurrence", "text", "metric", "whole", "whole_posterior_std"),
        *("support", "architectures"),
    ),
    DIFFERENCES: ("motif", "cell", "occurrence", "text", "metric", "with", "without", "difference", "low", "high", "p"),
    AGREEMENTS: ("first", "second", "motifs", "architectures", "spearman", "p"),
    SCORES: ("first_trial", "metric", "score"),
    OPERATIONS: ("metric", "choice", "option", "effect"),
}
"""What a table of each kind has at least; another one of that name is shown as the table that it is."""


def trial_table(material: Material, kind: str) -> pd.DataFrame | None:
    """A table of a search; None where it has none with these columns."""
    table = material.tables.get(kind)
    return table if table is not None and len(table) and set(COLUMNS[kind]) <= set(table) else None


def kinds(material: Material) -> frozenset[str]:
    """Those that a search has."""
    return frozenset(kind for kind in COLUMNS if trial_table(material, kind) is not None)
