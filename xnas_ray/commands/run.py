"""``xnas run``: one search from start to end in this process, with an embedded Ray."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import clean, nearby, note, say
from xnas_ray.commands.options import FINISHED, PAUSED, Root, spec_source
from xnas_ray.errors import SearchNotFoundError, SpecError, TransitionError, XnasError

if TYPE_CHECKING:
    from xnas_ray.search_handle import SearchHandle, Status
    from xnas_ray.spec import SearchSpec

INTERRUPTED = 130
NOT_FINISHED = 1
LOOPBACK = "127.0.0.1"
SHOWN = 5
MOTIFS_SHOWN = 3
BUDGETS = ("budget.trials", "budget.gpu_hours", "budget.wall_clock")
CHANGEABLE = (*BUDGETS, "resources.workers")


@command(
    examples=[
        "xnas run experiments/digits/random_search.toml",
        "xnas run --task digits --controller regularized_evolution --trials 64 --workers 2",
        "xnas run spec.toml --set recipe.lr=0.05 --controller.params population=20",
        "xnas run --resume",
        "xnas run --resume 01JD --trials 128",
        "xnas run spec.toml --dashboard",
    ],
    with_spec=True,
)
def run(
    target: Annotated[
        str | None, typer.Argument(metavar="SPEC.toml|ID", help="A TOML file; with --resume a search or a file.")
    ] = None,
    root: Root = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an unfinished search: ID, the latest of SPEC.toml, or the latest."),
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option("--interval", metavar="SECONDS", min=0.1, help="Between two looks. Default: 1 live, else 30."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Settings of the service, such as cluster/local.toml."),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the store from a service that seems alive but is not.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Start Ray's dashboard and metrics, for this machine alone.")
    ] = False,
    dashboard_host: Annotated[
        str, typer.Option("--dashboard-host", metavar="ADDRESS", help="The same, listening on this address.")
    ] = "",
    *,
    overrides: dict[str, Any],
) -> None:
    """Run a search here, from start to end, with an embedded Ray.

    Ends with the best architectures and the winner's accuracy on the test split. Ctrl-C stops cleanly: running trials
    write checkpoints and `xnas run --resume` goes on; a second one stops at once. On a cluster use `xnas submit`.
    """
    from xnas_ray import client as clients
    from xnas_ray.search_handle import SearchHandle

    store = clients.store_root(root)[0].absolute()
    search_id = resumable(store, target, overrides) if resume else None
    spec = stored_spec(store, search_id, overrides) if search_id else new_spec(target, overrides)
    service = clients.local_client(
        store,
        workers=spec.resources.workers,
        cpus=spec.resources.cpus,
        only=(search_id,) if search_id else (),
        profile=profile,
        take_over=take_over,
        dashboard_host=dashboard_host or (LOOPBACK if dashboard else ""),
        on_start=lambda: note(f"starting a service on this machine; its store is {store}"),
        on_dashboard=lambda address: note(dashboard_text(address, store)),
    )
    with Signals() as signals, service as client:
        if search_id is None:
            handle = client.submit(spec)
        else:
            handle = SearchHandle(client, search_id)
            _go_on(handle, spec, overrides)
        status = _follow(handle, interval, signals)
        if status is None:
            _stop(handle)
            raise typer.Exit(INTERRUPTED)
        conclude(handle, status)
    if status["state"] != FINISHED:
        raise typer.Exit(NOT_FINISHED)


class Signals:
    """While it is entered, the first SIGINT or SIGTERM is only remembered; the second one interrupts.

    Attributes:
        requested: whether there was a first one.
    """

    def __init__(self) -> None:
        """Nothing was requested."""
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def dashboard_text(address: str, store: Path) -> str:
    """How to see a dashboard: here, and through ssh where it listens on this machine alone.

    Args:
        address: ``host:port``.
        store: whose token it asks for.
    """
    import socket

    from xnas_ray.service.bring_up import TOKEN

    host, _, port = address.rpartition(":")
    lines = [f"Ray's dashboard: http://{address}/#/actors; it asks for the token in {store / TOKEN}"]
    if host in (LOOPBACK, "localhost", "[::1]"):
        there = socket.gethostname()
        lines.append(f"  from your machine: ssh -N -L 8265:{LOOPBACK}:{port} {there}, then http://localhost:8265")
    return "\n".join(lines)


# ---- which search ---------------------------------------------------------------------------------------------------


def new_spec(target: str | None, overrides: Mapping[str, Any]) -> SearchSpec:
    """The specification of a new search; what is wrong with it or its task's name is found before Ray starts."""
    from xnas_ray.spec_forms import as_spec
    from xnas_ray.tasks.finding import find_task

    spec = as_spec(spec_source(None if target is None else Path(target), overrides), overrides)
    find_task(spec.task)
    return spec


def resumable(store: Path, target: str | None, overrides: Mapping[str, Any]) -> str:
    """The search that ``--resume`` means.

    Args:
        store: folder of the store.
        target: an id or a prefix of one, a TOML file (its latest unfinished search), or None for the latest one.
        overrides: settings given as flags; a finished search is reopened only with a larger budget.

    Raises:
        SearchNotFoundError: there is none.
        TransitionError: it has ended and no new budget is given.
        SpecError: a flag changes what cannot be changed any more.
    """
    from xnas_ray.client import Client
    from xnas_ray.service.archive import stored_state
    from xnas_ray.store import unfinished_searches

    for name in overrides:
        if name not in CHANGEABLE:
            raise SpecError("a search that is resumed keeps this setting.", field=name, valid=CHANGEABLE)
    unfinished = unfinished_searches(store)
    if target is not None and (target.endswith(".toml") or Path(target).is_file()):
        unfinished = [one for one in unfinished if _is_of(store, one, Path(target))]
    elif target is not None:
        found = Client(store).handle(target).id
        if stored_state(store, found).ended and not any(name in BUDGETS for name in overrides):
            raise TransitionError(
                f"search {found} has ended ({stored_state(store, found)}).",
                field="ID",
                fix=f"Reopen it with a larger budget: xnas run --resume {found} --trials N.",
            )
        return found
    if not unfinished:
        what = f" of {target}" if target else ""
        raise SearchNotFoundError(
            f"there is no unfinished search{what} in {store}.",
            field="--resume",
            fix="Leave --resume out to start a new one, or name a finished one with a larger --trials.",
        )
    return unfinished[-1]


def stored_spec(store: Path, search_id: str, overrides: Mapping[str, Any]) -> SearchSpec:
    """The stored specification with the settings that may change."""
    from xnas_ray.service.archive import stored_card
    from xnas_ray.spec_forms import as_spec

    return as_spec(stored_card(store, search_id)["spec"], overrides)


def _is_of(store: Path, search_id: str, path: Path) -> bool:
    """Whether a stored search was made from this file: it has every value of it, what may change later excepted."""
    from xnas_ray.service.archive import stored_card
    from xnas_ray.spec_forms import as_spec

    given = as_spec(path).model_dump(mode="json", exclude_unset=True, exclude={"budget", "resources"})
    return _contains(stored_card(store, search_id)["spec"], given)


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(_contains(whole.get(key), value) for key, value in part.items())
    if isinstance(part, Sequence) and not isinstance(part, str):
        return list(part) == list(whole or ())
    return bool(part == whole)


# ---- from start to end ----------------------------------------------------------------------------------------------


def _go_on(handle: SearchHandle, spec: SearchSpec, overrides: Mapping[str, Any]) -> None:
    if any(name in BUDGETS for name in overrides):
        budget = spec.budget
        handle.extend(
            budget.trials if "budget.trials" in overrides else None,
            budget.gpu_hours if "budget.gpu_hours" in overrides else None,
            budget.wall_clock if "budget.wall_clock" in overrides else None,
        )
    if handle.status()["state"] == PAUSED:
        handle.resume()


def _follow(handle: SearchHandle, interval: float | None, signals: Signals) -> Status | None:
    from xnas_ray.commands.view import follow

    say(f"search {handle.id} in {handle.client.root}")
    try:
        return follow(handle, interval_s=interval, stopping=lambda: signals.requested)
    except KeyboardInterrupt:
        note(f"stopped; go on with: {resume_line(handle)}")
        raise


def _stop(handle: SearchHandle) -> None:
    note("stopping: running trials write checkpoints; Ctrl-C once more stops at once")
    try:
        handle.client.stop_service()
    except XnasError as error:
        note(f"the service did not stop cleanly: {error}")
    finally:
        note(f"stopped; go on with: {resume_line(handle)}")


def resume_line(handle: SearchHandle) -> str:
    """The command that goes on with a search."""
    import shlex

    from xnas_ray.client import store_root

    here = store_root()[0].absolute() == handle.client.root
    return f"xnas run --resume {handle.id}" + ("" if here else f" --root {shlex.quote(str(handle.client.root))}")


def conclude(handle: SearchHandle, status: Mapping[str, Any]) -> None:
    """Print how a search ended: its best architectures, the winner's test figures, and where the results are."""
    from xnas_ray.commands.outcomes import duckdb_line, objectives_of, say_best
    from xnas_ray.commands.why import say_why

    reason = f": {clean(status['reason'])}" if status["reason"] else ""
    say(f"\n{status['state']}{reason}")
    found = handle.best(SHOWN)
    if found:
        say("\nbest architectures")
        say_best(found)
        say(f"\n{_test_text(handle, found[0]['trial'])}")
        say_why(handle, MOTIFS_SHOWN)
    if status["state"] == PAUSED:
        note(f"go on with: {resume_line(handle)}")
    root = nearby(handle.client.root)
    say(f"\nresults: {root}/trials/search_id={handle.id}/\n  xnas results {handle.id}\n  xnas report {handle.id}")
    say(f"  {duckdb_line(root, handle.id, objectives_of(handle)[0])}")


def _test_text(handle: SearchHandle, trial: int) -> str:
    """The winner's figures on the test split, measured here and only here."""
    try:
        measured = handle.measure_test(trial)
    except XnasError as error:
        return f"the winner (trial {trial}) was not measured on the test split: {error}"
    lines = [_with_unit(name, value) for name, value in measured.items() if name != "test_loss"]
    return "\n".join(f"winner's {text} (trial {trial})" for text in lines)


def _with_unit(name: str, value: float) -> str:
    from xnas_ray.objectives.names import OBJECTIVE_NAMES

    known = OBJECTIVE_NAMES.get(name.replace("test_", "val_", 1))
    words = name.replace("_", " ")
    return f"{words}: {value:.2f} %" if known and known.unit == "%" else f"{words}: {value:.6g}"
