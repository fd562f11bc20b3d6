"""A service under fire, as a program of its own, so that a test can kill it with everything that it started.

Usage: fault_driver.py ROOT start SEED KILLS TRIALS | fault_driver.py ROOT resume SEARCH_ID

``start`` brings up a cluster of a head node and worker nodes, submits one search and kills, in a seeded order, workers,
controller hosts, heads and nodes; it prints one JSON line for every kill, and then waits to be killed itself.
``resume`` starts the next service on the same store and waits until the search has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil

NODES = 3
CPUS = 2
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 2,
}
PACE = "2"  # so slow that the trials outlast the kills
NAMES = {"worker": "ray::WorkerActor", "host": "ray::ControllerHost", "head": "ray::Head"}


def say(**facts: Any) -> None:
    """One line for the test."""
    print(json.dumps(facts), flush=True)


def actors(kind: str) -> list[psutil.Process]:
    """Processes of one kind of actor in this driver's cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(NAMES[kind]):
                found.append(process)
    return sorted(found, key=lambda p: p.pid)


class Battlefield:
    """The cluster and the ways to hurt it."""

    def __init__(self, seed: int) -> None:
        from ray.cluster_utils import Cluster

        self.random = random.Random(seed)
        arguments = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
        self.cluster = Cluster(initialize_head=True, head_node_args=arguments)
        self.nodes = [self.cluster.add_node(num_cpus=CPUS) for _ in range(NODES)]

    def strike(self, kind: str) -> bool:
        """SIGKILL one of a kind; whether there was one."""
        if kind == "node":
            victim = self.nodes.pop(self.random.randrange(len(self.nodes)))
            self.cluster.remove_node(victim, allow_graceful=False)
            self.nodes.append(self.cluster.add_node(num_cpus=CPUS))
            return True
        alive = actors(kind)
        if not alive:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.random.choice(alive).kill()
        return True


def status(head: Any, search_id: str) -> dict[str, Any] | None:
    """The search's status, None while the head is being restarted."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        return ray.get(head.status.remote(search_id), timeout=20)[0]
    except (RayActorError, GetTimeoutError):
        return None


def start(root: Path, seed: int, kills: dict[str, int], trials: int) -> None:
    """See the module."""
    from xnas_ray.service.bring_up import set_environment, start_head
    from xnas_ray.service.settings import HeadSettings
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    set_environment(root)
    os.environ["STEPS_PACE"] = PACE
    import ray

    field = Battlefield(seed)
    ray.init(address=field.cluster.address, namespace="xnas", log_to_driver=False, logging_level="ERROR")
    head = start_head(root, HeadSettings(nodes_every_s=0.5))
    info = bundle_task(Path(__file__).parent / "tasks" / "steps", root)
    controller = {"name": "regularized_evolution", "params": {"population": 40, "sample": 10}}
    spec = SearchSpec.from_mapping({"task": "steps", "controller": controller, "budget": {"trials": trials}, "seed": 7})
    search_id = ray.get(head.submit.remote(1, spec.to_json(), info.hash, "fault-test"), timeout=120)
    say(search_id=search_id)
    order = [kind for kind, count in kills.items() for _ in range(count)]
    field.random.shuffle(order)
    while order:
        now = status(head, search_id)
        done = now["counts"]["completed"] if now else None
        if done is not None and now["state"] != "running":
            say(ended_early=now["state"], left=order)
            break
        share = 1 - len(order) / sum(kills.values())
        if done is not None and done >= 10 and done >= 0.6 * trials * share:
            kind = order[-1]
            if field.strike(kind):
                order.pop()
                say(killed=kind, done=done)
        time.sleep(field.random.uniform(0.1, 0.6))
    say(killed_all=True)
    time.sleep(3600)


def resume(root: Path, search_id: str) -> None:
    """See the module."""
    import ray

    from xnas_ray.service.bring_up import start_head, start_local

    with start_local(root, cpus=4):
        head = start_head(root)
        while (final := ray.get(head.wait.remote(search_id, 60.0))) is None:
            say(counts=ray.get(head.status.remote(search_id))[0]["counts"])
        say(final=final["state"], counts=final["counts"])
        ray.get(head.stop.remote())


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if sys.argv[2] == "start":
        start(Path(sys.argv[1]), int(sys.argv[3]), json.loads(sys.argv[4]), int(sys.argv[5]))
    else:
        resume(Path(sys.argv[1]), sys.argv[3])
