"""The data of a report, from the store and the spaces that were searched."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from xnas_ray import __version__
from xnas_ray.errors import XnasError
from xnas_ray.report.material import Material, read_material
from xnas_ray.report.page import packed
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.service.resolve import open_search


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
    searches = [_searched(root, one) for one in materials.values()]
    now = datetime.datetime.now(datetime.UTC)
    return packed(report_payload(searches, version=__version__, made_at=now))


def _searched(root: Path, material: Material) -> Searched:
    try:
        space = open_search(root, material.card).space
    except XnasError as error:
        return Searched(material, note=f"its architectures are not drawn: {error}")
    return Searched(material, space.graphs, space.choices)
