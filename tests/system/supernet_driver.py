"""A node dies while a supernet is trained on it: a Ray of a head and three nodes as a program of its own.

Usage: supernet_driver.py ROOT

Prints one JSON line: the search's id, and the epoch that was reached when the node died.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Any

import psutil
from battlefield import prepare, say, status
from drain_driver import until

DIGITS = Path(__file__).parents[2] / "experiments" / "digits"
EPOCHS = 25
SPEC = {
    "task": "digits",
    "space": {"name": "nasbench201", "params": {"channels": 4, "cells_per_stage": 1, "stages": 1}},
    "controller": {"name": "darts", "params": {"epochs": EPOCHS, "order": 1, "batch_size": 128}},
    "objectives": ["val_accuracy"],
    "fidelity": 1,
    "budget": {"trials": 2},
    "resources": {"cpus": 1, "workers": 2},
    "seed": 7,
}


def main(root: Path) -> None:
    """See the module."""
    prepare(root)
    import ray
    from ray.cluster_utils import Cluster

    from xnas_ray.scheduler import SchedulerConfig
    from xnas_ray.service.bring_up import start_head
    from xnas_ray.service.settings import HeadSettings
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
    ray.init(address=cluster.address, namespace="xnas", log_to_driver=False, logging_level="ERROR")
    head = start_head(root, HeadSettings(nodes_every_s=0.2, scheduler=SchedulerConfig(kill_after_s=3.0)))
    spec = SearchSpec.from_mapping(SPEC)
    search_id = ray.get(head.submit.remote(1, spec.to_json(), bundle_task(DIGITS, root).hash), timeout=120)

    def epoch() -> int:
        found = re.search(r"epoch (\d+)", status(head, search_id)[0]["reason"])
        return int(found.group(1)) if found else 0

    until(lambda: epoch() >= 3, 180.0)
    victim = next(iter(used(raylets)))
    reached = epoch()
    cluster.remove_node(victim, allow_graceful=False)
    until(lambda: status(head, search_id)[0]["state"] in ("finished", "failed"), 240.0)
    say(search_id=search_id, reached=reached)
    ray.get(head.stop.remote(), timeout=60)
    ray.shutdown()
    cluster.shutdown()


def used(raylets: dict[int, Any]) -> list[Any]:
    """Nodes on which ranks run."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in "".join(process.cmdline()) and process.ppid() in raylets:
                found.append(raylets[process.ppid()])
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
