"""A small Ray cluster and the ways to hurt it; for the programs of this folder, which tests start and kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
from pathlib import Path
from typing import Any

import psutil

TASKS = Path(__file__).parent / "tasks"
NODES = 3
CPUS = 2
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 2,
}
NAMES = {"worker": ("ray::xnas:", "ray::WorkerActor"), "host": "ray::HostActor", "head": "ray::Head"}
BLOCK_BYTES = 1 << 20
NODE_TRIES = 4


def say(**facts: Any) -> None:
    """One line for the test."""
    print(json.dumps(facts), flush=True)


def actors(kind: str) -> list[psutil.Process]:
    """Processes of one kind of actor in this program's cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(NAMES[kind]):
                found.append(process)
    return sorted(found, key=lambda p: p.pid)


class Battlefield:
    """A head node without CPUs and worker nodes; this process is connected to it.

    Args:
        seed: of what is struck.
        disk: a file system that can be filled, None if there is none.
    """

    def __init__(self, seed: int, disk: Path | None = None) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self.random = random.Random(seed)
        self.ballast = disk / "ballast" if disk is not None else None
        arguments = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
        self.cluster = Cluster(initialize_head=True, head_node_args=arguments)
        self.nodes = [self.cluster.add_node(num_cpus=CPUS) for _ in range(NODES)]
        ray.init(address=self.cluster.address, namespace="xnas", log_to_driver=False, logging_level="ERROR")

    def strike(self, kind: str) -> bool:
        """Kill one of a kind at once, or fill the disk; whether there was one."""
        if kind == "disk":
            return self._fill()
        if kind == "node":
            victim = self.nodes.pop(self.random.randrange(len(self.nodes)))
            self.cluster.remove_node(victim, allow_graceful=False)
            self.nodes.append(self._new_node())
            return True
        alive = actors(kind)
        if not alive:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.random.choice(alive).kill()
        return True

    def _new_node(self) -> Any:
        """Another node; Ray gives one 30 s to come up, which a busy machine may not."""
        for _ in range(NODE_TRIES - 1):
            with contextlib.suppress(Exception):  # that is what Ray raises
                return self.cluster.add_node(num_cpus=CPUS)
        return self.cluster.add_node(num_cpus=CPUS)

    def _fill(self) -> bool:
        """Take all the space of the disk, to the last byte."""
        if self.ballast is None or self.ballast.exists():
            return False
        with self.ballast.open("wb", buffering=0) as file:
            for size in (BLOCK_BYTES, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        return True

    def free(self) -> None:
        """Give the space of the disk back."""
        if self.ballast is not None:
            self.ballast.unlink(missing_ok=True)


def status(head: Any, search_id: str | None = None) -> list[dict[str, Any]] | None:
    """Status of a search, or of all live ones; None while the head is being restarted."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        return list(ray.get(head.status.remote(search_id), timeout=20))
    except (RayActorError, GetTimeoutError):
        return None


def prepare(root: Path) -> None:
    """Make Ray's settings explicit before it is imported."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from xnas_ray.service.bring_up import set_environment

    set_environment(root)
