"""What the service costs: real digits trainings by a search, and the same ones by a bare loop over the same workers.

``python experiments/performance/service_cost.py`` brings up a service with two workers and lets one search warm them.
Then, in turns and five times, a search trains its candidates through the service (proposals by a controller, rows on
disk before anything counts), and a bare loop hands the very same trainings to the same two worker processes, the next
one as soon as one has ended, and writes nothing. The target is the median over the pairs of their ratio of wall times:
at most 1.03. CPU seconds of all processes stand beside; the trainings' results must agree to the last bit.

The two sides do the same arithmetic, so what the same trainings take in CPU seconds of the two workers tells how fast
the machine was meanwhile: on a virtual one that changes by half within minutes. The wall time for each of these CPU
seconds is shown too. It is free of that, and has in it what a service can cost: workers that wait, and processes that
take the cores from them.

The wall time of a search begins with its submission and ends when the client knows of its end. What lies between the
first training's start and the last one's end is shown too: the difference is paid once a search.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
from measuring import TreeCpu

from xnas_ray.messages import Candidate

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.client import Client
    from xnas_ray.search_handle import SearchHandle

TARGET = 1.03
WORKERS = 2
NETWORK = {"name": "nasbench201", "params": {"channels": 8, "cells_per_stage": 1, "stages": 1}}
METRIC = "val_accuracy"


@dataclass(frozen=True)
class Training:
    """One training, as the service did it.

    Attributes:
        trial: its number in the search.
        candidate: what was trained.
        seed: of the training.
        value: the metric that came out.
    """

    trial: int
    candidate: Candidate
    seed: int
    value: float


@dataclass(frozen=True)
class Turn:
    """One run of all trainings.

    Attributes:
        wall_s: seconds that somebody waited for it.
        busy_s: seconds from the first training's start to the last one's end.
        cpu_s: CPU seconds of every process.
        workers_s: CPU seconds of the two workers.
        values: what came out, by trial number.
    """

    wall_s: float
    busy_s: float
    cpu_s: float
    workers_s: float
    values: dict[int, float]

    @property
    def pace(self) -> float:
        """Wall seconds for a CPU second of the workers: one half is the ideal of two."""
        return self.wall_s / self.workers_s


# ---- the service -----------------------------------------------------------------------------------------------------


def search(client: Client, trials: int, epochs: int, seed: int = 0) -> SearchHandle:
    """Run one search to its end."""
    handle = client.submit(
        {
            "task": "digits",
            "space": NETWORK,
            "controller": "random_search",
            "objectives": [METRIC],
            "fidelity": epochs,
            "seed": seed,
            "train_seed": 0,
            "budget": {"trials": trials},
            "keep_weights": "none",
            "resources": {"cpus": 1, "workers": WORKERS},
        }
    )
    handle.wait()
    return handle


def warm(client: Client, epochs: int) -> str:
    """Searches until one has used both workers, which then have torch, the task and its data; its id."""
    for seed in range(1, 20):
        handle = search(client, 4 * WORKERS, epochs, seed)
        if handle.results()["worker"].nunique() == WORKERS:
            return handle.id
    raise RuntimeError(f"{WORKERS} workers did not come up")


def trainings(rows: pd.DataFrame) -> list[Training]:
    """What the bare loop must do to do the same, in the order in which it was proposed."""
    return [
        Training(
            int(row.trial),
            Candidate(int(row.trial), row.genotype, {}, int(row.fidelity), int(row.schedule_epochs)),
            int(row.train_seed),
            float(getattr(row, f"metric_{METRIC}")),
        )
        for row in rows.sort_values("trial").itertuples()
    ]


def served(client: Client, trials: int, epochs: int) -> tuple[Turn, pd.DataFrame]:
    """One turn of the service."""
    workers = processes_of(workers_of(client.root))
    with TreeCpu() as cpu:
        before_s, began_at = cpu_of(workers), time.time()
        handle = search(client, trials, epochs)
        workers_s, ended_at = cpu_of(workers) - before_s, time.time()
    rows = handle.results()
    busy_s = (rows["finished_at"].max() - rows["started_at"].min()).total_seconds()
    values = {one.trial: one.value for one in trainings(rows)}
    return Turn(ended_at - began_at, busy_s, cpu.between(began_at, ended_at), workers_s, values), rows


# ---- the bare loop ---------------------------------------------------------------------------------------------------


def train(worker: Any, search_id: str, training: Training, folder: str) -> float:
    """Runs in a worker's process: what its trial thread would do, without telling anybody."""
    from xnas_ray.service.reports import Assignment
    from xnas_ray.service.trial_worker import AttemptContext

    assignment = Assignment(search_id, training.trial, (0, 0), training.candidate, training.seed, folder)
    context = AttemptContext(Path(folder) / "0" / "0-0", None, lambda record: None, float("inf"))
    return float(worker._runner.run(assignment, context).metrics[METRIC])


def workers_of(root: Path) -> list[Any]:
    """Handles of the service's worker processes."""
    import ray

    from xnas_ray.service.remote import NAMESPACE, store_tag

    prefix = f"xnas-worker-{store_tag(root)}-"
    names = [entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)]
    return [ray.get_actor(name, namespace=NAMESPACE) for name in sorted(names) if name.startswith(prefix)]


def processes_of(workers: list[Any]) -> list[psutil.Process]:
    """Their processes."""
    import ray

    return [psutil.Process(ray.get(worker.__ray_call__.remote(lambda self: os.getpid()))) for worker in workers]


def cpu_of(processes: list[psutil.Process]) -> float:
    """CPU seconds that they have used."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def bare(root: Path, search_id: str, work: list[Training], folder: Path) -> Turn:
    """One turn of the loop."""
    import ray

    free = workers_of(root)
    assert len(free) == WORKERS, f"{len(free)} workers"
    values: dict[int, float] = {}
    todo, running = list(reversed(work)), {}
    workers = processes_of(free)
    with TreeCpu() as cpu:
        before_s, began_at = cpu_of(workers), time.time()
        while todo or running:
            while todo and free:
                worker, training = free.pop(), todo.pop()
                reference = worker.__ray_call__.remote(train, search_id, training, str(folder))
                running[reference] = (worker, training.trial)
            done, _ = ray.wait(list(running), num_returns=1)
            worker, trial = running.pop(done[0])
            values[trial] = ray.get(done[0])
            free.append(worker)
        workers_s, ended_at = cpu_of(workers) - before_s, time.time()
    took_s = ended_at - began_at
    return Turn(took_s, took_s, cpu.between(began_at, ended_at), workers_s, values)


# ---- the whole -------------------------------------------------------------------------------------------------------


def pairs(trials: int, epochs: int, count: int) -> list[tuple[Turn, Turn]]:
    """(service, loop), so many times; who goes first alternates.

    Raises:
        RuntimeError: a training came out otherwise in the loop.
    """
    from xnas_ray.client import local_client

    found = []
    with tempfile.TemporaryDirectory(prefix="xc-", dir="/tmp") as folder:
        root = Path(folder) / "store"
        with local_client(root, workers=WORKERS) as client:
            opened = warm(client, epochs)
            work = trainings(served(client, trials, epochs)[1])
            for number in range(count):
                loop_first = bare(root, opened, work, Path(folder)) if number % 2 else None
                ours, _ = served(client, trials, epochs)
                loop = loop_first or bare(root, opened, work, Path(folder))
                if not ours.values == loop.values == {one.trial: one.value for one in work}:
                    raise RuntimeError("the same training came out otherwise")
                found.append((ours, loop))
                print(f"pair {number + 1}: {ours.wall_s:.2f} s and {loop.wall_s:.2f} s", file=sys.stderr)
    return found


def report(found: list[tuple[Turn, Turn]], trials: int, target: float = TARGET) -> bool:
    """Print medians; returns whether the target is reached."""

    def middle(name: str, side: int) -> float:
        return median(getattr(pair[side], name) for pair in found)

    def ratio(name: str, other: str) -> float:
        return median(getattr(ours, name) / getattr(loop, other) for ours, loop in found)

    wall = ratio("wall_s", "wall_s")
    print(f"{trials} trainings of digits on {WORKERS} workers, {len(found)} pairs in turns, medians")
    print(f"{'':<14}{'wall s':>9}{'CPU s':>9}{'workers':>9}{'wall s a CPU second of the workers':>36}")
    for side, name in enumerate(("the service", "the bare loop")):
        print(
            f"{name:<14}{middle('wall_s', side):>9.2f}{middle('cpu_s', side):>9.2f}{middle('workers_s', side):>9.2f}"
            f"{middle('pace', side):>36.4f}"
        )
    print(f"CPU {ratio('cpu_s', 'cpu_s'):.3f} x; first start to last end {ratio('busy_s', 'wall_s'):.3f} x")
    paces = [ours.pace / loop.pace for ours, loop in found]
    print(f"wall for the same CPU seconds {median(paces):.3f} x: " + " ".join(f"{pace:.3f}" for pace in paces))
    print("each pair: " + " ".join(f"{ours.wall_s / loop.wall_s:.3f}" for ours, loop in found))
    print(f"wall {wall:.3f} x (target at most {target}): {'reached' if wall <= target else 'MISSED'}")
    return wall <= target


def main(given: list[str] | None = None) -> int:
    """Measure and print; the exit status tells whether the target is reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args(given)
    found = pairs(arguments.trials, arguments.epochs, arguments.pairs)
    return 0 if report(found, arguments.trials) else 1


if __name__ == "__main__":
    sys.exit(main())
