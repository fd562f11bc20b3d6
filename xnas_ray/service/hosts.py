"""Controller hosts seen from the head: which search lives where, and what it is told and asked, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xnas_ray.errors import SearchNotFoundError
from xnas_ray.messages import ControllerFailed, ControllerLost, ControllerReady, Event
from xnas_ray.service.host import Proposal, Told
from xnas_ray.service.remote import DIED, ActorHost, HostLauncher, remote_cause
from xnas_ray.store.rows import NEVER_TOLD, Position

log = logging.getLogger(__name__)

MAX_LOSSES_IN_A_ROW = 5


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


class Hosts:
    """Opens, asks, tells and closes the controllers of all searches on a few host processes.

    Args:
        launcher: makes the host processes.
        count: number of processes.
        post: hands an event to the scheduler (without ``now_s``: the engine stamps it).
        on_proposal: takes a proposal, before anybody is told of it.
        flush: waits until every row is durable; a controller replays what is durable.
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
        line.generation += 1
        line.ready = False
        line.wanted = 0
        self._spawn(self._open(search_id, line, line.generation))

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

    def close(self, search_id: str) -> None:
        """Forget a search's controller, after everything that was ordered before."""
        line = self._lines.pop(search_id, None)
        if line is not None:
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
        if line.ready and not line.busy and not line.closed and (line.tells or line.wanted):
            line.busy = True
            tells, line.tells = line.tells, []
            wanted, line.wanted = line.wanted, 0
            self._spawn(self._step(search_id, line, line.generation, tells, wanted))

    async def _step(self, search_id: str, line: Line, generation: int, tells: list[Told], wanted: int) -> None:
        host = self._host(line.slot)
        try:
            found = await host.step(search_id, tells, wanted)
        except DIED as error:
            line.busy = False
            self._lost(search_id, line, generation, host, error)
            return
        except SearchNotFoundError as error:
            line.busy = False
            self._lost(search_id, line, generation, None, error)
            return
        except Exception as error:
            line.busy = False
            self._failed(search_id, line, generation, error)
            return
        line.busy = False
        if line.closed or line.generation != generation:
            return
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
        log.warning("the controller host of search %s died, its searches are replayed: %s", search_id, error)
        self._post(lambda now: ControllerLost(now, search_id, str(error)))

    def _failed(self, search_id: str, line: Line, generation: int, error: BaseException) -> None:
        if line.closed or line.generation != generation:
            return
        line.ready = False
        reason = str(remote_cause(error))
        self._post(lambda now: ControllerFailed(now, search_id, reason))

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
