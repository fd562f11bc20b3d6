"""``xnas doctor``: what on this machine could keep a search from running, and which settings are in force."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import byte_size, say, say_json, say_table
from xnas_ray.commands.options import AsJson, Root
from xnas_ray.errors import SlurmError, XnasError

OK, WARNING, PROBLEM = "ok", "warning", "problem"
LEAST_FREE_BYTES = 2**30
LEAST_SHARED_MEMORY_BYTES = 256 * 2**20
LEAST_OPEN_FILES = 1024
RAY_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_metric_cardinality_level": "low",
}
"""What ``service.bring_up`` sets where the environment says nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        level: ok, warning or problem.
        text: what was found, with the fix if there is something to fix.
    """

    what: str
    level: str
    text: str


@command(examples=["xnas doctor", "xnas doctor --root /data/searches --json"])
def doctor(root: Root = None, as_json: AsJson = False) -> None:
    """Check this machine and show the settings in force.

    Looks at Python, Ray, GPUs, the store and the data. Exit code 1 when there is a problem.
    """
    from xnas_ray.client import store_root

    store, source = store_root(root)
    slurm_settings: list[tuple[str, str, str]] = []
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _ray,
        _machine,
        _gpus,
        lambda: _store(store.absolute()),
        _data,
        _tasks,
        lambda: _slurm(slurm_settings),
    ]
    findings = [finding for check in checks for finding in _guarded(check)]
    settings = _settings(store, "--root" if source == "argument" else source) + slurm_settings
    if as_json:
        named = [{"name": name, "value": value, "from": origin} for name, value, origin in settings]
        say_json({"findings": [dataclasses.asdict(finding) for finding in findings], "settings": named})
    else:
        say_table(("check", "", "found"), [(f.what, f.level, f.text) for f in findings])
        say()
        say_table(("setting", "value", "from"), settings)
    if any(f.level == PROBLEM for f in findings):
        raise typer.Exit(1)


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check's findings; an error in it is one too, so that the others still run."""
    name = getattr(check, "__name__", "check").strip("_<>")
    try:
        yield from check()
    except XnasError as error:
        yield Finding(error.field or name, PROBLEM, str(error))
    except Exception as error:  # a broken installation may raise anything when it is imported
        yield Finding(name, PROBLEM, f"{type(error).__name__}: {error}")


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield Finding("python", OK, version)
    else:
        yield Finding("python", PROBLEM, f"{version}; install 3.11 or 3.12")


def _ray() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("ray")
    except PackageNotFoundError:
        yield Finding("ray", PROBLEM, "not installed; pip install 'ray[default,tune,train]'")
        return
    old = tuple(int(part) for part in found.split(".")[:2]) < (2, 60)
    yield Finding("ray", WARNING if old else OK, f"{found}; made for 2.60 and later" if old else found)
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode not in ("token", "disabled"):
        yield Finding("RAY_AUTH_MODE", PROBLEM, f"{mode!r}; set 'token' or 'disabled', or unset it")
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if not os.access(base, os.W_OK):
        yield Finding("ray sessions", PROBLEM, f"{base} is not writable; let RAY_TMPDIR name a folder that is")


def _machine() -> Iterator[Finding]:
    yield Finding("cpus", OK, str(os.cpu_count()))
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        low = free < LEAST_SHARED_MEMORY_BYTES
        yield Finding(
            "shared memory", WARNING if low else OK, f"{byte_size(free)} free" + ("; Ray wants 256 MB" if low else "")
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < LEAST_OPEN_FILES:
        yield Finding("open files", WARNING, f"{soft} allowed (at most {hard}); raise them with ulimit -n 4096")


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding("gpus", OK, f"none; torch {torch.__version__} trains on CPUs")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(f"gpu {index}", OK, f"{properties.name}, {byte_size(properties.total_memory)}")


def _store(root: Path) -> Iterator[Finding]:
    from xnas_ray.service.archive import living_writer
    from xnas_ray.store import list_searches

    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        text = f"{existing} is not a writable folder; choose another with --root or XNAS_STORE"
        yield Finding("store", PROBLEM, text)
        return
    free = shutil.disk_usage(existing).free
    low = free < LEAST_FREE_BYTES
    yield Finding("store", WARNING if low else OK, f"{root}{'' if root.exists() else ' (new)'}, {byte_size(free)} free")
    if not root.exists():
        return
    searches = list_searches(root)  # reads every part of the table, of whatever schema version
    states = searches["state"].value_counts().to_dict() if len(searches) else {}
    yield Finding("searches", OK, ", ".join(f"{n} {state}" for state, n in states.items()) or "none")
    holder = living_writer(root)
    yield Finding("service", OK, f"{holder} works on the store" if holder else "none works on the store")


def _data() -> Iterator[Finding]:
    from xnas_ray.explain.wordnet import wordnet_folder
    from xnas_ray.tasks.datasets import data_folder, locate

    folder = data_folder()
    yield Finding("XNAS_DATA", OK, str(folder) if folder else "not set; only packaged and downloaded data are found")
    for name in ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100"):
        where = locate(name)
        yield Finding(f"data {name}", OK, where or "not here; downloaded when it is first used")
    nouns = wordnet_folder()
    yield Finding("WordNet", OK, str(nouns or "not here; only weights of similar classes need it (wordnet-base)"))


def _tasks() -> Iterator[Finding]:
    from xnas_ray.tasks.finding import list_tasks

    found = list_tasks()
    yield Finding("tasks", OK if found else WARNING, ", ".join(found) or "none in ./experiments")


def _slurm(settings: list[tuple[str, str, str]]) -> Iterator[Finding]:
    """Whether Slurm answers; the parameters of its jobs are added to the settings."""
    if shutil.which("sbatch") is None:
        return
    from xnas_ray.slurm.jobs import probe
    from xnas_ray.slurm.parameters import resolve_parameters

    resolved = resolve_parameters({}, environment=os.environ)
    settings += [(f"slurm.{name}", value, origin) for name, value, origin in resolved.rows()]
    try:
        probe()
    except SlurmError as error:  # its programs may be here without a cluster
        yield Finding("slurm", WARNING, str(error))
    else:
        yield Finding("slurm", OK, "answers" + (f"; profile {resolved.profile}" if resolved.profile else ""))


def _settings(store: Path, source: str) -> list[tuple[str, str, str]]:
    """Settings in force: name, value, and where the value comes from."""
    found = [("store", str(store.absolute()), source)]
    data = os.environ.get("XNAS_DATA", "").strip()
    found.append(("XNAS_DATA", data, "environment" if data else "default"))
    for name, value in RAY_SETTINGS.items():
        found.append((name, os.environ.get(name, value), "environment" if name in os.environ else "default"))
    if "RAY_ADDRESS" in os.environ:
        found.append(("RAY_ADDRESS", os.environ["RAY_ADDRESS"], "environment, not used: the store names the service"))
    return found
