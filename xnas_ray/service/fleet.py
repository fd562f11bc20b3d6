"""Trial workers seen from the head: started, watched, adopted, ended; every change becomes an event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from xnas_ray.messages import Attempt, Event, FailureKind, WorkerAdopted, WorkerGone, WorkerReady
from xnas_ray.service.remote import DIED, ActorWorker, WorkerLauncher
from xnas_ray.service.reports import Assignment

log = logging.getLogger(__name__)


class Fleet:
    """Holds the handles of all workers.

    Args:
        launcher: starts and finds worker processes.
        post: hands an event to the scheduler; it is stamped with the time by the engine.
        start_timeout_s: how long a worker may take to start, imports included.
    """

    def __init__(
        self,
        launcher: WorkerLauncher,
        *,
        post: Callable[[Callable[[float], Event]], None],
        start_timeout_s: float = 300.0,
    ) -> None:
        """No worker yet."""
        self._start_timeout_s = start_timeout_s
        self._launcher = launcher
        self._post = post
        self._workers: dict[str, ActorWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost_nodes: set[str] = set()

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> None:
        """Start a worker; WorkerReady or WorkerGone follows."""
        try:
            worker = self._launcher.start(worker_id, node_id, cpus, gpus)
        except Exception as error:  # Ray refuses a name or node: the scheduler decides what comes next
            reason = f"cannot be started: {error}"
            self._post(lambda now: WorkerGone(now, worker_id, reason))
            return
        self._workers[worker_id] = worker
        self._spawn(self._watch(worker, announce=True))

    async def adopt(self) -> None:
        """Take over every worker of an earlier head; one that does not answer is killed."""
        found = self._launcher.find()
        states = await asyncio.gather(*(worker.attach() for worker in found), return_exceptions=True)
        for worker, state in zip(found, states, strict=True):
            if isinstance(state, BaseException):
                log.warning("worker %s of an earlier head does not answer and is killed: %s", worker.worker_id, state)
                worker.kill()
                continue
            self._adopt(worker, state)

    def _adopt(self, worker: ActorWorker, state: dict[str, Any]) -> None:
        worker.node_id = state["node_id"]
        self._workers[worker.worker_id] = worker
        running = tuple((search, trial, tuple(attempt)) for search, trial, attempt in state["running"])
        self._post(
            lambda now: WorkerAdopted(now, worker.worker_id, worker.node_id, state["cpus"], state["gpus"], running)
        )
        self._spawn(self._watch(worker, announce=False))

    def dispatch(self, worker_id: str, assignment: Assignment) -> None:
        """Hand a trial to a worker."""
        if worker_id in self._workers:
            self._workers[worker_id].submit(assignment)

    def node_of(self, worker_id: str) -> str | None:
        """Where a worker runs, by Ray's id of the node; None for one that is not known."""
        return self._workers[worker_id].node_id if worker_id in self._workers else None

    def stop_trial(self, worker_id: str, search_id: str, trial: int, attempt: Attempt, checkpoint: bool) -> None:
        """Ask an attempt to end."""
        if worker_id in self._workers:
            self._workers[worker_id].stop_trial(search_id, trial, attempt, checkpoint)

    def shutdown(self, worker_id: str) -> None:
        """Let a worker end by itself."""
        if worker_id in self._workers:
            self._workers[worker_id].shutdown()

    def kill(self, worker_id: str) -> None:
        """End a worker at once."""
        if worker_id in self._workers:
            self._workers[worker_id].kill()

    def any(self) -> ActorWorker | None:
        """Some worker, for work that is not a trial."""
        return next(iter(self._workers.values()), None)

    def kill_all(self) -> None:
        """End every worker: the service stops."""
        for task in self._tasks:
            task.cancel()
        for worker in self._workers.values():
            worker.kill()
        self._workers.clear()

    async def _watch(self, worker: ActorWorker, *, announce: bool) -> None:
        reason, kind = "ended", FailureKind.WORKER_DIED
        try:
            if announce:
                await self._started(worker)
                self._post(lambda now: WorkerReady(now, worker.worker_id))
            await worker.ended()
            worker.kill()  # its threads have ended; the actor's process has not
        except DIED as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        except Exception as error:  # its constructor raised
            reason = f"{type(error).__name__}: {error}"
        if worker.node_id in self.lost_nodes:
            kind = FailureKind.NODE_DIED
        self._workers.pop(worker.worker_id, None)
        self._post(lambda now: WorkerGone(now, worker.worker_id, reason, kind))

    async def _started(self, worker: ActorWorker) -> None:
        """Wait until a worker answers; one that never does holds resources for nothing and is killed."""
        try:
            await asyncio.wait_for(worker.ready(), self._start_timeout_s)
        except TimeoutError:
            worker.kill()
            raise TimeoutError(f"did not answer within {self._start_timeout_s:g} s of its start") from None

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
