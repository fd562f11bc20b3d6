"""Nodes leave while trials run on them: a Ray of a head and three nodes as a program of its own.

Usage: drain_driver.py ROOT

The first node is given time: its trial finishes there. The second has time for a checkpoint alone: its trial moves.
Prints one JSON line for each, and the search's id at the end.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from battlefield import prepare, say, status

PACED = Path(__file__).parents[1] / "slurm" / "tasks" / "paced"
TRIALS = 30


def until(what: Any, timeout_s: float = 90.0) -> Any:
    """Wait until something holds."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := what():
            return found
        time.sleep(0.05)
    raise SystemExit("timed out")


def main(root: Path) -> None:
    """See the module."""
    prepare(root)
    pace = root.parent / "pace"
    pace.write_text("300")
    os.environ["XNAS_TEST_PACE"] = str(pace)
    import ray
    from ray.cluster_utils import Cluster

    from xnas_ray.scheduler import SchedulerConfig
    from xnas_ray.service.bring_up import start_head
    from xnas_ray.service.draining import drain_node, draining_nodes
    from xnas_ray.service.settings import HeadSettings
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for number in range(3):
        cluster.add_node(num_cpus=1, labels={"slurm_job": str(number)})
    ray.init(address=cluster.address, namespace="xnas", log_to_driver=False, logging_level="ERROR")
    head = start_head(root, HeadSettings(nodes_every_s=0.2, scheduler=SchedulerConfig(kill_after_s=3.0)))
    info = bundle_task(PACED, root)
    spec = SearchSpec.from_mapping({"task": "paced", "budget": {"trials": TRIALS}, "resources": {"cpus": 1}, "seed": 7})
    search_id = ray.get(head.submit.remote(1, spec.to_json(), info.hash), timeout=120)

    def alive(number: int) -> bool:
        nodes = ray.nodes()
        return any(node["Alive"] and node["Labels"].get("slurm_job") == str(number) for node in nodes)

    def counts() -> dict[str, int]:
        return status(head, search_id)[0]["counts"]

    for number, within_s in enumerate((60.0, 5.0)):
        until(lambda left=3 - number: counts()["running"] == left)
        assert drain_node(cluster.address, {"slurm_job": str(number)}, time.time() + within_s)
        (deadline,) = draining_nodes().values()
        if number == 0:  # what runs there, and elsewhere, ends by itself in a moment
            time.sleep(1.0)
            pace.write_text("0.5")
        until(lambda number=number: not alive(number))
        left_s = deadline - time.time()
        until(lambda: counts()["completed"])  # of the node that had time: the outcome may become durable a moment later
        say(node=number, ended_before_the_deadline_s=left_s, completed=counts()["completed"])
        pace.write_text("300")
    pace.write_text("0.05")
    until(lambda: status(head, search_id)[0]["state"] == "finished")
    say(search_id=search_id)
    ray.get(head.stop.remote(), timeout=60)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
