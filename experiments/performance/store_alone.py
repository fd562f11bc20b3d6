"""The service without processes: its scheduler, engine, books and store, driven by workers that answer at once."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measuring import left_behind

from xnas_ray import messages as m
from xnas_ray.messages import Attempt, Candidate, TrialStatus
from xnas_ray.scheduler import Scheduler
from xnas_ray.service.books import Book
from xnas_ray.service.commits import Commits
from xnas_ray.service.engine import Engine
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.reports import Assignment, TrialResult
from xnas_ray.spec import SearchSpec
from xnas_ray.store.ids import new_search_id
from xnas_ray.store.replay import replay
from xnas_ray.store.reuse import ReuseIndex
from xnas_ray.store.writer import StoreWriter

WORKERS = 4
CHUNK = 1_000
WARM_TRIALS = 1_500
ENVIRONMENT = '{"host": "somewhere", "device": "cpu", "python": "3.11", "torch": "2", "numpy": "2", "ray": "2"}'


@dataclass
class StoreCost:
    """What a search cost the scheduler and the store.

    Attributes:
        chunk: trials between two readings.
        cpu_s: CPU seconds of every chunk, of all threads.
        wall_s: seconds of every chunk.
        files: files of the store at the end.
        bytes: their size.
        replay_s: seconds that reading the search back takes.
    """

    chunk: int
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    replay_s: float = 0.0


class InstantWorkers:
    """A fleet whose workers have evaluated a trial as soon as they get it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> None:
        """Answer that it is ready."""
        self._engine.post(lambda now: m.WorkerReady(now, worker_id))

    def node_of(self, worker_id: str) -> str | None:
        """Where a worker runs: nowhere."""
        return None

    def dispatch(self, worker_id: str, assignment: Assignment) -> None:
        """Evaluate, and report in the loop's next round."""
        self._loop.call_soon(self._end, worker_id, assignment)

    def _end(self, worker_id: str, done: Assignment) -> None:
        metrics = {"val_accuracy": float(sum(done.candidate.genotype))}
        result = TrialResult(
            done.search_id,
            done.trial,
            done.attempt,
            TrialStatus.COMPLETED,
            0.0,
            metrics=metrics,
            environment=ENVIRONMENT,
        )
        for assignment in self._engine.report(worker_id, [result]):
            self.dispatch(worker_id, assignment)

    def stop_trial(self, worker_id: str, search_id: str, trial: int, attempt: Attempt, checkpoint: bool) -> None:
        """Never asked for."""
        raise NotImplementedError("no trial is stopped here")

    def shutdown(self, worker_id: str) -> None:
        """Never asked for."""
        raise NotImplementedError("no worker ends here")

    def kill(self, worker_id: str) -> None:
        """Never asked for."""
        raise NotImplementedError("no worker is killed here")


class CountingController:
    """Hosts whose one controller counts through genotypes, and read the clocks every ``chunk`` tells."""

    def __init__(self, engine: Engine, cost: StoreCost) -> None:
        self._engine = engine
        self._cost = cost
        self._asked = 0
        self._told = 0
        self._told_through = (-1, -1)
        self._read = (time.process_time(), time.perf_counter())

    def open(self, search_id: str, card: Mapping[str, Any]) -> None:
        """Answer that it is ready."""
        self._engine.post(lambda now: m.ControllerReady(now, search_id))

    def propose(self, search_id: str, count: int) -> None:
        """Propose at once."""
        for _ in range(count):
            genotype = tuple(self._asked // 5**i % 5 for i in range(7))
            text = "".join(map(str, genotype))
            proposal = Proposal(
                candidate=Candidate(self._asked, genotype, origin={"stage": "counted"}),
                key=text,
                architecture=text,
                recipe="{}",
                train_seed=self._asked,
                flops=1_000_000 + self._asked,
                params=1_000,
                told_through=self._told_through,
                ask_s=0.0,
            )
            self._asked += 1
            self._engine.proposal(search_id, proposal)

    def tell(self, search_id: str, told: Told) -> None:
        """Count, and read the clocks."""
        self._told_through = told.seq
        self._told += 1
        if self._told % self._cost.chunk == 0:
            before, self._read = self._read, (time.process_time(), time.perf_counter())
            self._cost.cpu_s.append(self._read[0] - before[0])
            self._cost.wall_s.append(self._read[1] - before[1])

    def close(self, search_id: str) -> None:
        """Nothing is held."""


def store_alone(trials: int) -> StoreCost:
    """Run one search of that many trials, after a short one that warms everything up.

    Raises:
        ValueError: fewer than two readings.
    """
    if trials < 2 * CHUNK:
        raise ValueError(f"give at least {2 * CHUNK} trials, so that a last thousand can be compared with a first")
    for count in (WARM_TRIALS, trials):
        with tempfile.TemporaryDirectory(prefix="xp-") as folder:
            cost = asyncio.run(_search(Path(folder), count))
    return cost


async def _search(root: Path, trials: int) -> StoreCost:
    cost = StoreCost(CHUNK)
    commits = Commits(
        StoreWriter.open(root), live=lambda: list(engine.books), on_full=_stop, on_fenced=_stop, on_space=bool
    )
    engine = Engine(Scheduler(), commits, ReuseIndex(root), discard=lambda folders: None)
    engine.connect(InstantWorkers(engine), CountingController(engine, cost), SimpleNamespace())  # no supernets here
    commits.start()
    search_id = new_search_id(time.time())
    book = Book(search_id, _card(trials))
    engine.books[search_id] = book
    ended = asyncio.Event()
    engine.on_change = lambda changed: None if changed in engine.books else ended.set()
    engine.log_search(search_id, m.SearchState.QUEUED, name="counted", task="none", controller="counting", spec="{}")
    engine.post(lambda now: m.NodeJoined(now, "node", float(WORKERS), 0.0))
    engine.post(lambda now: m.SearchSubmitted(now, search_id, book.config()))
    engine.post(m.Tick)
    await ended.wait()
    await commits.close()
    cost.files, cost.bytes = left_behind(root)
    started_s = time.perf_counter()
    history = replay(root, search_id)
    cost.replay_s = time.perf_counter() - started_s
    if len(history.outcomes) != trials or history.pending:
        raise AssertionError(f"{len(history.outcomes)} of {trials} trials were read back")
    return cost


def _card(trials: int) -> dict[str, Any]:
    spec = SearchSpec.from_mapping({"task": "none", "budget": {"trials": trials}, "keep_weights": "none"})
    return {
        "spec": spec.to_json(),
        "task": "none",
        "task_hash": "0" * 32,
        "space": "counted",
        "objectives": [{"name": "val_accuracy", "maximize": True, "unit": "%"}],
    }


def _stop(message: str) -> None:
    raise RuntimeError(message)
