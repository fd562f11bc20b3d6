"""Places that jobs of Ray Train have left reserved: nobody else would give them back.

Ray removes a placement group when both the actor that made it and that actor's job are gone, and hears of the job only
once: a group of a job whose driver had left before, as the one who started a head has, stays for ever. Ray Train's own
cleaner asks the dashboard whether its controller lives, which a cluster need not have. So the head looks. What Ray 2.60
tells in public has no creators; the private calls are here and nowhere else.
"""

from __future__ import annotations

import logging

from ray.util.placement_group import PlacementGroup, remove_placement_group

log = logging.getLogger(__name__)

CREATOR = "TrainController"
"""Class of the actor that makes the placement group of a job's ranks and removes it."""


def abandoned_groups() -> list[str]:
    """Ids of the placement groups that a job of Ray Train has made whose controller is dead."""
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    accessor = state._connect_and_get_accessor()
    found = []
    for text in accessor.get_placement_group_table():
        group = PlacementGroupTableData.FromString(text)
        if group.state == PlacementGroupTableData.REMOVED or group.is_detached or not group.creator_actor_dead:
            continue
        creator = state.actor_table(group.creator_actor_id.hex())
        if creator.get("State") == "DEAD" and creator.get("ActorClassName") == CREATOR:
            found.append(group.placement_group_id.hex())
    return sorted(found)


def free_abandoned() -> None:
    """Remove them, and with them the ranks that still run there."""
    import ray

    for name in abandoned_groups():
        log.warning("placement group %s was left by a job that is dead; it is removed", name)
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))
