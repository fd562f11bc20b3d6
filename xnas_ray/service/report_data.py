"""The data of a report, from the store and the spaces that were searched."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xnas_ray import __version__
from xnas_ray.errors import XnasError
from xnas_ray.explain.measured_architectures import Trial
from xnas_ray.messages import SearchState, TrialStatus
from xnas_ray.report.material import Material, read_material
from xnas_ray.report.page import packed
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.report.supernet_beside import supernet_beside
from xnas_ray.report.trial_tables import kinds
from xnas_ray.service.resolve import Search, open_search
from xnas_ray.service.trial_explanations import trial_explanations


def report_data(root: Path, search_ids: Sequence[str]) -> bytes:
    """What the page of these searches shows, as it reads it (see ``report.page.packed``).

    The code of their tasks is imported, for it says what architectures look like. Where that is not possible the report
    says so and shows them as text.

    Args:
        root: folder of the store.
        search_ids: ids, unique prefixes of some, or ``"latest"``; one that is named twice is shown once.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    materials = {one.search_id: one for one in (read_material(root, search_id) for search_id in search_ids)}
    searches = [_searched(root, one, list(materials.values())) for one in materials.values()]
    now = datetime.datetime.now(datetime.UTC)
    return packed(report_payload(searches, version=__version__, made_at=now))


def _searched(root: Path, material: Material, shown: Sequence[Material]) -> Searched:
    try:
        search = open_search(root, material.card)
    except XnasError as error:
        return Searched(material, note=f"its architectures are not drawn: {error}")
    supernet = supernet_beside(root, material, shown)
    return Searched(_explained(material, search), search.space.graphs, search.space.choices, supernet=supernet)


def _explained(material: Material, search: Search) -> Material:
    """A search with what its trials say: as it was stored at the end, computed before that and where it was not."""
    ended = SearchState(material.record["state"]).ended
    if ended and kinds(material):
        return material
    names = [aim.name for aim in material.aims]
    fidelities = material.trials["fidelity"].to_numpy(dtype=int)
    genotypes = list(material.trials["genotype"])
    trials = [
        Trial(int(material.numbers[i]), tuple(genotypes[i]), int(fidelities[i]), _of(material, names, i))
        for i in range(len(genotypes))
        if material.trials["status"].iloc[i] == TrialStatus.COMPLETED
    ]
    maximize = {aim.name: aim.maximize for aim in material.aims}
    said = trial_explanations(search.space, trials, maximize, seed=search.spec.seed or 0)
    return replace(material, tables={**said, **material.tables} if ended else {**material.tables, **said})


def _of(material: Material, names: Sequence[str], row: int) -> dict[str, float]:
    """The objectives of a trial, those that it has."""
    return {name: float(material.metrics[name][row]) for name in names if name in material.metrics}
