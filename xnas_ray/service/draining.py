"""Nodes that leave: how one says so, and when the head lets its trials make a checkpoint.

The word goes through Ray itself: a node that is marked as draining gets no further actors, everybody on the cluster
sees until when it stays, and its raylet ends by itself as soon as the last worker has. Ray 2.60 offers this to its own
libraries (Serve, Train, Data) and as ``ray drain-node``; the two private calls are here and nowhere else.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping

PROBE_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0


def departures(deadlines: Mapping[str, float], now: float, checkpoint_s: float) -> list[tuple[str, bool]]:
    """What the scheduler must hear now: (node, whether its trials checkpoint at once instead of finishing), by node.

    Saying it again changes nothing, so it is said at every look: a restarted head learns of its workers only later.

    Args:
        deadlines: UNIX seconds at which each draining node ends, infinite without a limit.
        now: UNIX seconds.
        checkpoint_s: seconds that a checkpoint and the end of a worker may take.
    """
    return [(node_id, deadline - now <= checkpoint_s) for node_id, deadline in sorted(deadlines.items())]


def draining_nodes() -> dict[str, float]:
    """The draining nodes of the Ray that this process is connected to: UNIX seconds at which each ends, by node id."""
    from ray._private.state import state

    return {node_id: at_ms / 1000 if at_ms else math.inf for node_id, at_ms in state.get_draining_nodes().items()}


def drain_node(address: str, labels: Mapping[str, str], deadline: float) -> bool:
    """Mark the living nodes with these labels as draining; the shell that holds them ends them at the deadline.

    Args:
        address: of Ray's head, ``host:port``; the token is that of ``RAY_AUTH_TOKEN_PATH``.
        labels: by which ``ray start --labels`` marked the nodes.
        deadline: UNIX seconds at which they are gone.

    Returns:
        Whether there was such a node, and Ray agreed.

    Raises:
        OSError: nobody listens at the address.
        RuntimeError: Ray does not answer as it should.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PROBE_TIMEOUT_S):  # Ray's client would try for minutes
        pass
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    client = GcsClient(address=address)
    found = [
        node_id.hex()
        for node_id, node in client.get_all_node_info(timeout=CALL_TIMEOUT_S).items()
        if node.state == GcsNodeInfo.GcsNodeState.ALIVE and labels.items() <= dict(node.labels).items()
    ]
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # the one that a busy node cannot refuse
    answers = [
        client.drain_node(node_id, reason, "its job ends", int(deadline * 1000), timeout=CALL_TIMEOUT_S)
        for node_id in found
    ]
    return bool(answers) and all(accepted for accepted, _ in answers)
