"""``xnas logs``: what the processes of a service said about a search or one of its trials."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import clean, note, say, shown
from xnas_ray.commands.options import AsJson, Root, SearchId
from xnas_ray.commands.searches import handle_of

if TYPE_CHECKING:
    from xnas_ray.search_handle import SearchHandle
    from xnas_ray.service.log_lines import Line
    from xnas_ray.service.store_access import NewLines

LINES = 40
LOOK_S = 1.0
KNOWN = frozenset(("time", "level", "process", "logger", "message", "search", "trial", "attempt", "traceback"))
"""Fields of a line that have places of their own."""


@command(
    "logs",
    examples=["xnas logs latest", "xnas logs 01JD 17", "xnas logs 01JD 17 -n 200", "xnas logs latest --follow"],
)
def logs(
    search_id: SearchId,
    trial: Annotated[
        int | None, typer.Argument(metavar="[TRIAL]", min=0, help="Number of a trial; default: the whole search.")
    ] = None,
    root: Root = None,
    number: Annotated[int, typer.Option("-n", "--number", metavar="N", min=1, help="Last lines to print.")] = LINES,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the search has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the last log lines of a trial or a search.

    Running and failed trials have them too.

    They are read from the store, so no service is needed. Warnings and worse of any code are there, and what xnas says
    of each epoch; to see more of a task's own code, set a level on its logger. With --json one JSON object a line.
    """
    handle = handle_of(root, search_id)
    lines = handle.client.store.logs(handle.id, trial)
    found = lines.new()
    if not found and trial is not None:
        found = handle.client.store.failure_lines(handle.id, trial)
    _print(found[-number:], trial, as_json)
    if follow:
        _follow(handle, lines, trial, as_json)
    elif not found:
        note(f"no log lines of {'search' if trial is None else f'trial {trial} of'} {handle.id}")


def _follow(handle: SearchHandle, lines: NewLines, trial: int | None, as_json: bool) -> None:
    """Print lines as they come; the last ones are in the store a moment after the end."""
    ended = False
    while not ended:
        ended = _has_ended(handle, trial)
        time.sleep(2 * LOOK_S if ended else LOOK_S)
        _print(lines.new(), trial, as_json)


def _has_ended(handle: SearchHandle, trial: int | None) -> bool:
    if handle.client.store.ended(handle.id):
        return True
    return trial is not None and trial in set(handle.results()["trial"])


def _print(lines: list[Line], trial: int | None, as_json: bool) -> None:
    for line in lines:
        if as_json:
            import json

            print(json.dumps(line, ensure_ascii=True), flush=True)
        else:
            say(text(line, trial is None))


def text(line: Line, with_trial: bool) -> str:
    """A line for people: time, level if it is worth one, process, trial, message, and further fields.

    Args:
        line: see ``log_lines``.
        with_trial: name the trial.
    """
    parts = [_clock(line.get("time")), str(line.get("process", ""))]
    if with_trial and "trial" in line:
        parts.append(f"trial {line['trial']}")
    if line.get("level") not in ("INFO", None):
        parts.append(str(line["level"]))
    parts.append(clean(line.get("message", "")))
    parts += [f"{name}={_value(value)}" for name, value in line.items() if name not in KNOWN]
    traceback = [f"    {each}" for each in str(line.get("traceback", "")).splitlines()]
    return "\n".join(["  ".join(clean(part) for part in parts if part), *traceback])


def _clock(at: Any) -> str:
    try:
        return time.strftime("%m-%d %H:%M:%S", time.localtime(at))
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def _value(value: Any) -> str:
    return shown(float(value)) if isinstance(value, float) else clean(value, 200)
