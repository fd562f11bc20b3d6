"""A service under fire, as a program of its own, so that a test can kill it with everything that it started.

Usage: fault_driver.py ROOT start SEED KILLS TRIALS | fault_driver.py ROOT resume SEARCH_ID

``start`` brings up a cluster of a head node and worker nodes, submits one search and kills, in a seeded order, workers,
controller hosts, heads and nodes; it prints one JSON line for every kill, and then waits to be killed itself.
``resume`` starts the next service on the same store and waits until the search has ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from battlefield import TASKS, Battlefield, prepare, say, status

PACE = "2"  # so slow that the trials outlast the kills


def start(root: Path, seed: int, kills: dict[str, int], trials: int) -> None:
    """See the module."""
    prepare(root)
    os.environ["STEPS_PACE"] = PACE
    import ray

    from xnas_ray.service.bring_up import start_head
    from xnas_ray.service.settings import HeadSettings
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    field = Battlefield(seed)
    head = start_head(root, HeadSettings(nodes_every_s=0.5))
    info = bundle_task(TASKS / "steps", root)
    controller = {"name": "regularized_evolution", "params": {"population": 40, "sample": 10}}
    spec = SearchSpec.from_mapping({"task": "steps", "controller": controller, "budget": {"trials": trials}, "seed": 7})
    search_id = ray.get(head.submit.remote(1, spec.to_json(), info.hash, "fault-test"), timeout=120)
    say(search_id=search_id)
    order = [kind for kind, count in kills.items() for _ in range(count)]
    field.random.shuffle(order)
    while order:
        now = status(head, search_id)
        done = now[0]["counts"]["completed"] if now else None
        if now and now[0]["state"] != "running":
            say(ended_early=now[0]["state"], left=order)
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
    prepare(root)
    import ray

    from xnas_ray.service.bring_up import start_head, start_local

    with start_local(root, cpus=4):
        head = start_head(root)
        while (final := ray.get(head.wait.remote(search_id, 60.0))) is None:
            say(counts=ray.get(head.status.remote(search_id))[0]["counts"])
        say(final=final["state"], counts=final["counts"])
        ray.get(head.stop.remote())


if __name__ == "__main__":
    if sys.argv[2] == "start":
        start(Path(sys.argv[1]), int(sys.argv[3]), json.loads(sys.argv[4]), int(sys.argv[5]))
    else:
        resume(Path(sys.argv[1]), sys.argv[3])
