"""The nodes of the Ray cluster, as the scheduler hears of them: who comes, who is about to leave, who is gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray

from xnas_ray import messages as m
from xnas_ray.service.draining import departures, draining_nodes
from xnas_ray.service.settings import HeadSettings

log = logging.getLogger(__name__)


class Nodes:
    """Looks at the cluster and tells what has changed since the last look.

    Args:
        settings: how much of a node is ours, how long trials may take to make a checkpoint.
        post: gives the scheduler an event.
        lost: ids of nodes that are gone, to be kept up to date: their workers do not answer any more.
    """

    def __init__(self, settings: HeadSettings, post: Callable[[Callable[[float], m.Event]], None], lost: set[str]):
        """No node is known."""
        self._settings = settings
        self._post = post
        self._lost = lost
        self._known: set[str] = set()
        self._leaving: set[str] = set()

    async def look(self) -> None:
        """Ask Ray, which may take for ever to answer: whoever calls sets a limit."""
        loop = asyncio.get_running_loop()
        nodes = await loop.run_in_executor(None, ray.nodes)
        deadlines = await loop.run_in_executor(None, draining_nodes)
        alive = {n["NodeID"]: n["Resources"] for n in nodes if n["Alive"]}
        for node_id in sorted(self._known - set(alive)):
            self._lost.add(node_id)
            self._post(partial(m.NodeLeft, node_id=node_id))
        for node_id in sorted(set(alive) - self._known):
            cpus, gpus = self._ours(alive[node_id])
            self._post(partial(m.NodeJoined, node_id=node_id, cpus=cpus, gpus=gpus))
        for node_id in sorted(set(deadlines) - self._leaving):
            log.info("node %s leaves: its trials finish, or checkpoint and move", node_id)
        checkpoint_s = self._settings.scheduler.kill_after_s + 2 * self._settings.nodes_every_s
        for node_id, checkpoint in departures(deadlines, time.time(), checkpoint_s):
            self._post(partial(m.NodeDraining, node_id=node_id, checkpoint=checkpoint))
        self._known, self._leaving = set(alive), set(deadlines)

    def _ours(self, resources: dict[str, Any]) -> tuple[float, float]:
        """CPUs and GPUs of a node that this service may use."""
        limits = {"CPU": self._settings.cpus_per_node, "GPU": self._settings.gpus_per_node}
        cpus, gpus = (
            resources.get(name, 0.0) if limit is None else min(resources.get(name, 0.0), limit)
            for name, limit in limits.items()
        )
        return cpus, gpus
