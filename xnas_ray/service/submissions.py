"""How a search enters the queue: looked through by a controller host, durable, then known; once a key."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.service.books import Book
from xnas_ray.service.engine import Engine
from xnas_ray.service.hosts import Hosts
from xnas_ray.service.users import current_user
from xnas_ray.store.ids import new_search_id


class Submissions:
    """Queues searches.

    Args:
        engine: takes them.
        hosts: look up the names of a specification, and import its task.
    """

    def __init__(self, engine: Engine, hosts: Hosts) -> None:
        """No key is known."""
        self._engine = engine
        self._hosts = hosts
        self._by_key: dict[str, asyncio.Future[str]] = {}

    def restore(self, idempotency_key: str, search_id: str) -> None:
        """A search was submitted with this key to a head before this one."""
        known = asyncio.get_running_loop().create_future()
        known.set_result(search_id)
        self._by_key[idempotency_key] = known

    async def submit(
        self, spec: Mapping[str, Any], task_hash: str, idempotency_key: str | None, search_id: str | None
    ) -> str:
        """See ``Head.submit``."""
        if not idempotency_key:
            return await self._submit(spec, task_hash, None, search_id)
        if idempotency_key not in self._by_key:
            work = asyncio.ensure_future(self._submit(spec, task_hash, idempotency_key, search_id))
            self._by_key[idempotency_key] = work
            work.add_done_callback(partial(self._forget_refused, idempotency_key))
        return await asyncio.shield(self._by_key[idempotency_key])  # who asks twice at once waits for one answer

    def _forget_refused(self, idempotency_key: str, work: asyncio.Future[str]) -> None:
        """What was refused may be corrected and submitted again with its key."""
        if work.cancelled() or work.exception() is not None:
            del self._by_key[idempotency_key]

    async def _submit(
        self, spec: Mapping[str, Any], task_hash: str, idempotency_key: str | None, search_id: str | None
    ) -> str:
        card = {**await self._hosts.resolve(spec, task_hash), "submitted_by": current_user()}
        search_id = search_id or new_search_id(time.time())
        book = Book(search_id, card)
        durable = asyncio.Event()
        columns = {
            "summary": book.summary(),
            "name": book.spec.name,
            "task": card["task"],
            "controller": book.spec.controller.name,
            "spec": json.dumps(card),
            "idempotency_key": idempotency_key,
            "submitted_by": card["submitted_by"],
        }
        self._engine.log_search(search_id, SearchState.QUEUED, "", durable.set, **columns)
        await durable.wait()
        if book.spec.reuse == "completed":
            self._engine.reuse.refresh()  # what has just ended is known to who asks for more of it
        self._engine.books[search_id] = book  # nobody sees it before it is durable
        self._engine.post(lambda now: m.SearchSubmitted(now, search_id, book.config()))
        return search_id
