"""Placement groups of dead jobs are found and removed; those of living jobs, and of anybody else, stay."""

from __future__ import annotations

import time

import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from xnas_ray.service.abandoned import abandoned_groups, free_abandoned


class TrainController:
    """What Ray Train's actor of this name does to its places."""

    def reserve(self) -> str:
        self.group = placement_group([{"CPU": 0.001}])
        ray.get(self.group.ready())
        return self.group.id.hex()


class Another(TrainController):
    """An actor of somebody else, whose groups are his affair."""


@pytest.fixture
def groups(ray_cluster):
    """Ids of a placement group whose controller died, one whose controller lives, and one of another dead actor."""
    dead, alive, other = (ray.remote(kind).options(num_cpus=0).remote() for kind in (TrainController,) * 2 + (Another,))
    names = ray.get([dead.reserve.remote(), alive.reserve.remote(), other.reserve.remote()])
    for actor in (dead, other):
        ray.kill(actor)
    yield names
    ray.kill(alive)
    for name in names:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))


def test_what_a_dead_job_reserved_is_given_back(groups):
    dead, alive, other = groups
    deadline_s = time.monotonic() + 60
    while dead not in abandoned_groups():
        assert time.monotonic() < deadline_s, "Ray knows that the controller is dead"
        time.sleep(0.1)
    assert not {alive, other} & set(abandoned_groups())
    free_abandoned()
    assert dead not in abandoned_groups()
    states = {name: placement_group_table()[name]["state"] for name in groups}
    assert states == {dead: "REMOVED", alive: "CREATED", other: "CREATED"}
