"""Commands that submit, list, follow and steer searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import clean, duration, note, say, say_json, say_pairs, say_table, shown
from xnas_ray.commands.options import FINISHED, PAUSED, AsJson, Root, SearchId, SpecFile, Timeout, spec_source
from xnas_ray.errors import UnknownNameError

if TYPE_CHECKING:
    from xnas_ray.client import Client
    from xnas_ray.search_handle import SearchHandle


def client_of(root: Path | None) -> Client:
    """The client of the store that ``--root`` or the environment names."""
    from xnas_ray.client import Client

    return Client(root)


def handle_of(root: Path | None, search_id: str) -> SearchHandle:
    """A search of that store."""
    return client_of(root).handle(search_id)


@command(
    examples=[
        "xnas submit spec.toml",
        "xnas submit spec.toml --trials 200 --priority 3",
        "xnas submit spec.toml --spool",
    ],
    with_spec=True,
)
def submit(
    spec: SpecFile = None,
    root: Root = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="TEXT", help="Submitting this key again gives the same search.")
    ] = None,
    spool: Annotated[
        bool, typer.Option("--spool", help="No service need run: leave it in the store for the next one.")
    ] = False,
    as_json: AsJson = False,
    *,
    overrides: dict[str, Any],
) -> None:
    """Queue a search at the running service.

    Prints the search's id. The task folder travels with it: what is changed there later changes nothing. Precedence
    of settings: flag, TOML file, problem.py, default. The service is found through XNAS_ADDRESS or the store.
    """
    from xnas_ray.spec_forms import as_spec

    checked = as_spec(spec_source(spec, overrides), overrides)
    handle = client_of(root).submit(checked, idempotency_key=key, spool=spool)
    if as_json:
        say_json({"search_id": handle.id})
    else:
        say(handle.id)
        if spool:
            note("it waits in the spool until a service takes it; see: xnas list")
            return
        note(f"follow it with: xnas watch {handle.id}")


@command("list", examples=["xnas list", "xnas list --state running --json"])
def list_command(
    root: Root = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only searches in this state.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, metavar="N", help="At most the newest N.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the searches of the store.

    The newest come last; needs no running service.
    """
    from xnas_ray.messages import SearchState

    if state is not None and state not in list(SearchState):
        raise UnknownNameError("there is no such state.", field="--state", got=state, valid=SearchState)
    client = client_of(root)
    found = client.searches().to_dict("records")
    chosen = [row for row in found if state in (None, row["state"])][-number:]
    for row in chosen:
        if not SearchState(row["state"]).ended:  # its last summary is as old as its last transition
            fresh = client.store.summary(row["search_id"])
            row |= {f"summary_{name}": value for name, value in fresh.items()}
    known = {row["search_id"] for row in found}
    spooled = [one for one in client.spooled() if one["search_id"] not in known] if state is None else []
    if as_json:
        say_json([*chosen, *spooled])
        return
    if not chosen and not spooled:
        say(f"no searches in {client.store.name}" if not found else "no such search")
        return
    columns = ("id", "name", "task", "controller", "state", "trials", "best", "submitted", "by")
    rows = [*map(_listed, chosen), *map(_listed_spooled, spooled)]
    say_table(columns, rows, limit=40, optional=("by", "submitted", "task", "controller"))
    for one in spooled:
        if one["reason"]:
            note(
                f"\n{one['search_id']} was refused: {clean(one['reason'], 300)}\nit lies in spool/refused/ of the store"
            )
    _mention_unfinished(client, found, spooled)


def _listed(row: dict[str, Any]) -> tuple[object, ...]:
    done = sum(_count(row, name) for name in ("completed", "failed")) - _count(row, "reused")
    budget = _count(row, "budget_trials")
    best = row.get("summary_best")
    return (
        row["search_id"],
        row["name"] or "",
        row["task"] or "",
        row["controller"] or "",
        row["state"],
        f"{done}/{budget}" if budget else str(done),
        f"{best['objective']} {shown(best['value'])}" if isinstance(best, dict) else "",
        row["submitted_at"].strftime("%Y-%m-%d %H:%M"),
        row.get("submitted_by") or "",
    )


def _listed_spooled(one: dict[str, Any]) -> tuple[object, ...]:
    from datetime import UTC, datetime

    at = "" if one["at"] is None else datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%d %H:%M")
    return (one["search_id"], one["name"], one["task"], one["controller"], one["state"], "", "", at, one["user"])


def _count(row: dict[str, Any], name: str) -> int:
    value = row.get(f"summary_{name}")
    return int(value) if value is not None and value == value else 0


def _mention_unfinished(client: Client, found: list[dict[str, Any]], spooled: list[dict[str, Any]]) -> None:
    from xnas_ray.messages import SearchState

    unfinished = [row for row in found if not SearchState(row["state"]).ended]
    waiting = [one for one in spooled if not one["reason"]]
    if not (unfinished or waiting) or client.store.living_writer():
        return
    if unfinished:
        note(f"\nno service works on this store; {len(unfinished)} unfinished: go on with `xnas run --resume ID`")
    if waiting:
        note(f"\nno service works on this store; {len(waiting)} in the spool: the next one takes them")


@command(examples=["xnas show 01JD", "xnas show latest --json"])
def show(search_id: SearchId, root: Root = None, as_json: AsJson = False) -> None:
    """Show what a search is and what became of it.

    Its settings, counts and transitions; needs no running service.
    """
    from xnas_ray.commands.plugins import flat
    from xnas_ray.commands.view import best_text, progress

    handle = handle_of(root, search_id)
    card, history = handle.card(), handle.transitions()
    status = handle.stored_status()
    if as_json:
        say_json({**status, "spec": card["spec"], "task_hash": card["task_hash"], "transitions": history})
        return
    facts: list[tuple[str, object]] = [
        ("search", handle.id),
        *([("submitted by", status["submitted_by"])] if status.get("submitted_by") else []),
        ("state", f"{status['state']}  {clean(status['reason'], 300)}".rstrip()),
        ("trials", progress(status)),
        ("executions", status["executions"]),
        ("best", best_text(status["best"])),
        *([("", status["best"]["architecture"])] if status["best"] else []),
        ("running time", duration(status["running_s"])),
        ("task bundle", card["task_hash"]),
    ]
    say_pairs(facts)
    say("\nspecification")
    say_pairs((f"  {name}", value) for name, value in flat(card["spec"]))
    say("\ntransitions")
    rows = [(h["at"].strftime("%Y-%m-%d %H:%M:%S"), h["state"], h["epoch"], h["reason"]) for h in history]
    say_table(("  time (UTC)", "state", "writer", "reason"), [(f"  {r[0]}", *r[1:]) for r in rows], limit=300)


@command(examples=["xnas watch latest", "xnas watch 01JD --interval 5"])
def watch(
    search_id: SearchId,
    root: Root = None,
    interval: Annotated[
        float | None,
        typer.Option("--interval", metavar="SECONDS", min=0.1, help="Between two looks. Default: 1 live, else 30."),
    ] = None,
) -> None:
    """Follow a search until it ends.

    A live table on a terminal, a line every 30 s elsewhere.
    """
    from xnas_ray.commands.view import follow

    handle = handle_of(root, search_id)
    status = follow(handle, interval_s=interval)
    if status is not None and status["state"] == PAUSED:
        note(f"paused: {clean(status['reason'])}\ngo on with: xnas resume {handle.id}")


@command(examples=["xnas wait 01JD --timeout 3600 && xnas best 01JD"])
def wait(search_id: SearchId, root: Root = None, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Wait until a search ends.

    Exit code 0 if it finished, 1 if not (failed, cancelled, paused), 3 when the time is over.
    """
    from xnas_ray.commands.view import line

    handle = handle_of(root, search_id)
    status = handle.wait(timeout)
    if status is None:
        note(f"search {handle.id} still goes on after {duration(timeout)}")
        raise typer.Exit(3)
    if as_json:
        say_json(status)
    else:
        say(line(status))
    if status["state"] != FINISHED:
        raise typer.Exit(1)


@command(examples=["xnas pause 01JD", "xnas pause 01JD --now"])
def pause(
    search_id: SearchId,
    root: Root = None,
    now: Annotated[
        bool, typer.Option("--now", help="Running trials checkpoint and go on after resume, instead of finishing.")
    ] = False,
) -> None:
    """Start no more trials of a search until it is resumed."""
    handle = handle_of(root, search_id)
    handle.pause(at_once=now)
    say(f"pausing {handle.id}")


@command(examples=["xnas resume 01JD"])
def resume(search_id: SearchId, root: Root = None) -> None:
    """Let a paused search go on."""
    handle = handle_of(root, search_id)
    handle.resume()
    say(f"resumed {handle.id}")


@command(examples=["xnas cancel 01JD"])
def cancel(search_id: SearchId, root: Root = None) -> None:
    """End a search; what it has measured stays."""
    handle = handle_of(root, search_id)
    handle.cancel()
    say(f"cancelling {handle.id}")


@command(examples=["xnas extend 01JD --trials 200", "xnas extend 01JD --wall-clock 7200"])
def extend(
    search_id: SearchId,
    root: Root = None,
    trials: Annotated[int | None, typer.Option("--trials", metavar="N", help="New number of trials in all.")] = None,
    gpu_hours: Annotated[
        float | None, typer.Option("--gpu-hours", metavar="NUMBER", help="New number of GPU hours in all.")
    ] = None,
    wall_clock: Annotated[
        float | None, typer.Option("--wall-clock", metavar="SECONDS", help="New running time in all.")
    ] = None,
) -> None:
    """Give a search a larger budget.

    A finished one is reopened and goes on where it stopped. Limits are new totals, not what is added.
    """
    handle = handle_of(root, search_id)
    handle.extend(trials, gpu_hours, wall_clock)
    say(f"extended {handle.id}")
