"""``xnas slurm``: services, searches and workers as Slurm jobs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import app, command
from xnas_ray.commands.console import note, say, say_json, say_table
from xnas_ray.commands.options import AsJson, Root, SpecFile, spec_source
from xnas_ray.commands.slurm_flags import with_parameters
from xnas_ray.errors import SlurmError, SpecError, UnknownNameError
from xnas_ray.slurm import jobs
from xnas_ray.slurm.parameters import Resolved, resolve_parameters
from xnas_ray.slurm.records import SEARCH, SERVICE, folder_of, log_of, recorded
from xnas_ray.slurm.scaling import add_nodes, jobs_of, let_go, plan_change, submit_recorded
from xnas_ray.slurm.script import Place, SearchJob, search_script, service_script, worker_script

if TYPE_CHECKING:
    from xnas_ray.spec import SearchSpec

slurm = typer.Typer(help="Services and searches as Slurm jobs.", rich_markup_mode=None)
app.add_typer(slurm, name="slurm")

DOWN_PATIENCE_S = 180.0
ENDED_SHOWN = 5
FOLLOW_S = 2.0
Profile = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE", help="Parameters and settings. Default: cluster/slurm.toml, if there."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted or cancelled; do nothing.")]


def _resolved(given: Mapping[str, Any], profile: Path | None) -> Resolved:
    return resolve_parameters(given, environment=os.environ, profile=profile)


def _place(root: Path | None, resolved: Resolved) -> Place:
    from xnas_ray.client import store_root
    from xnas_ray.service.settings import HeadSettings

    profile = resolved.profile.absolute() if resolved.profile else None
    if profile is not None:
        HeadSettings.from_toml(profile)  # a mistake in its other tables is found now, not when the job starts
    return Place(root=store_root(root)[0].absolute(), python=Path(sys.executable), profile=profile)


# ---- a standing service ----------------------------------------------------------------------------------------------


@command(
    examples=[
        "xnas slurm up --nodes 2 --gpus-per-node 4 --partition gpu",
        "xnas slurm up --profile cluster/slurm.toml --dry-run",
    ],
    group=slurm,
)
@with_parameters
def up(root: Root = None, profile: Profile = None, dry_run: DryRun = False, *, given: dict[str, Any]) -> None:
    """Start a service that many searches queue into.

    It lives in one job, survives preemption and its time limit by queueing again, and is found through the store:
    `xnas submit` needs no address. The parameters come from flags, then XNAS_SLURM_<NAME>, then the profile.
    """
    resolved = _resolved(given, profile)
    _refuse_small(resolved)
    place = _place(root, resolved)
    script = service_script(resolved.parameters, place)
    if dry_run:
        print(script, end="")
        return
    jobs.probe()
    _refuse_second(place.root)
    job_id = submit_recorded(place.root, SERVICE, script, resolved.parameters, place=place, elastic=resolved.elastic)
    if resolved.elastic is not None:
        note(f"it will have {resolved.elastic.min} to {resolved.elastic.max} nodes, as many as its searches can use")
    note(f"when it runs: xnas submit SPEC.toml --root {place.root}\nlook at it with: xnas slurm status")
    say(job_id)


def _refuse_small(resolved: Resolved) -> None:
    elastic, nodes = resolved.elastic, resolved.parameters.node_count
    if elastic is not None and elastic.max < nodes:
        raise SpecError(
            f"is below the {nodes} nodes of the service's own job.", field="slurm.elastic.max", got=elastic.max
        )


def _refuse_second(root: Path) -> None:
    """One service writes a store: say so before a job waits for hours to find out."""
    from xnas_ray.service.archive import living_writer

    holding = {r.job_id: r.role for r in recorded(root) if r.role in (SERVICE, SEARCH)}
    for job in jobs.queued(holding):
        raise SlurmError(
            f"job {job.job_id} ({holding[job.number]}, {job.state.lower()}) works on {root} already.",
            field="store",
            fix="Queue searches into a service with `xnas submit`, or choose another store with --root.",
        )
    if holder := living_writer(root):
        raise SlurmError(
            f"another service works on {root}: {holder}.", field="store", fix="Stop it, or choose another with --root."
        )


# ---- one search ------------------------------------------------------------------------------------------------------


@command(
    examples=[
        "xnas slurm submit -t digits -s -r MAINTENANCE -n 4",
        "xnas slurm submit experiments/cifar10/nsga2.toml --nodes 16 --gpus-per-node 4 --timeout-min 1440",
    ],
    with_spec=True,
    group=slurm,
)
@with_parameters
def submit(
    spec: SpecFile = None,
    task: Annotated[str | None, typer.Option("-t", metavar="TASK", help="The task; short for --task.")] = None,
    single_objective: Annotated[
        bool, typer.Option("--single-objective", "-s", help="Only the task's first objective, its performance.")
    ] = False,
    root: Root = None,
    profile: Profile = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Look names, task and data up here, before the job is queued.")
    ] = True,
    dry_run: DryRun = False,
    *,
    overrides: dict[str, Any],
    given: dict[str, Any],
) -> None:
    """Run one search as a job of its own.

    The job brings up Ray on its nodes, runs the search and ends with it; a job that Slurm queues again goes on where
    the search stopped. The task folder travels with the job as it is now.
    """
    from xnas_ray.spec_forms import as_spec

    if task is not None:
        overrides = {**overrides, "task": task}
    resolved = _resolved(given, profile)
    place = _place(root, resolved)
    wanted = as_spec(spec_source(spec, overrides), overrides)
    search = _search_job(place.root, wanted, single_objective=single_objective, check=check, dry_run=dry_run)
    script = search_script(resolved.parameters, place, search)
    if dry_run:
        print(script, end="")
        return
    jobs.probe()
    _refuse_second(place.root)
    job_id = submit_recorded(
        place.root, SEARCH, script, resolved.parameters, task_hash=search.task_hash, key=search.key
    )
    note(f"its log: xnas slurm logs {job_id} --follow --root {place.root}")
    say(job_id)


def _search_job(root: Path, spec: SearchSpec, *, single_objective: bool, check: bool, dry_run: bool) -> SearchJob:
    """The search as the job will submit it; the task's bundle is in the store afterwards, except for a dry run."""
    import json
    import tempfile

    from xnas_ray.store import new_search_id
    from xnas_ray.tasks.bundle import bundle_task
    from xnas_ray.tasks.finding import find_task

    if single_objective and not check:
        raise SpecError("needs --check: which objectives a task has is not known without it.", field="-s")
    with tempfile.TemporaryDirectory(prefix="xnas-slurm-") as folder:
        bundle = bundle_task(find_task(spec.task), folder)
        settings = spec.to_json()
        if check:
            from xnas_ray.service.resolve import resolve

            settings = resolve(Path(folder), spec, bundle.hash).spec.to_json()
    if single_objective:
        settings["objectives"] = settings["objectives"][:1]
    if not dry_run:
        folder_of(root)
        bundle_task(find_task(spec.task), root)
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    key = "slurm-" + (bundle.hash if dry_run else new_search_id(time.time()))
    return SearchJob(spec=text, task_hash=bundle.hash, key=key)


# ---- more and fewer nodes --------------------------------------------------------------------------------------------


@command(examples=["xnas slurm scale 6", "xnas slurm scale 2 --dry-run"], group=slurm)
@with_parameters
def scale(
    nodes: Annotated[
        int, typer.Argument(metavar="NODES", min=1, help="Nodes in all, those of the service's own job included.")
    ],
    root: Root = None,
    profile: Profile = None,
    dry_run: DryRun = False,
    *,
    given: dict[str, Any],
) -> None:
    """Let a running service have more nodes, or fewer.

    More come as an array of jobs of one node each, with the same parameters as `up`; the newest of them go first.
    """
    resolved = _resolved(given, profile)
    place = _place(root, resolved)
    jobs.probe()
    change = plan_change(jobs_of(place.root), nodes)
    if change.missing:
        if dry_run:
            print(worker_script(resolved.parameters, place, count=change.missing), end="")
            return
        say(add_nodes(place, resolved.parameters, change.missing))
    elif change.leaving:
        say("leaving: " + " ".join(sorted((job.job_id for job in change.leaving), key=_by_number)))
        if not dry_run:
            let_go(place.root, change.leaving)
    else:
        note(f"the service has {nodes} nodes, or waits for them")


def _by_number(job_id: str) -> tuple[int, int]:
    number, _, task = job_id.partition("_")
    return int(number), int(task or 0)


# ---- looking and ending ----------------------------------------------------------------------------------------------


@command(examples=["xnas slurm status", "xnas slurm status --json"], group=slurm)
def status(root: Root = None, as_json: AsJson = False) -> None:
    """Show the jobs of the store."""
    from xnas_ray.client import store_root

    store = store_root(root)[0].absolute()
    records = recorded(store)
    jobs.probe()
    running = jobs.queued({record.job_id for record in records}) if records else []
    roles = {record.job_id: record.role for record in records}
    rows: list[dict[str, Any]] = [
        {"job": job.job_id, "role": roles[job.number], "state": job.state.lower(), "time": job.elapsed}
        | {"limit": job.limit, "nodes": job.nodes, "where": job.where}
        for job in running
    ]
    living = {job.number for job in running}
    for record in [record for record in records if record.job_id not in living][-ENDED_SHOWN:]:
        state = (jobs.last_state(record.job_id) or "ended").lower()
        facts = {"job": record.job_id, "role": record.role, "state": state, "nodes": record.nodes}
        rows.insert(len(rows) - len(running), {**facts, "time": None, "limit": None, "where": None})
    if as_json:
        say_json({"store": str(store), "jobs": rows})
    elif rows:
        columns = ("job", "role", "state", "time", "limit", "nodes", "where")
        say_table(columns, [[row[name] for name in columns] for row in rows], limit=60)
    else:
        say(f"no jobs of {store}")


@command(examples=["xnas slurm down", "xnas slurm down --now"], group=slurm)
def down(
    root: Root = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for checkpoints.")] = False,
    dry_run: DryRun = False,
) -> None:
    """End the store's jobs: its service or searches, and their workers.

    Running trials write checkpoints first, and their searches go on when the next service starts. No other job is
    touched.
    """
    from xnas_ray.client import store_root

    store = store_root(root)[0].absolute()
    jobs.probe()
    running = jobs_of(store).all
    if not running:
        note(f"no job of {store} waits or runs")
        return
    say("ending: " + " ".join(job.job_id for job in running))
    if dry_run:
        return
    jobs.cancel(running, gently=not now)
    numbers = {job.number for job in running}
    left = jobs.wait_until_gone(sorted(numbers), DOWN_PATIENCE_S)
    late = [job for job in jobs_of(store).all if job.number not in numbers]
    if late:  # nodes that the service had asked for when it was told to end
        jobs.cancel(late)
        left += jobs.wait_until_gone([job.number for job in late], DOWN_PATIENCE_S)
    if left and not now:
        note("not ended in time, cancelling: " + " ".join(job.job_id for job in left))
        jobs.cancel(left)
        left = jobs.wait_until_gone([job.number for job in left], DOWN_PATIENCE_S)
    if left:
        raise SlurmError("still there: " + " ".join(job.job_id for job in left), fix="Look with: squeue --me")


@command(examples=["xnas slurm logs", "xnas slurm logs 1234 --follow"], group=slurm)
def logs(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="A job's number. Default: the newest one.")] = None,
    root: Root = None,
    lines: Annotated[int, typer.Option("--lines", "-l", min=1, metavar="N", help="Only the last N lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
) -> None:
    """Print a job's log.

    What Ray says is in the folder of the same name beside it.
    """
    from xnas_ray.client import store_root

    store = store_root(root)[0].absolute()
    known = [record.job_id for record in recorded(store)]
    if job is None and not known:
        raise SlurmError(f"no job was submitted for {store}.", fix="Name its store with --root.")
    number = job or known[-1]
    if number.partition("_")[0] not in known:
        raise UnknownNameError("no such job of this store.", field="JOB", got=number, valid=known)
    path = log_of(store, number)
    if not path.exists() and (tasks := sorted(path.parent.glob(f"{number}_*.log"))):
        path = tasks[0]
    shown = _print_end(path, lines)
    while follow and jobs.queued([number.partition("_")[0]]):
        time.sleep(FOLLOW_S)
        shown = _print_from(path, shown)


def _print_end(path: Path, lines: int) -> int:
    """Print the last lines of a file; returns how many bytes of it have been seen."""
    if not path.exists():
        note(f"{path} is not there yet: the job waits")
        return 0
    data = path.read_bytes()
    for line in data.decode(errors="replace").splitlines()[-lines:]:
        say(line)
    return len(data)


def _print_from(path: Path, seen: int) -> int:
    """Print the whole lines of a file that were not seen; returns how many bytes have been."""
    if not path.exists():
        return seen
    with path.open("rb") as file:
        file.seek(seen)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        say(line)
    return seen + len(whole)
