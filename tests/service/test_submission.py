"""Submitting, when several do it at once, again, or to a service that had no space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from xnas_ray.service.full_disk import NO_SPACE
from xnas_ray.spec import SearchSpec
from xnas_ray.store import StoreWriter
from xnas_ray.store.reader import list_searches
from xnas_ray.tasks.bundle import bundle_task

NOOP = Path(__file__).parents[1] / "system" / "tasks" / "noop"
SEARCH = "01HF7YAT000123456789ABCDEF"


def arguments(root: Path, key: str, **spec: Any) -> tuple[Any, ...]:
    given = SearchSpec.from_mapping({"task": "noop", "seed": 1, "budget": {"trials": 2}, **spec})
    return 1, given.to_json(), bundle_task(NOOP, root).hash, key


def test_the_same_key_several_times_at_once_is_one_search(shared_service) -> None:
    """A client that waited too long asks again while its first question is still being answered."""
    head, root = shared_service.head, shared_service.root
    given = arguments(root, "at once")
    calls = [head.submit.remote(*given) for _ in range(5)]
    looks = [head.status.remote(None) for _ in range(20)]  # others may look while rows are on their way to the disk
    assert len(set(ray.get(calls, timeout=60))) == 1
    assert all(isinstance(found, list) for found in ray.get(looks, timeout=60))
    assert (list_searches(root)["idempotency_key"] == "at once").sum() == 1


def test_what_was_refused_may_be_corrected_under_its_key(shared_service) -> None:
    head, root = shared_service.head, shared_service.root
    for _ in range(2):
        with pytest.raises(ray.exceptions.RayTaskError, match="random_searhc"):
            ray.get(head.submit.remote(*arguments(root, "corrected", controller="random_searhc")), timeout=60)
    search = ray.get(head.submit.remote(*arguments(root, "corrected")), timeout=60)
    assert shared_service.wait(search)["state"] == "finished"


def test_a_search_that_was_paused_for_lack_of_space_goes_on_with_the_next_head(service, root, played_search) -> None:
    """The head that paused it died before there was space; the one that starts could write."""
    with StoreWriter.open(root) as writer:
        played = played_search(writer, NOOP, SEARCH, {"budget": {"trials": 3}})
        played.state("paused", f"{NO_SPACE}: No space left on device.")
    assert service().wait(SEARCH)["counts"]["completed"] == 3


def test_a_search_that_somebody_paused_stays_paused(service, root, played_search) -> None:
    with StoreWriter.open(root) as writer:
        played_search(writer, NOOP, SEARCH, {"budget": {"trials": 3}}).state("paused", "on request")
    one = service()
    assert one.wait(SEARCH)["state"] == "paused"
