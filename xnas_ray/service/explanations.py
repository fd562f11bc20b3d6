"""Explanations of a search, with or without a service: as they were stored, or derived again from its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.service.archive import stored_card, trial_record
from xnas_ray.service.host import ControllerHost
from xnas_ray.service.resolve import open_search

if TYPE_CHECKING:
    import pandas as pd


def derived_explanations(root: Path, search_id: str) -> dict[str, pd.DataFrame]:
    """What a search's controller says after it is told all that the store knows, by kind.

    A controller's state is a function of its seed and its rows, so this is what it would have said itself.

    Raises:
        SearchNotFoundError: no such search.
        XnasError: its task bundle was changed or cannot be imported.
    """
    host = ControllerHost(str(root))
    host.open(search_id, stored_card(root, search_id))
    return host.explain(search_id)


def trial_graphs(root: Path, search_id: str, trial: int) -> tuple[str, dict[str, Any]]:
    """A finished trial's architecture as the field writes it, and its graphs by cell type (see ``Space.graphs``).

    Raises:
        SearchNotFoundError: no such search.
        StoreError: it has no such finished trial.
        XnasError: its task bundle was changed or cannot be imported.
    """
    record = trial_record(root, search_id, trial)
    space = open_search(root, stored_card(root, search_id)).space
    return record["architecture"], dict(space.graphs(tuple(record["genotype"])))
