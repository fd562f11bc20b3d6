"""Searches that commands derive from another one: trained to their end, and the same when asked for again."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from xnas_ray.commands.console import note
from xnas_ray.commands.options import FINISHED, PAUSED
from xnas_ray.commands.run import INTERRUPTED, NOT_FINISHED, Signals

if TYPE_CHECKING:
    from types import TracebackType

    from xnas_ray.client import Client
    from xnas_ray.search_handle import SearchHandle, Status
    from xnas_ray.spec import SearchSpec


class Children:
    """Trains children of a search, one after the other.

    The service of the store trains them. Where there is none, one is started on this machine when the first child needs
    it, and ends with the block::

        with Children(handle) as children:
            child = children.train(spec, key)

    Args:
        handle: the search.
    """

    def __init__(self, handle: SearchHandle) -> None:
        """Nothing is started yet."""
        self._handle = handle
        self._own: Client | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Children:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the service that was started here."""
        self._stack.__exit__(kind, error, trace)

    def train(self, spec: SearchSpec, key: str) -> SearchHandle:
        """Train a child to its end; one that has ended is not trained again, one that was begun goes on.

        Args:
            spec: of the child.
            key: its idempotency key.

        Raises:
            typer.Exit: it was interrupted, or did not finish.
        """
        found = self._known(key)
        if found is not None and self._handle.client.store.ended(found.id):
            return found
        child_id = self._followed(self._service(spec, found), spec, key, found)
        return self._handle.client.handle(child_id)

    def _known(self, key: str) -> SearchHandle | None:
        """The search of this idempotency key, if there was one."""
        client = self._handle.client
        for row in client.searches().to_dict("records"):
            if row["idempotency_key"] == key:
                return client.handle(row["search_id"])
        return None

    def _service(self, spec: SearchSpec, found: SearchHandle | None) -> Client:
        """A client of whoever trains: our own service once it was started, that of the store, or one that we start."""
        from xnas_ray.client import local_client

        client, needs = self._handle.client, spec.resources
        if self._own is None and not client.store.living_writer():
            self._own = self._stack.enter_context(
                local_client(
                    client.root,
                    workers=needs.workers,
                    cpus=needs.cpus,
                    only=(found.id,) if found is not None else (),
                    on_start=lambda: note(f"starting a service on this machine; its store is {client.root}"),
                )
            )
        return self._own or client

    def _followed(self, client: Client, spec: SearchSpec, key: str, found: SearchHandle | None) -> str:
        """Queue it, or go on with it, and follow it to its end; a service of our own ends with Ctrl-C."""
        from xnas_ray.commands.view import follow

        with Signals() as signals:
            if found is None:
                child = client.handle(self._handle.id).submit_child(spec, key)
            else:
                child = client.handle(found.id)
                if child.status()["state"] == PAUSED:
                    child.resume()
            note(f"search {child.id} trains {spec.budget.trials} networks")
            status = follow(child, stopping=lambda: signals.requested)
        if status is None:
            if self._own is not None:
                client.stop_service()
                note("stopped; the same command goes on")
            else:
                note("the trainings go on; the same command follows them")
            raise typer.Exit(INTERRUPTED)
        if status["state"] != FINISHED:
            note(_why(status))
            raise typer.Exit(NOT_FINISHED)
        return child.id


def _why(status: Status) -> str:
    return f"the trainings did not finish: {status['state']}" + (f", {status['reason']}" if status["reason"] else "")
