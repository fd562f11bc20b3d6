"""Finished searches from which another one learns: what of them a controller is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xnas_ray.controllers.base import Goal, Source
from xnas_ray.errors import GenotypeError, SearchNotFoundError, SpecError
from xnas_ray.messages import TrialStatus
from xnas_ray.service.archive import stored_card, stored_state, trial_records
from xnas_ray.spaces.base import Space
from xnas_ray.store.ids import ALPHABET
from xnas_ray.store.reader import LATEST, resolve_search_id

FIELD = "warm_start"
_ID = re.compile(rf"[{ALPHABET}]{{4,26}}|{LATEST}")


def is_id(text: str) -> bool:
    """Whether an entry of ``warm_start`` names a search: upper-case letters and digits, or ``"latest"``."""
    return _ID.fullmatch(text) is not None


def read_source(root: Path, text: str, space: Space, goals: Sequence[Goal]) -> Source:
    """What a search found, as one that learns from it may use it.

    Args:
        root: folder of the store.
        text: its id, a unique prefix of it, or ``"latest"``.
        space: of the search that learns; the architectures must belong to it.
        goals: of the search that learns; the source must have measured the first one.

    Raises:
        SpecError: there is no such search, it goes on, or it does not fit.
    """
    try:
        search_id = resolve_search_id(root, text)
        state = stored_state(root, search_id)
    except SearchNotFoundError as error:
        raise SpecError(error.message, field=FIELD, fix=error.fix, valid=error.valid) from None
    if not state.ended:
        raise SpecError(f"search {search_id} is {state}.", field=FIELD, fix="Wait until it has ended, or cancel it.")
    theirs = stored_card(root, search_id)["space"]
    if theirs != space.unwrapped.name:
        raise SpecError(
            f"search {search_id} is over {theirs}, this one over {space.unwrapped.name}.",
            field=FIELD,
            fix="Name searches over the same space.",
        )
    records = [r for r in trial_records(root, search_id) if r["status"] == TrialStatus.COMPLETED]
    known = [r for r in records if goals[0].name in r["metrics"]]
    if not known:
        measured = sorted({name for record in records for name in record["metrics"]})
        raise SpecError(f"search {search_id} has not measured {goals[0].name}.", field=FIELD, valid=measured)
    source = Source(search_id, tuple(tuple(r["genotype"]) for r in known), tuple(r["metrics"] for r in known))
    for genotype in source.genotypes:
        try:
            space.unwrapped.check(genotype)
        except GenotypeError as error:
            raise SpecError(f"search {search_id}: {error.message}", field=FIELD, fix=error.fix) from None
    return source


def as_json(source: Source) -> dict[str, Any]:
    """A source as a card keeps it: a search remembers what it learnt from, whatever becomes of the source."""
    return {
        "search_id": source.search_id,
        "genotypes": [list(g) for g in source.genotypes],
        "metrics": [dict(m) for m in source.metrics],
    }


def from_json(found: Iterable[Mapping[str, Any]]) -> tuple[Source, ...]:
    """The sources of a card."""
    return tuple(
        Source(one["search_id"], tuple(tuple(g) for g in one["genotypes"]), tuple(one["metrics"])) for one in found
    )
