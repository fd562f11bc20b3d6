"""Controller hosts seen from the head: which search lives where, and what it is told and asked, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from xnas_ray.errors import ControllerError, SearchNotFoundError
from xnas_ray.messages import ControllerFailed, ControllerLost, ControllerReady, Event
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.remote import DIED, ActorHost, HostLauncher, remote_cause
from xnas_ray.store.rows import NEVER_TOLD, Position

log = logging.getLogger(__name__)

MAX_LOSSES_IN_A_ROW = 5

T = TypeVar("T")


class _Broken(Exception):
    """A call has no answer that anybody waits for."""


@dataclass
class Line:
    """One search's conversation with its controller: at most one call is under way."""

    card: Mapping[str, Any]
    slot: int
    ready: bool = False
    busy: bool = False
    closed: bool = False
    generation: int = 0
    losses: int = 0
    wanted: int = 0
    tells: list[Told] = field(default_factory=list)
    told_limit: Position = NEVER_TOLD
    last_words: asyncio.Future[dict[str, Any]] | None = None


class Hosts:
    """Opens, asks, tells and closes the controllers of all searches on a few host processes.

    Args:
        launcher: makes the host processes.
        count: number of processes.
        post: hands an event to the scheduler (without ``now_s``: the engine stamps it).
        on_proposal: takes a proposal, before anybody is told of it.
        flush: waits until every row is durable; a controller replays what is durable.

    Attributes:
        on_asked: called with the seconds that a controller took to answer a request for candidates.
    """

    def __init__(
        self,
        launcher: HostLauncher,
        count: int,
        *,
        post: Callable[[Callable[[float], Event]], None],
        on_proposal: Callable[[str, Proposal], None],
        on_refusal: Callable[[str], None],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        """No process is started before the first search needs one."""
        self._launcher = launcher
        self._count = count
        self._post = post
        self._on_proposal = on_proposal
        self._on_refusal = on_refusal
        self._flush = flush
        self._hosts: dict[int, ActorHost] = {}
        self._lines: dict[str, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_asked: Callable[[float], None] = lambda seconds: None

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def resolve(self, spec: Mapping[str, Any], task_hash: str) -> dict[str, Any]:
        """Complete and check a specification in a host, which has the imports and isolates the task's code."""
        for _ in range(3):
            host = self._host(self._emptiest())
            try:
                return await host.resolve(spec, task_hash)
            except DIED:
                self._forget(host)
        raise SearchNotFoundError("the controller host died three times while it read the task's files.")

    def open(self, search_id: str, card: Mapping[str, Any]) -> None:
        """Construct a search's controller and replay what is durable; posts ControllerReady when done."""
        line = self._lines.get(search_id)
        if line is None or line.closed:
            line = self._lines[search_id] = Line(card, self._emptiest())
        if line.last_words is not None:  # the search goes on after all
            line.last_words.cancel()
            line.last_words = None
        self._reopen(search_id, line)

    def propose(self, search_id: str, count: int) -> None:
        """Ask for candidates."""
        line = self._lines[search_id]
        line.wanted += count
        self._pump_soon(search_id, line)

    def tell(self, search_id: str, told: Told) -> None:
        """Tell an outcome, unless the controller has replayed it already."""
        line = self._lines.get(search_id)
        if line is None or line.closed or told.seq <= line.told_limit:
            return
        line.tells.append(told)
        self._pump_soon(search_id, line)

    def last_words(self, search_id: str, card: Mapping[str, Any]) -> asyncio.Future[dict[str, Any]]:
        """Ask a controller, after everything that it was told, for its explanations; then it is closed.

        A controller that is not open, or whose process dies, is opened again and replays the rows.

        Returns:
            The tables by kind; fails when the controller raises or its process dies again and again, and is cancelled
            when the search is opened again.
        """
        line = self._lines.get(search_id)
        if line is None:
            line = self._lines[search_id] = Line(card, self._emptiest())
        line.wanted = 0
        line.last_words = asyncio.get_running_loop().create_future()
        if line.ready:
            self._pump_soon(search_id, line)
        else:
            self._reopen(search_id, line)
        return line.last_words

    def close(self, search_id: str) -> None:
        """Forget a search's controller, after everything that was ordered before."""
        line = self._lines.get(search_id)
        if line is None or (line.last_words is not None and not line.last_words.done()):
            return
        del self._lines[search_id]
        line.closed = True
        if line.slot in self._hosts:
            self._hosts[line.slot].close(search_id)

    async def explain(self, search_id: str) -> dict[str, Any]:
        """Explanation tables of an open search; empty when it is not open."""
        line = self._lines.get(search_id)
        if line is None or not line.ready:
            return {}
        try:
            return await self._host(line.slot).explain(search_id)
        except DIED:
            return {}

    async def stop(self) -> None:
        """End every host process."""
        for task in self._tasks:
            task.cancel()
        for host in self._hosts.values():
            host.kill()
        self._hosts.clear()

    # ---- the conversation -------------------------------------------------------------------------------------------

    def _reopen(self, search_id: str, line: Line) -> None:
        line.generation += 1
        line.ready = False
        line.wanted = 0
        self._spawn(self._open(search_id, line, line.generation))

    async def _open(self, search_id: str, line: Line, generation: int) -> None:
        await self._flush()
        host = self._host(line.slot)
        try:
            told_through = await host.open(search_id, line.card)
        except DIED as error:
            self._lost(search_id, line, generation, host, error)
            return
        except Exception as error:
            self._failed(search_id, line, generation, error)
            return
        if line.closed or line.generation != generation:
            return
        line.told_limit = told_through
        line.tells = [t for t in line.tells if t.seq > told_through]
        line.ready = True
        self._post(lambda now: ControllerReady(now, search_id))
        self._pump(search_id, line)

    def _pump_soon(self, search_id: str, line: Line) -> None:
        """Call the controller once everything of this turn of the event loop is known: a commit tells many outcomes."""
        asyncio.get_running_loop().call_soon(self._pump, search_id, line)

    def _pump(self, search_id: str, line: Line) -> None:
        if not line.ready or line.busy or line.closed:
            return
        if line.tells or line.wanted:
            line.busy = True
            tells, line.tells = line.tells, []
            wanted, line.wanted = line.wanted, 0
            self._spawn(self._step(search_id, line, line.generation, tells, wanted))
        elif line.last_words is not None and not line.last_words.done():
            line.busy = True
            self._spawn(self._explain(search_id, line, line.generation))

    async def _call(self, search_id: str, line: Line, generation: int, work: Callable[[ActorHost], Awaitable[T]]) -> T:
        """One call of the conversation.

        Raises:
            _Broken: it failed, which is dealt with already, or nobody waits for it any more.
        """
        host = self._host(line.slot)
        try:
            found = await work(host)
        except Exception as error:
            line.busy = False
            if isinstance(error, DIED):
                self._lost(search_id, line, generation, host, error)
            elif isinstance(error, SearchNotFoundError):
                self._lost(search_id, line, generation, None, error)
            else:
                self._failed(search_id, line, generation, error)
            raise _Broken from error
        line.busy = False
        if line.closed or line.generation != generation:
            self._pump_soon(search_id, line)  # what was opened meanwhile may have waited for this answer
            raise _Broken
        return found

    async def _step(self, search_id: str, line: Line, generation: int, tells: list[Told], wanted: int) -> None:
        started_s = time.monotonic()
        with contextlib.suppress(_Broken):
            found = await self._call(search_id, line, generation, lambda host: host.step(search_id, tells, wanted))
            if wanted:
                self.on_asked(time.monotonic() - started_s)
            self._take(search_id, line, found, wanted)

    async def _explain(self, search_id: str, line: Line, generation: int) -> None:
        async def explain(host: ActorHost) -> dict[str, Any]:
            await host.step(search_id, [], 0)  # refuses where the search is not open: explain would say nothing there
            return await host.explain(search_id)

        with contextlib.suppress(_Broken):
            tables = await self._call(search_id, line, generation, explain)
            if line.last_words is not None and not line.last_words.done():
                line.last_words.set_result(tables)
                self.close(search_id)

    def _take(self, search_id: str, line: Line, found: list[Proposal | None], wanted: int) -> None:
        """Pass on what a controller answered."""
        line.losses = 0
        proposals = [p for p in found if p is not None]
        refused = wanted - len(proposals)
        if refused and line.tells:
            line.wanted += refused  # an outcome arrived meanwhile: the refusal is about a state that is past
            refused = 0
        for proposal in proposals:
            self._on_proposal(search_id, proposal)
        for _ in range(refused):
            self._on_refusal(search_id)
        self._pump(search_id, line)

    def _lost(self, search_id: str, line: Line, generation: int, host: ActorHost | None, error: BaseException) -> None:
        if host is not None:
            self._forget(host)
        if line.closed or line.generation != generation:
            return
        line.ready = False
        line.losses += 1
        if line.losses >= MAX_LOSSES_IN_A_ROW:
            self._failed(search_id, line, generation, RuntimeError(f"its process died {line.losses} times: {error}"))
            return
        about = {"about": {"search": search_id}}
        log.warning("the controller host died, its searches are replayed: %s", error, extra=about)
        if line.last_words is not None:
            self._reopen(search_id, line)
        else:
            self._post(lambda now: ControllerLost(now, search_id, str(error)))

    def _failed(self, search_id: str, line: Line, generation: int, error: BaseException) -> None:
        if line.closed or line.generation != generation:
            return
        line.ready = False
        reason = str(remote_cause(error))
        if line.last_words is None:
            self._post(lambda now: ControllerFailed(now, search_id, reason))
        elif not line.last_words.done():
            line.last_words.set_exception(ControllerError(reason))
            self.close(search_id)

    def _host(self, slot: int) -> ActorHost:
        if slot not in self._hosts:
            self._hosts[slot] = self._launcher.host(slot)
        return self._hosts[slot]

    def _forget(self, host: ActorHost) -> None:
        for slot, known in list(self._hosts.items()):
            if known is host:
                del self._hosts[slot]

    def _emptiest(self) -> int:
        load = [sum(1 for line in self._lines.values() if line.slot == slot) for slot in range(self._count)]
        return load.index(min(load))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
