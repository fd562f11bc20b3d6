"""What a job of ranks notes about its places, and that they are freed; jobs themselves run in the tests of searches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from xnas_ray.service import ranks_job


def group_id() -> ray.PlacementGroupID:
    return ray.PlacementGroupID.of(ray.JobID.from_int(1))


@pytest.fixture
def removed(monkeypatch) -> list[str]:
    """Ids of the groups that were removed."""
    found: list[str] = []
    monkeypatch.setattr(ranks_job, "remove_placement_group", lambda group: found.append(group.id.hex()))
    return found


def test_ranks_note_their_places_and_these_are_freed_once(monkeypatch, tmp_path, removed):
    first, second = group_id(), group_id()
    ran = []
    for own in (first, first, second):  # two ranks, and one of them after a restart of the job
        monkeypatch.setattr(ranks_job, "get_current_placement_group", lambda own=own: SimpleNamespace(id=own))
        ranks_job._placed(ran.append, {ranks_job._SCRATCH: str(tmp_path), "x": 1})
    assert [config["x"] for config in ran] == [1, 1, 1]
    ranks_job._free(tmp_path)
    assert removed == sorted([first.hex(), second.hex()]) and not tmp_path.exists()
    ranks_job._free(tmp_path)
    assert len(removed) == 2


@pytest.mark.parametrize("listens", [True, False])
def test_a_driver_that_does_not_listen_is_killed(monkeypatch, tmp_path, removed, listens):
    own, cancelled = group_id(), []
    (tmp_path / ranks_job.GROUPS).write_text(own.hex() + "\n")
    monkeypatch.setattr(ranks_job.ray, "cancel", lambda work, force=False: cancelled.append(force))
    monkeypatch.setattr(ranks_job.ray, "wait", lambda works, timeout: (works, []) if listens else ([], works))
    ranks_job._end("work", tmp_path)
    assert cancelled == ([False] if listens else [False, True]) and removed == [own.hex()]
