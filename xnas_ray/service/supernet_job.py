"""Jobs of supernet searches, as the head runs them: on all the places that the scheduler has cleared for them.

What a job finds is durable before the scheduler hears of its end: the tables ``discretization`` (the architectures that
become candidates) and ``strengths``. While it runs, the table ``supernet`` has what every epoch was like. A head that
dies takes its jobs with it; the next one starts them again, and they go on from their last epoch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray import messages as m
from xnas_ray.errors import StoppedError, XnasError
from xnas_ray.service.derived import CURVES, DISCRETIZATION, STRENGTHS
from xnas_ray.service.ranks_job import Group, run_ranks
from xnas_ray.service.store_access import here
from xnas_ray.store.layout import supernet_folder

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MOST_JOBS = 32
RESTARTS = 3
"""How often the ranks of one job are started again; a job that the scheduler starts anew begins to count again."""
CURVES_EVERY_S = 5.0
STOPPED = "stopped"
SCRATCH = "ray_train"


@dataclass
class Job:
    """One job.

    Attributes:
        stop: set when it must end.
        epochs: what it has told of its epochs: by supernet and epoch the record.
        written_s: when these were last written, by the monotonic clock.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    epochs: dict[tuple[int, int], dict[str, float]] = field(default_factory=dict)
    written_s: float = -CURVES_EVERY_S


class SupernetJobs:
    """Runs one Ray Train job for each supernet search that has its workers.

    Args:
        root: the store.
        append: buffers an explanation table: kind, search, table.
        flush: waits until everything buffered is durable.
        post: gives the scheduler an event.
        ended: called when what a job found is durable, before the scheduler hears of it.
    """

    def __init__(
        self,
        root: Path,
        *,
        append: Callable[[str, str, pd.DataFrame], None],
        flush: Callable[[], Awaitable[None]],
        post: Callable[[Callable[[float], m.Event]], None],
        ended: Callable[[str], None],
    ) -> None:
        """No job runs."""
        self._root = root
        self._append = append
        self._flush = flush
        self._post = post
        self._ended = ended
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(MOST_JOBS, thread_name_prefix="xnas-supernet")

    def start(self, search_id: str, card: Mapping[str, Any], placement: Sequence[tuple[str, int]]) -> None:
        """Start a job on cleared places.

        Args:
            search_id: whose.
            card: of the search.
            placement: nodes and how many ranks each holds.
        """
        job = self._jobs[search_id] = Job()
        task = asyncio.ensure_future(self._run(search_id, card, placement, job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self, search_id: str) -> None:
        """End a job; the scheduler hears of it when its processes are gone."""
        if search_id in self._jobs:
            self._jobs[search_id].stop.set()

    async def stop_all(self) -> None:
        """End every job and wait for that."""
        for job in self._jobs.values():
            job.stop.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False)

    def last_epoch(self, search_id: str) -> tuple[int, int, Mapping[str, float]] | None:
        """Supernet, epoch and record of what a running job told last; None before that."""
        job = self._jobs.get(search_id)
        if job is None or not job.epochs:
            return None
        number, epoch = max(job.epochs)
        return number, epoch, job.epochs[number, epoch]

    # ---- one job --------------------------------------------------------------------------------------------------

    async def _run(
        self, search_id: str, card: Mapping[str, Any], placement: Sequence[tuple[str, int]], job: Job
    ) -> None:
        about = {"about": {"search": search_id}}
        log.info("the supernet job starts on %s", dict(placement), extra=about)
        loop = asyncio.get_running_loop()

        def heard(record: Mapping[str, float]) -> None:
            loop.call_soon_threadsafe(self._epoch, search_id, job, dict(record))

        ok, reason = False, STOPPED
        try:
            try:
                work = partial(self._fit, search_id, card, placement, job, heard)
                found = await loop.run_in_executor(self._pool, work)
            finally:
                if job.epochs:  # also of a job that was stopped, or has failed: what it said last may say why
                    self._write_curves(search_id, job)
            self._write_found(search_id, found["derived"])
            await self._flush()
            ok, reason = True, ""
        except StoppedError:
            log.info("the supernet job was stopped", extra=about)
        except Exception as error:
            message = error.message if isinstance(error, XnasError) else str(error)
            reason = f"the supernet job failed: {type(error).__name__}: {message}"[:2000]
            log.warning("%s", reason, extra=about)
        self._jobs.pop(search_id, None)
        if ok:
            self._ended(search_id)
        self._post(partial(m.GangEnded, search_id=search_id, ok=ok, reason=reason))

    def _fit(
        self,
        search_id: str,
        card: Mapping[str, Any],
        placement: Sequence[tuple[str, int]],
        job: Job,
        heard: Callable[[Mapping[str, float]], None],
    ) -> dict[str, Any]:
        """Runs in a thread."""
        folder = supernet_folder(search_id)
        resources = card["spec"]["resources"]
        cuda = resources["gpus"] > 0
        nodes = [node for node, count in placement for _ in range(count)]
        needs = {"CPU": resources["cpus"], **({"GPU": resources["gpus"]} if cuda else {})}
        return run_ranks(
            partial(here, "supernet_ranks:train_supernets"),
            {"root": str(self._root), "card": dict(card), "folder": folder, "cuda": cuda},
            group=Group(len(nodes), cuda, needs, nodes=nodes, restarts=RESTARTS),
            scratch=self._root / folder / SCRATCH,
            stop_requested=lambda: STOPPED if job.stop.is_set() else "",
            on_epoch=heard,
        )

    # ---- what it tells ----------------------------------------------------------------------------------------------

    def _epoch(self, search_id: str, job: Job, record: dict[str, float]) -> None:
        """An epoch has ended; one that is told again, after the loss of a rank, replaces what was told before."""
        job.epochs[int(record.pop("supernet")), int(record["epoch"])] = record
        if time.monotonic() - job.written_s >= CURVES_EVERY_S:
            self._write_curves(search_id, job)

    def _write_curves(self, search_id: str, job: Job) -> None:
        """Write the whole table: it replaces the one before."""
        import pandas as pd

        job.written_s = time.monotonic()
        rows = [
            (number, epoch, name, value)
            for (number, epoch), record in sorted(job.epochs.items())
            for name, value in record.items()
            if name != "epoch"
        ]
        self._append(CURVES, search_id, pd.DataFrame(rows, columns=["supernet", "epoch", "name", "value"]))

    def _write_found(self, search_id: str, derived: Sequence[Mapping[str, Any]]) -> None:
        import pandas as pd

        columns = [(one["supernet"], one["method"], list(one["genotype"])) for one in derived]
        table = pd.DataFrame(columns, columns=["supernet", "method", "genotype"])
        self._append(DISCRETIZATION, search_id, table)
        strengths = [pd.DataFrame(one["strengths"]).assign(supernet=one["supernet"]) for one in derived]
        whole = pd.concat(strengths, ignore_index=True).astype({"strength": float})
        self._append(STRENGTHS, search_id, whole)
