"""The end of a search: what its controller has learnt is stored before anybody sees the search finished."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from xnas_ray.errors import ControllerError
from xnas_ray.messages import SearchState
from xnas_ray.service.engine import Engine
from xnas_ray.service.hosts import Hosts

log = logging.getLogger(__name__)

PATIENCE_S = 600.0
STOP_PATIENCE_S = 30.0


class LastWords:
    """Asks the controllers of finished searches for their explanations.

    The tables are appended before the row that says ``finished``, and a commit keeps that order: whoever reads the row
    finds the tables. Until then the search counts as unfinished, so that a head that dies meanwhile is succeeded by
    one that asks again; tables that were written twice replace each other. The scheduler goes on at once: the search
    holds no slot and no worker. A controller that fails to explain itself costs its explanations, not the search.

    Args:
        engine: writes the rows.
        hosts: have the controllers.
        patience_s: how long a controller may take.
    """

    def __init__(self, engine: Engine, hosts: Hosts, patience_s: float = PATIENCE_S) -> None:
        """Nobody has finished."""
        self._engine = engine
        self._hosts = hosts
        self._patience_s = patience_s
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, search_id: str, reason: str) -> None:
        """A search has finished."""
        self._engine.finishing.add(search_id)
        words = self._hosts.last_words(search_id, self._engine.books[search_id].card)
        task = asyncio.ensure_future(self._end(search_id, reason, words))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """Wait for those that are being asked; whoever takes longer is asked again by the next service."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _end(self, search_id: str, reason: str, words: asyncio.Future[dict[str, Any]]) -> None:
        tables, problems = {}, []
        try:
            tables = await asyncio.wait_for(words, self._patience_s)
        except asyncio.CancelledError:  # the search was extended, or the service stops
            self._engine.finishing.discard(search_id)
            return
        except TimeoutError:
            problems.append(f"the controller took more than {self._patience_s:g} s")
        except ControllerError as error:
            problems.append(error.message)
        self._hosts.close(search_id)
        self._engine.finishing.discard(search_id)
        if self._engine.scheduler.search(search_id).state != SearchState.FINISHED:
            return
        problems += [problem for kind, table in tables.items() if (problem := self._store(search_id, kind, table))]
        if problems:
            reason = "; ".join(filter(None, (reason, f"explanations are missing: {' '.join(problems)}")))
        self._engine.log_search(search_id, SearchState.FINISHED, reason)

    def _store(self, search_id: str, kind: str, table: Any) -> str:
        """Append a table; what is wrong with it, ``""`` if nothing is."""
        try:
            self._engine.commits.append_explanation(kind, search_id, table)
        except Exception as error:  # a controller's table may be anything
            log.warning("search %s: explanations %r cannot be stored", search_id, kind, exc_info=True)
            return f"{kind}: {error}"
        return ""
