"""Explanations at the end of a search: stored before its last row, through deaths of hosts, and never in the way.

The head's loop, its hosts' lines and its commits are the real ones; the host processes and workers are played.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ray.exceptions import RayActorError

from xnas_ray import messages as m
from xnas_ray.errors import SearchNotFoundError
from xnas_ray.messages import Candidate, TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.service.books import Book
from xnas_ray.service.commits import Commits
from xnas_ray.service.engine import Engine
from xnas_ray.service.hosts import MAX_LOSSES_IN_A_ROW, Hosts
from xnas_ray.service.last_words import LastWords
from xnas_ray.service.proposals import Proposal
from xnas_ray.service.reports import Assignment, TrialResult
from xnas_ray.service.status import live_status
from xnas_ray.spec import SearchSpec
from xnas_ray.store.ids import new_search_id
from xnas_ray.store.layout import Layout
from xnas_ray.store.reader import list_searches, load_explanations, search_rows
from xnas_ray.store.replay import replay
from xnas_ray.store.reuse import ReuseIndex
from xnas_ray.store.rows import NEVER_TOLD, SearchRow
from xnas_ray.store.writer import StoreWriter

SEARCH = new_search_id(1_700_000_000)
OTHER = new_search_id(1_700_000_001)
OBJECTIVES = [{"name": "val_accuracy", "maximize": True, "unit": "%"}]

Explain = Callable[["Process", str], Awaitable[dict[str, Any]]]


async def motifs(process: Process, search_id: str) -> dict[str, Any]:
    """A table that says what the controller had been told."""
    return {"motifs": pd.DataFrame({"told": process.told[search_id]})}


class Process:
    """A controller host; a killed one answers nothing any more."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.told: dict[str, list[int]] = {}
        self.asked = 0
        self.dead = False

    def _alive(self) -> None:
        if self.dead:
            raise RayActorError

    async def open(self, search_id: str, card: Any) -> tuple[int, int]:
        self._alive()
        history = replay(self.launcher.root, search_id)
        self.told[search_id] = [outcome.trial for outcome in history.outcomes]
        self.launcher.log.append(f"open {len(history.outcomes)}")
        return history.positions[-1] if history.positions else NEVER_TOLD

    async def step(self, search_id: str, tells: list[Any], proposals: int) -> list[Proposal]:
        self._alive()
        if search_id not in self.told:
            raise SearchNotFoundError("not open here")
        for told in tells:
            self.told[search_id].append(told.outcome.trial)
        found = []
        for number in range(proposals):
            number = self.asked
            self.asked += 1
            candidate = Candidate(number, (number,))
            found.append(Proposal(candidate, str(number), str(number), "{}", 1, 1, 1, NEVER_TOLD, 0.0))
        return found

    async def explain(self, search_id: str) -> dict[str, Any]:
        self._alive()
        self.launcher.log.append("explain")
        return await self.launcher.explain(self, search_id)

    def close(self, search_id: str) -> None:
        self.told.pop(search_id, None)
        self.launcher.log.append("close")

    def kill(self) -> None:
        self.dead = True


class Launcher:
    """Starts processes, which replay the store."""

    def __init__(self, root: Path, explain: Explain) -> None:
        self.root = root
        self.explain = explain
        self.processes: list[Process] = []
        self.log: list[str] = []

    def host(self, slot: int) -> Process:
        self.processes.append(Process(self))
        return self.processes[-1]


class Workers:
    """One worker, which answers at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> None:
        self.engine.post(lambda now: m.WorkerReady(now, worker_id))

    def node_of(self, worker_id: str) -> str:
        return f"node of {worker_id}"

    def dispatch(self, worker_id: str, given: Assignment) -> None:
        metrics = {"val_accuracy": 50.0 + given.trial}
        result = TrialResult(given.search_id, given.trial, given.attempt, TrialStatus.COMPLETED, 5.0, metrics)
        following = self.engine.report(worker_id, [result])
        for assignment in following:
            self.dispatch(worker_id, assignment)

    def shutdown(self, worker_id: str) -> None:
        pass


class Service:
    """A head without Ray."""

    def __init__(self, root: Path, explain: Explain = motifs, **settings: Any) -> None:
        self.root = root
        self.writer = StoreWriter.open(root, take_over=True)
        nothing = lambda *_: None  # noqa: E731
        self.commits = Commits(
            self.writer, on_full=nothing, on_fenced=nothing, on_space=nothing, live=list, interval_s=0.0
        )
        scheduler = Scheduler(SchedulerConfig(lease_s=None, backoff_s=()))
        self.engine = Engine(scheduler, self.commits, ReuseIndex(root), discard=nothing)
        self.launcher = Launcher(root, explain)
        self.hosts = Hosts(
            self.launcher,  # type: ignore[arg-type]
            1,
            post=self.engine.post,
            on_proposal=self.engine.proposal,
            on_refusal=self.engine.refusal,
            flush=self.commits.flush,
        )
        self.engine.connect(Workers(self.engine), self.hosts, SimpleNamespace(last_epoch=lambda search_id: None))  # type: ignore[arg-type]
        self.last_words = LastWords(self.engine, self.hosts, **settings)
        self.engine.on_finished = self.last_words.begin
        self.commits.start()
        self.engine.post(lambda now: m.NodeJoined(now, "n", 1.0, 0.0))

    def submit(self, search_id: str = SEARCH, trials: int = 3) -> None:
        spec = SearchSpec.from_mapping({"task": "t", "seed": 1, "budget": {"trials": trials}}).to_json()
        card = {"spec": spec, "task": "t", "task_hash": "0" * 32, "space": "any", "objectives": OBJECTIVES}
        book = self.engine.books[search_id] = Book(search_id, card)
        self.engine.post(lambda now: m.SearchSubmitted(now, search_id, book.config()))
        self.engine.post(m.Tick)

    async def ended(self, search_id: str = SEARCH) -> dict[str, Any]:
        """The stored search, once the service has forgotten it."""
        await until(lambda: search_id not in self.engine.books)
        return self.stored(search_id)

    def stored(self, search_id: str = SEARCH) -> dict[str, Any]:
        frame = list_searches(self.root).set_index("search_id")
        return dict(frame.loc[search_id]) if search_id in frame.index else {"state": None}


async def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), timeout_s)


def play(root: Path, scene: Callable[[Service], Awaitable[None]], explain: Explain = motifs, **settings: Any) -> None:
    async def whole() -> None:
        service = Service(root, explain, **settings)
        await scene(service)
        await service.last_words.settle(0.1)
        await service.hosts.stop()
        await service.commits.close()

    asyncio.run(whole())


def told(root: Path, search_id: str = SEARCH) -> list[int]:
    return sorted(load_explanations(root, "motifs", search_id)["told"])


# ---- the usual end ---------------------------------------------------------------------------------------------------


def test_explanations_are_stored_before_the_search_is_finished(root):
    """The controller explains after its last tell; whoever reads ``finished`` finds the tables."""

    async def scene(service: Service) -> None:
        service.submit()
        await until(lambda: service.stored()["state"] == "finished")
        assert told(root) == [0, 1, 2]
        assert (await service.ended())["reason"] == ""
        assert service.launcher.log == ["open 0", "explain", "close"]

    play(root, scene)


def test_a_search_that_is_being_explained_is_not_finished_yet(root):
    gate = asyncio.Event()

    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        await gate.wait()
        return await motifs(process, search_id)

    async def scene(service: Service) -> None:
        service.submit()
        await until(lambda: "explain" in service.launcher.log)
        status = live_status(service.engine, service.engine.books[SEARCH])
        assert status["state"] == "draining" and "explains" in status["reason"]
        assert service.stored()["state"] != "finished"
        gate.set()
        assert (await service.ended())["state"] == "finished"

    play(root, scene, explain)


def test_other_searches_do_not_wait_for_explanations(root):
    """A search holds its slot only while it proposes: the next one runs to its own end meanwhile."""
    gate = asyncio.Event()

    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        if search_id == SEARCH:
            await gate.wait()
        return {}

    async def scene(service: Service) -> None:
        service.submit()
        await until(lambda: "explain" in service.launcher.log)
        service.launcher.processes[0].asked = 0
        service.submit(OTHER)
        assert (await service.ended(OTHER))["state"] == "finished"
        assert SEARCH in service.engine.books
        gate.set()
        await service.ended()

    play(root, scene, explain)


def test_controllers_that_have_nothing_to_say_leave_nothing(root):
    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        return {}

    async def scene(service: Service) -> None:
        service.submit()
        assert (await service.ended())["reason"] == ""

    play(root, scene, explain)
    assert Layout(root).explanation_kinds() == []


# ---- deaths ----------------------------------------------------------------------------------------------------------


def test_a_host_that_dies_is_replaced_and_replays(root):
    deaths = [True, True]

    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        if deaths:
            deaths.pop()
            process.kill()
            raise RayActorError
        return await motifs(process, search_id)

    async def scene(service: Service) -> None:
        service.submit()
        assert (await service.ended())["reason"] == ""
        assert service.launcher.log == ["open 0", "explain", "open 3", "explain", "open 3", "explain", "close"]

    play(root, scene, explain)
    assert told(root) == [0, 1, 2]


def test_a_host_that_was_replaced_unseen_is_not_believed(root):
    """A new process does not know the search and would have nothing to say: it opens it first."""

    async def scene(service: Service) -> None:
        service.submit(trials=1)
        await until(lambda: service.launcher.log)
        service.hosts._hosts[0] = service.launcher.host(0)  # another search's line saw the death
        assert (await service.ended())["state"] == "finished"

    play(root, scene)
    assert told(root) == [0]


def test_a_host_that_always_dies_costs_the_explanations_alone(root):
    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        process.kill()
        raise RayActorError

    async def scene(service: Service) -> None:
        service.submit()
        stored = await service.ended()
        assert stored["state"] == "finished" and f"died {MAX_LOSSES_IN_A_ROW} times" in stored["reason"]

    play(root, scene, explain)


def test_a_service_that_stops_meanwhile_leaves_the_search_to_the_next(root):
    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def scene(service: Service) -> None:
        service.submit()
        await until(lambda: "explain" in service.launcher.log)
        await service.last_words.settle(0.05)
        assert service.engine.finishing == set()

    play(root, scene, explain)
    assert list(list_searches(root)["state"]) == ["running"]


# ---- controllers that cannot -----------------------------------------------------------------------------------------


def test_a_controller_that_raises_costs_its_explanations_alone(root):
    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        raise ZeroDivisionError("no motifs by zero")

    async def scene(service: Service) -> None:
        service.submit()
        stored = await service.ended()
        assert stored["state"] == "finished"
        assert stored["reason"] == "explanations are missing: no motifs by zero"
        assert service.launcher.log[-1] == "close"

    play(root, scene, explain)


@pytest.mark.parametrize("table", [pd.DataFrame({"written_seq": [1]}), "a text", None])
def test_a_table_that_cannot_be_stored_does_not_take_the_others_along(root, table):
    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        return {"bad": table, **await motifs(process, search_id)}

    async def scene(service: Service) -> None:
        service.submit()
        stored = await service.ended()
        assert stored["state"] == "finished" and "explanations are missing: bad: " in stored["reason"]

    play(root, scene, explain)
    assert told(root) == [0, 1, 2]


def test_patience_ends(root):
    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def scene(service: Service) -> None:
        service.submit()
        stored = await service.ended()
        assert stored["state"] == "finished" and "took more than 0.05 s" in stored["reason"]

    play(root, scene, explain, patience_s=0.05)


# ---- going on --------------------------------------------------------------------------------------------------------


def test_a_search_that_is_extended_meanwhile_goes_on_and_explains_at_its_end(root):
    gate = asyncio.Event()

    async def explain(process: Process, search_id: str) -> dict[str, Any]:
        if not gate.is_set():
            await gate.wait()
        return await motifs(process, search_id)

    async def scene(service: Service) -> None:
        service.submit()
        await until(lambda: "explain" in service.launcher.log)
        service.engine.request(lambda now: m.ExtendRequested(now, SEARCH, 5, None, None))
        service.engine.post(m.Tick)
        gate.set()
        assert (await service.ended())["state"] == "finished"
        assert service.launcher.log.count("explain") == 2

    play(root, scene, explain)
    assert told(root) == [0, 1, 2, 3, 4]


class HeldCommit:
    """Holds every commit from the moment on in which a search's last row is appended, until it is let go.

    Appending and committing exclude each other: no commit that has begun before can take that row along.
    """

    def __init__(self, writer: StoreWriter) -> None:
        self.appended = False
        self.let_go = threading.Event()
        self._turn = threading.Lock()
        self._append, self._commit = writer.append, writer.commit
        writer.append, writer.commit = self.append, self.commit  # type: ignore[method-assign]

    def append(self, rows: Any) -> None:
        with self._turn:
            self._append(rows)
            if isinstance(rows, SearchRow) and rows.state == "finished":
                self.appended = True

    def commit(self) -> int:
        with self._turn:
            if not self.appended:
                return self._commit()
        assert self.let_go.wait(20)
        return self._commit()


def test_an_extension_between_the_end_of_a_search_and_its_commit_keeps_the_search(root):
    """The row that says ``finished`` becomes durable although the search goes on: it must not be forgotten then."""

    async def scene(service: Service) -> None:
        held = HeldCommit(service.writer)
        service.submit()
        await until(lambda: held.appended)
        assert service.stored()["state"] != "finished" and service.engine.finishing == set()
        service.engine.request(lambda now: m.ExtendRequested(now, SEARCH, 5, None, None))
        service.engine.books[SEARCH].extend({"trials": 5})
        service.engine.post(m.Tick)
        held.let_go.set()
        stored = await service.ended()
        assert stored["state"] == "finished" and stored["summary_completed"] == 5
        assert service.launcher.log.count("explain") == 2

    play(root, scene)
    assert told(root) == [0, 1, 2, 3, 4]
    rows = search_rows(Layout(root))[SEARCH]
    assert [row["state"] for row in rows].count("finished") == 2, "both ends are on record, the second one counts"
