"""Searches that commands derive from another one: the same when asked for again, trained here where no service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from xnas_ray.commands.console import note
from xnas_ray.commands.options import FINISHED, PAUSED
from xnas_ray.commands.run import INTERRUPTED, NOT_FINISHED, Signals

if TYPE_CHECKING:
    from xnas_ray.client import Client
    from xnas_ray.search_handle import SearchHandle, Status
    from xnas_ray.spec import SearchSpec


def train_child(handle: SearchHandle, spec: SearchSpec, key: str) -> SearchHandle:
    """Train a child of a search to its end, by the service of the store or by one that is started here.

    Args:
        handle: the search.
        spec: of the child.
        key: its idempotency key; a child of this key that was begun goes on, one that has ended is given back.

    Raises:
        typer.Exit: it was interrupted, or did not finish.
    """
    from xnas_ray.client import local_client

    found = _known(handle.client, key)
    if found is not None and handle.client.store.ended(found.id):
        return found
    if handle.client.store.living_writer():
        return _followed(handle, spec, key, found, own=False)
    needs, root = spec.resources, handle.client.root
    service = local_client(
        root,
        workers=needs.workers,
        cpus=needs.cpus,
        only=(found.id,) if found is not None else (),
        on_start=lambda: note(f"starting a service on this machine; its store is {root}"),
    )
    with service as client:
        child = _followed(client.handle(handle.id), spec, key, found, own=True)
    return handle.client.handle(child.id)


def _known(client: Client, key: str) -> SearchHandle | None:
    """The search of this idempotency key, if there was one."""
    for row in client.searches().to_dict("records"):
        if row["idempotency_key"] == key:
            return client.handle(row["search_id"])
    return None


def _followed(
    handle: SearchHandle, spec: SearchSpec, key: str, found: SearchHandle | None, *, own: bool
) -> SearchHandle:
    """Queue it, or go on with it, and follow it to its end; a service of our own ends with Ctrl-C."""
    from xnas_ray.commands.view import follow

    client = handle.client
    with Signals() as signals:
        child = client.handle(found.id) if found is not None else handle.submit_child(spec, key)
        if found is not None and child.status()["state"] == PAUSED:
            child.resume()
        note(f"search {child.id} trains {spec.budget.trials} networks")
        status = follow(child, stopping=lambda: signals.requested)
    if status is None:
        if own:
            client.stop_service()
        note("stopped; the same command goes on" if own else "the trainings go on; the same command follows them")
        raise typer.Exit(INTERRUPTED)
    if status["state"] != FINISHED:
        note(_why(status))
        raise typer.Exit(NOT_FINISHED)
    return child


def _why(status: Status) -> str:
    return f"the trainings did not finish: {status['state']}" + (f", {status['reason']}" if status["reason"] else "")
