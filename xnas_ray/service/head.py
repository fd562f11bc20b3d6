"""The head: one detached actor that owns the store, the queue and everybody's requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd  # every head needs it in time: from the start, it does not look like growing memory
import ray

from xnas_ray import messages as m
from xnas_ray.errors import ProtocolError, SearchNotFoundError, ServiceError, StoreFullError
from xnas_ray.messages import PROTOCOL_VERSION, SearchState
from xnas_ray.scheduler import Scheduler
from xnas_ray.service.abandoned import free_abandoned
from xnas_ray.service.archive import stored_card, stored_state, stored_status, trial_records
from xnas_ray.service.books import Book
from xnas_ray.service.bring_up import ENDPOINT
from xnas_ray.service.commits import Commits
from xnas_ray.service.derived import has_discretization
from xnas_ray.service.engine import CANCEL_REQUESTED, Engine
from xnas_ray.service.finalists import KIND, stored_test, weights_assignment
from xnas_ray.service.fleet import Fleet
from xnas_ray.service.full_disk import NO_SPACE, FullDisk
from xnas_ray.service.hosts import Hosts
from xnas_ray.service.http_server import HttpServer, last_http_port, serve_head
from xnas_ray.service.last_words import LastWords
from xnas_ray.service.log_files import LogFiles
from xnas_ray.service.logs import log_json_lines
from xnas_ray.service.metrics import Monitor
from xnas_ray.service.nodes import Nodes
from xnas_ray.service.remote import NAMESPACE, HostLauncher, WorkerLauncher, head_name
from xnas_ray.service.reports import Assignment, Report
from xnas_ray.service.settings import HeadSettings
from xnas_ray.service.spool import Spool
from xnas_ray.service.status import live_status
from xnas_ray.service.submissions import Submissions
from xnas_ray.service.supernet_job import SupernetJobs
from xnas_ray.service.trusted import write_private
from xnas_ray.store.layout import Layout
from xnas_ray.store.reader import search_rows
from xnas_ray.store.replay import replay, unfinished_searches
from xnas_ray.store.reuse import ReuseIndex
from xnas_ray.store.writer import StoreWriter

log = logging.getLogger(__name__)

KEEP_AFTER_S = 1.0
LOOK_TIMEOUT_S = 60.0

SPACE_RETRY_S = 2.0


class Head:
    """Takes requests, drives the engine, survives its own death: a restarted one finds everything in the store.

    Args:
        root: the store.
        settings: see ``HeadSettings``.
    """

    def __init__(self, root: str, settings: HeadSettings) -> None:
        """Take the store; the rest begins in ``start``, in the event loop."""
        log_json_lines()
        self.root = Path(root)
        LogFiles(self.root, "head").start()
        self.settings = settings
        self.layout = Layout(self.root)
        self.writer = _take(self.root, settings.take_over)
        self._started = asyncio.Event()
        self._changed: dict[str, asyncio.Event] = {}
        self._starting = False
        self._announced = False
        self._broken: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._http: HttpServer | None = None
        self._end: asyncio.Future[None] | None = None
        ray.get_runtime_context().current_actor.start.remote()

    def __repr__(self) -> str:
        """What Ray's dashboard shows."""
        return f"head of {self.root}"

    async def start(self) -> bool:
        """Bring everything up, once.

        The constructor calls it, so that a restarted head begins by itself; every request calls it too, for Ray may
        drop a call that an actor makes to itself while it is being restarted.
        """
        if not self._starting:
            self._starting = True
            try:
                await self._begin()
            except Exception as error:
                log.exception("the head cannot start")
                self._broken = error
            self._started.set()
        await self._started.wait()
        if self._broken is not None:
            raise self._broken
        return True

    async def _begin(self) -> None:
        scheduler = Scheduler(self.settings.scheduler, self.writer.epoch)
        self.commits = Commits(
            self.writer,
            on_full=lambda message: self.full_disk.pause(message),
            on_space=lambda: self.full_disk.go_on(),
            on_fenced=self._fenced,
            live=lambda: list(self.engine.books),
            interval_s=self.settings.commit_interval_s,
        )
        self.engine = Engine(scheduler, self.commits, ReuseIndex(self.root), discard=self._discard)
        self.full_disk = FullDisk(self.engine)
        environment = dict(self.settings.environment)
        self.fleet = Fleet(
            WorkerLauncher(self.root, self.settings.worker, environment),
            post=self.engine.post,
            start_timeout_s=self.settings.start_timeout_s,
        )
        self.hosts = Hosts(
            HostLauncher(self.root, environment),
            self.settings.hosts,
            post=self.engine.post,
            on_proposal=self.engine.proposal,
            on_refusal=self.engine.refusal,
            flush=self.commits.flush,
        )
        self.hosts.on_asked = lambda seconds: self.engine.happened.asks_s.add(seconds)
        self.jobs = SupernetJobs(
            self.root,
            append=self.commits.append_explanation,
            flush=self.commits.flush,
            post=self.engine.post,
            ended=lambda search_id: self.hosts.open(search_id, self.engine.books[search_id].card),
        )
        self.engine.connect(self.fleet, self.hosts, self.jobs)
        self.engine.on_change = self._notify
        self.submissions = Submissions(self.engine, self.hosts)
        self.nodes = Nodes(self.settings, self.engine.post, self.fleet.lost_nodes)
        self.last_words = LastWords(self.engine, self.hosts)
        self.engine.on_finished = self.last_words.begin
        self.commits.start()
        await self.nodes.look()
        self._restore()
        await self.fleet.adopt()
        self._http = serve_head(
            self.root,
            ray.get_runtime_context().current_actor,
            host=self.settings.http_host,
            port=self.settings.http_port,
            wanted=last_http_port(self.root),
        )
        self._announce()
        self.engine.post(m.Tick)
        monitor = Monitor(self.engine, self.settings.scheduler.max_running_searches)
        spool = Spool(self.root, self.submit)
        jobs = (self._tick_loop, self._node_loop, monitor.run, spool.run)
        self._tasks = [asyncio.create_task(_keep(job)) for job in jobs]

    # ---- life -------------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        for search_id, rows in search_rows(self.layout, ["search_id", "idempotency_key"]).items():
            for key in filter(None, (row["idempotency_key"] for row in rows)):
                self.submissions.restore(key, search_id)
        for search_id in unfinished_searches(self.root):
            if self.settings.only is None or search_id in self.settings.only:
                self._take_up(search_id)

    def _take_up(self, search_id: str) -> None:
        """Give the scheduler a search of the store, as it stands there."""
        history = replay(self.root, search_id, curves=False)
        card = stored_card(self.root, search_id)
        book = Book(search_id, card, derived="gang" in card and has_discretization(self.root, search_id))
        self.engine.books[search_id] = book
        if self.settings.max_workers is not None:
            book.limit_workers(self.settings.max_workers)
        self._discard(book.restore(history, trial_records(self.root, search_id)))
        self.engine.post(lambda now: m.SearchSubmitted(now, search_id, book.config(), history.progress()))
        if history.reason == CANCEL_REQUESTED:
            self.engine.post(lambda now: m.CancelRequested(now, search_id))
        elif history.state == SearchState.PAUSED and history.reason.startswith(NO_SPACE):
            self.engine.post(lambda now: m.ResumeRequested(now, search_id))  # this head could write: there is space

    def _announce(self) -> None:
        """Write the endpoint; on a full disk it is tried again, and what an earlier head wrote still leads here."""
        try:
            self._write_endpoint()
        except OSError as error:
            log.warning("the endpoint cannot be written yet: %s", error)
        else:
            self._announced = True

    def _write_endpoint(self) -> None:
        text = json.dumps(
            {
                "protocol": PROTOCOL_VERSION,
                "address": ray.get_runtime_context().gcs_address,
                "http": self._http and self._http.address,
                "namespace": NAMESPACE,
                "head": head_name(self.root),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "epoch": self.writer.epoch,
                "token_path": os.environ.get("RAY_AUTH_TOKEN_PATH"),
            }
        )
        write_private(self.root / ENDPOINT, text)

    async def _tick_loop(self) -> None:
        while True:
            wakeup_s = self.engine.scheduler.next_wakeup_s
            wait_s = 1.0 if wakeup_s is None else min(1.0, max(0.01, wakeup_s - time.monotonic()))
            await asyncio.sleep(wait_s)
            self.engine.post(m.Tick)

    async def _node_loop(self) -> None:
        while True:
            await asyncio.sleep(self.settings.nodes_every_s)
            await asyncio.wait_for(self.nodes.look(), LOOK_TIMEOUT_S)  # Ray's answers have no limit of their own
            freeing = asyncio.get_running_loop().run_in_executor(None, free_abandoned)
            await asyncio.wait_for(freeing, LOOK_TIMEOUT_S)
            if not self._announced:
                self._announce()

    def _fenced(self, message: str) -> None:
        log.error("this service has lost its store and ends: %s", message)
        self._tasks.append(asyncio.create_task(self._exit()))

    async def _exit(self) -> None:
        ray.actor.exit_actor()

    def _discard(self, files: list[str]) -> None:
        def discard() -> None:
            for name in files:
                path = self.layout.inside(name)
                with contextlib.suppress(OSError):  # it has gone, or others are in its folder
                    path.unlink(missing_ok=True)
                    path.parent.rmdir()
                    path.parent.parent.rmdir()

        asyncio.get_running_loop().run_in_executor(None, discard)

    def _notify(self, search_id: str) -> None:
        event = self._changed.pop(search_id, None)
        if event is not None:
            event.set()

    # ---- workers ----------------------------------------------------------------------------------------------------

    async def report(self, worker_id: str, reports: list[Report]) -> list[Assignment]:
        """A worker tells what happened, and is given what comes next."""
        await self.start()
        return self.engine.report(worker_id, reports)

    async def card(self, search_id: str) -> dict[str, Any]:
        """The card of a live search, for a worker."""
        await self.start()
        return dict(self.engine.book(search_id).card)

    # ---- clients ----------------------------------------------------------------------------------------------------

    async def info(self) -> dict[str, Any]:
        """Who answers here."""
        await self.start()
        return {
            "protocol": PROTOCOL_VERSION,
            "version": _version(),
            "epoch": self.writer.epoch,
            "root": str(self.root),
            "address": ray.get_runtime_context().gcs_address,
            "pid": os.getpid(),
        }

    async def submit(
        self,
        protocol: int,
        spec: Mapping[str, Any],
        task_hash: str,
        idempotency_key: str | None = None,
        search_id: str | None = None,
    ) -> str:
        """Queue a search; returns its id once its row is durable. The same key gives the same search again.

        A search of the spool brings the id that its client has given it; the others get one here.
        """
        await self.start()
        if protocol != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the service speaks protocol {PROTOCOL_VERSION}, the client {protocol}.",
                fix="Install the same version of xnas-ray on both sides.",
            )
        return await self.submissions.submit(spec, task_hash, idempotency_key, search_id)

    async def status(self, search_id: str | None = None) -> list[dict[str, Any]]:
        """Live searches as they stand; one that has ended is read from the store."""
        await self.start()
        if search_id is None:
            return [live_status(self.engine, book) for book in self.engine.books.values()]
        if search_id in self.engine.books:
            return [live_status(self.engine, self.engine.books[search_id])]
        return [await asyncio.get_running_loop().run_in_executor(None, stored_status, self.root, search_id)]

    async def demand(self) -> list[tuple[float, float, float | None]]:
        """CPUs and GPUs of a worker, and how many of these could have a trial at once; None for any number."""
        await self.start()
        wanted = self.engine.scheduler.demand().items()
        return [(*shape, None if math.isinf(count) else count) for shape, count in wanted]

    async def wait(self, search_id: str, timeout_s: float) -> dict[str, Any] | None:
        """The status once the search has ended or is paused; None when it is still at work after ``timeout_s``."""
        await self.start()
        deadline_s = time.monotonic() + timeout_s
        while search_id in self.engine.books:
            if self.engine.scheduler.search(search_id).state == SearchState.PAUSED:
                break
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            event = self._changed.setdefault(search_id, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(left_s, 1.0))
        return (await self.status(search_id))[0]

    async def pause(self, search_id: str, at_once: bool = False) -> None:
        """Stop dispatching; with ``at_once`` running trials checkpoint and wait."""
        await self._known(search_id)
        self.engine.request(lambda now: m.PauseRequested(now, search_id, "on request", at_once))

    async def resume(self, search_id: str) -> None:
        """Go on with a paused search."""
        await self._known(search_id)
        self.engine.request(lambda now: m.ResumeRequested(now, search_id))

    async def cancel(self, search_id: str) -> None:
        """End a search; the wish is durable before anything is stopped."""
        await self._known(search_id)
        durable = asyncio.Event()
        self.engine.log_search(search_id, SearchState.DRAINING, CANCEL_REQUESTED, durable.set)
        await durable.wait()
        if search_id in self.engine.books:
            self.engine.post(lambda now: m.CancelRequested(now, search_id))

    async def extend(
        self,
        search_id: str,
        trials: int | None = None,
        gpu_hours: float | None = None,
        wall_clock: float | None = None,
    ) -> None:
        """Give a search larger budgets; a finished one is reopened."""
        await self.start()
        if search_id not in self.engine.books:
            stored_state(self.root, search_id)
            self._take_up(search_id)
        book = self.engine.books[search_id]
        given = {"trials": trials, "gpu_hours": gpu_hours, "wall_clock": wall_clock}
        changes = {name: value for name, value in given.items() if value is not None}
        if not changes:
            raise ServiceError("nothing to extend.", fix="Give --trials, --gpu-hours or --wall-clock.")
        try:
            self.engine.request(lambda now: m.ExtendRequested(now, search_id, trials, gpu_hours, wall_clock))
        except Exception:
            if self.engine.scheduler.search(search_id).state.ended and search_id not in self.engine.finishing:
                self.engine.books.pop(search_id)
            raise
        book.extend(changes)
        state = self.engine.scheduler.search(search_id).state
        durable = asyncio.Event()
        self.engine.log_search(search_id, state, "extended", durable.set, spec=json.dumps(book.card))
        await durable.wait()

    async def explain(self, search_id: str) -> dict[str, Any]:
        """Explanation tables of a live search's controller."""
        await self._known(search_id)
        return await self.hosts.explain(search_id)

    async def measure_test(self, search_id: str, trial: int) -> dict[str, float]:
        """Metrics of a completed trial's weights on the test split: measured once, then read from the store."""
        await self.start()
        loop = asyncio.get_running_loop()
        card = await loop.run_in_executor(None, stored_card, self.root, search_id)
        known = await loop.run_in_executor(None, stored_test, self.root, search_id, trial)
        if known is not None:
            return known
        history = await loop.run_in_executor(None, replay, self.root, search_id)
        assignment = weights_assignment(self.layout, search_id, trial, history)
        worker = self.fleet.any()
        if worker is None:
            raise ServiceError("no worker is up to measure the test split.", fix="Try again in a moment.")
        metrics = await worker.measure_test(card, assignment)
        table = pd.DataFrame([{"trial": trial, "metric": k, "value": v} for k, v in metrics.items()])
        self.commits.append_explanation(KIND, search_id, table)
        await self.commits.flush()
        return metrics

    async def stop(self, checkpoint: bool = True) -> None:
        """End the service: running trials checkpoint, rows are flushed, workers end, the store is free.

        Who asks again, perhaps because the answer was lost, waits for the same end.
        """
        await self.start()
        if self._end is None:
            self._end = asyncio.ensure_future(self._stop(checkpoint))
        await asyncio.shield(self._end)

    async def _stop(self, checkpoint: bool) -> None:
        if checkpoint:
            await self._checkpoint_all()
        await self.jobs.stop_all()
        await self.last_words.settle()
        for task in self._tasks:
            task.cancel()
        await self.hosts.stop()
        self.fleet.kill_all()
        await self.commits.close()
        (self.root / ENDPOINT).unlink(missing_ok=True)
        if self._http is not None:
            self._http.stop()

    async def _checkpoint_all(self) -> None:
        """Pause every running search with a checkpoint, without a word of it in the store: the next head goes on."""
        scheduler = self.engine.scheduler
        self.engine.silent = True
        for view in scheduler.searches():
            if view.state in (SearchState.RUNNING, SearchState.QUEUED):
                wish = partial(m.PauseRequested, search_id=view.search_id, reason="the service stops", at_once=True)
                self.engine.post(wish)
        deadline_s = time.monotonic() + self.settings.scheduler.kill_after_s + 5
        while any(v.running for v in scheduler.searches()) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.05)

    async def _known(self, search_id: str) -> None:
        await self.start()
        if search_id not in self.engine.books:
            state = stored_state(self.root, search_id)
            raise SearchNotFoundError(
                f"search {search_id} is {state} and not in this service.",
                fix="A finished search goes on with `xnas extend`; an interrupted one with `xnas run --resume`.",
            )


def _take(root: Path, take_over: bool) -> StoreWriter:
    """Become the writer; a head that was restarted on a full disk waits for space, for Ray would not try again."""
    while True:
        try:
            return StoreWriter.open(root, take_over=take_over)
        except StoreFullError as error:
            if not ray.get_runtime_context().was_current_actor_reconstructed:
                raise
            log.warning("this head waits for space: %s", error)
            time.sleep(SPACE_RETRY_S)


async def _keep(job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop of the head for ever: without its ticks or its looks at the nodes nothing would ever end."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("%s failed and goes on", job.__qualname__)
            await asyncio.sleep(KEEP_AFTER_S)
        else:
            return


def _version() -> str:
    from xnas_ray import __version__

    return __version__
