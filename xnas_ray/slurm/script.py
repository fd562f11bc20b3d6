"""Whole batch scripts, as pure functions of the parameters.

A script has three parts: the directives that Slurm reads, the variables and the environment, and shell that is the same
in all (``shell``). Every value is quoted once, where it becomes a directive or a variable; only ``setup``, which is the
user's own shell, goes in as it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xnas_ray.errors import SpecError
from xnas_ray.slurm import shell
from xnas_ray.slurm.lifetimes import CHECKPOINT_S, Lifetimes
from xnas_ray.slurm.parameters import SlurmParameters, directive

GIB = 2**30
LOG_FOLDER = "slurm"
"""Folder of the store with a log and a folder for each job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a job works.

    Attributes:
        root: absolute path of the store, on a file system that every node sees.
        python: the interpreter that submits; its folder comes first on the job's PATH unless ``environment`` is set.
        profile: absolute path of the profile with the settings of the service, None for the defaults.

    Raises:
        SpecError: a path is relative, or one that a log file of Slurm cannot have.
    """

    root: Path
    python: Path
    profile: Path | None = None

    def __post_init__(self) -> None:
        """Refuse paths that Slurm or the shell would take for something else."""
        for name in ("root", "python", "profile"):
            path: Path | None = getattr(self, name)
            if path is not None and not (path.is_absolute() and str(path).isprintable()):
                raise SpecError(f"must be an absolute path on one line, got {str(path)!r}.", field=name)
        if "\\" in str(self.root):
            raise SpecError("Slurm takes a backslash in the path of a log for a sign of its own.", field="root")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchJob:
    """The search of a self-contained job.

    Attributes:
        spec: the resolved specification, as JSON.
        task_hash: of the task's bundle in the store.
        key: idempotency key: the same in every start of the job.
    """

    spec: str
    task_hash: str
    key: str


def service_script(parameters: SlurmParameters, place: Place) -> str:
    """A standing service: Ray on all nodes of the job, and a head that many searches queue into."""
    return _script(
        parameters,
        place,
        role="service",
        about="A standing service of xnas-ray: searches are queued into it with `xnas submit`.",
        parts=(shell.CLUSTER, shell.SERVICE),
        variables=_of_the_head(parameters, place),
    )


def search_script(parameters: SlurmParameters, place: Place, search: SearchJob) -> str:
    """One search from start to end: Ray on all nodes of the job, and a head that ends with the search."""
    return _script(
        parameters,
        place,
        role="search",
        about="One search of xnas-ray, from start to end.",
        parts=(shell.CLUSTER, shell.SEARCH),
        variables=_of_the_head(parameters, place)
        | {"spec": search.spec, "task_hash": search.task_hash, "key": search.key},
    )


def worker_script(parameters: SlurmParameters, place: Place, *, count: int = 1) -> str:
    """Nodes for a running service: an array of ``count`` jobs of one node each.

    Raises:
        SpecError: ``count`` is not above 0.
    """
    if count < 1:
        raise SpecError(f"must be at least 1, got {count}.", field="count")
    lifetimes = Lifetimes.of(parameters, count)
    return _script(
        parameters,
        place,
        role="worker",
        about="Nodes for a running service of xnas-ray.",
        parts=(shell.WORKER,),
        variables={
            "drain_s": str(parameters.drain_s),
            "checkpoint_s": str(CHECKPOINT_S),
            "longest_s": str(lifetimes.longest_s),
            "spacing_ms": str(lifetimes.spacing_ms),
        },
        array=f"0-{count - 1}",
    )


def _script(
    parameters: SlurmParameters,
    place: Place,
    *,
    role: str,
    about: str,
    parts: Iterable[str],
    variables: dict[str, str],
    array: str = "",
) -> str:
    lines = ["#!/bin/bash", f"# {about}", "# The folder of its log must exist; `xnas slurm` makes it."]
    lines += [directive_line(name, value) for name, value in _directives(parameters, place, role, array)]
    # The first command: after it Slurm reads no more directives, whatever the lines of setup contain.
    lines += ["", f"umask {parameters.umask}"]
    lines += ["", "# The environment.", *parameters.setup, *_activation(parameters.environment, place.python)]
    lines += ["", "# What the parameters say."]
    lines += [f"{name}={shlex.quote(value)}" for name, value in (_common(parameters, place) | variables).items()]
    return "\n".join(lines) + "\n" + "".join((shell.START, shell.SIGNALS, *parts))


# ---- directives ------------------------------------------------------------------------------------------------------


def _directives(parameters: SlurmParameters, place: Place, role: str, array: str) -> list[tuple[str, str | None]]:
    """Names and values of the directives, in order; a value of None is none."""
    gpus = ":".join(filter(None, (parameters.gpu_type, str(parameters.gpus_per_node))))
    log = f"{place.root}/{LOG_FOLDER}/".replace("%", "%%") + ("%A_%a.log" if array else "%j.log")
    wanted: list[tuple[str, object, str | None]] = [
        ("job-name", True, f"{parameters.job_name}-{role}"),
        ("array", array, array),
        ("nodes", True, "1" if array else str(parameters.node_count)),
        ("ntasks-per-node", True, "1"),
        ("cpus-per-task", True, str(parameters.cpus_per_task)),
        ("gpus-per-node", parameters.gpus_per_node, gpus),
        ("mem", parameters.mem_gb, f"{round(parameters.mem_gb * 1024)}M"),
        ("time", True, str(parameters.timeout_min)),
        ("partition", parameters.partition, parameters.partition),
        ("account", parameters.account, parameters.account),
        ("qos", parameters.qos, parameters.qos),
        ("reservation", parameters.reservation, parameters.reservation),
        ("constraint", parameters.constraint, parameters.constraint),
        ("exclusive", parameters.exclusive, None),
        ("output", True, log),
        ("open-mode", True, "append"),
        ("requeue", True, None),
        ("signal", True, f"B:USR2@{parameters.signal_s}"),
    ]
    skipped = {name.removeprefix("--") for name in parameters.skip_directives}
    kept = [(name, value) for name, given, value in wanted if given and name not in skipped]
    return kept + [directive(text) for text in parameters.extra_directives]


def directive_line(name: str, value: str | None = None) -> str:
    """A line that Slurm reads: ``#SBATCH --name=value``."""
    return f"#SBATCH --{name}" if value is None else f"#SBATCH --{name}={directive_quote(value)}"


def directive_quote(value: str) -> str:
    """A value as sbatch reads it back.

    Its reader is not a shell: also between single quotes a backslash takes the next character as it is, and outside of
    quotes ``#`` begins a comment (tried with Slurm 22.05).
    """
    return shlex.quote(value.replace("\\", "\\\\"))


# ---- variables and environment ---------------------------------------------------------------------------------------


def _common(parameters: SlurmParameters, place: Place) -> dict[str, str]:
    """Variables of every script."""
    return {
        "root": str(place.root),
        "cpus": str(parameters.cpus_per_task),
        "gpus": str(parameters.gpus_per_node),
        "object_store_bytes": str(round(parameters.object_store_gb * GIB)),
        "interface": parameters.interface,
        "temporary_root": parameters.temporary_root,
        "limit_s": str(parameters.timeout_min * 60),
        "signal_s": str(parameters.signal_s),
        "max_timeouts": str(parameters.max_timeouts),
    }


def _of_the_head(parameters: SlurmParameters, place: Place) -> dict[str, str]:
    """Variables of the scripts that bring up a head."""
    return {"dashboard": str(parameters.dashboard).lower(), "profile": str(place.profile or "")}


def _activation(environment: str, python: Path) -> list[str]:
    """Lines that put ``python`` and ``ray`` on PATH."""
    if environment == "none":
        return []
    if "/" in environment:
        return [f"source {shlex.quote(environment + '/bin/activate')}"]
    if environment:
        return ['eval "$(conda shell.bash hook)"', f"conda activate {shlex.quote(environment)}"]
    return [f'export PATH={shlex.quote(str(python.parent))}:"$PATH"']
