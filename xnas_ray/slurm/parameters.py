"""The parameters of a Slurm job: one flat, checked set, and where each value comes from.

After submitit (https://github.com/facebookincubator/submitit): friendly names, and an unknown one is refused with the
list of the valid ones.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from xnas_ray.errors import SpecError
from xnas_ray.slurm.elastic import ElasticPolicy

TABLE = "slurm"
"""Name of the parameters' table in a profile."""

ELASTIC = "elastic"
"""Name of the table within it that has the policy."""

VARIABLE_PREFIX = "XNAS_SLURM_"
DEFAULT_PROFILE = Path("cluster") / "slurm.toml"

SKIPPABLE = (
    *("nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node", "mem", "time", "partition", "account", "qos"),
    *("reservation", "constraint", "exclusive", "job-name", "signal", "requeue", "open-mode"),
)
RENDERED = (*SKIPPABLE, "output", "array")
"""Directives that the scripts contain, without their dashes."""

MAX_TEXT = 200
MAX_ROOT = 30  # Unix sockets below it: Ray adds up to 70 characters, and 107 are allowed
_DIRECTIVE = re.compile(r"--([a-z][a-z0-9-]*)(?:=(.*))?", re.DOTALL)
Check = Callable[[Any], str]
"""Says what is wrong with a value, ``""`` if nothing is."""


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        return "must be one line without control characters, and no space around it"
    return f"has more than {MAX_TEXT} characters" if len(value) > MAX_TEXT else ""


def _within(least: float, most: float) -> Check:
    return lambda value: "" if least <= value <= most else f"must be from {least:g} to {most:g}"


def _like(pattern: str, words: str) -> Check:
    return lambda value: "" if re.fullmatch(pattern, value) else f"must be {words}"


def _short_folder(value: str) -> str:
    plain = re.fullmatch(r"(/[A-Za-z0-9._-]+)+", value)
    return "" if plain and len(value) <= MAX_ROOT else f"must be a plain absolute path of at most {MAX_ROOT} characters"


def _shell(value: tuple[str, ...]) -> str:
    return "may not contain NUL" if any("\0" in line for line in value) else ""


def _directives(value: tuple[str, ...]) -> str:
    for text in value:
        problem = _printable(text) or ("" if _DIRECTIVE.fullmatch(text) else "must look like --name or --name=value")
        if problem:
            return f"{text!r} {problem}"
    return ""


def _names(value: tuple[str, ...]) -> str:
    wrong = next((name for name in value if name.removeprefix("--") not in SKIPPABLE), None)
    return "" if wrong is None else f"{wrong!r} is not a directive that can be left out ({', '.join(SKIPPABLE)})"


def _parameter(default: Any, text: str, check: Check | None = None) -> Any:
    return field(default=default, metadata={"help": text, "check": check})


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmParameters:
    """What a job asks of Slurm, and how Ray comes up in it.

    The field ``help`` of each parameter's metadata says what it means; ``describe`` lists them.

    Raises:
        SpecError: a value is out of range or would not stay on its line, or two of them contradict each other.
    """

    job_name: str = _parameter("xnas", "beginning of the jobs' names", _like(r"[A-Za-z0-9_.-]{1,40}", "a plain word"))
    nodes: int = _parameter(1, "nodes of the job", _within(1, 10_000))
    cpus_per_task: int = _parameter(8, "CPUs of each node", _within(1, 4096))
    gpus_per_node: int = _parameter(0, "GPUs of each node", _within(0, 64))
    gpu_type: str = _parameter(
        "", "type of these GPUs, as Slurm names it", _like(r"[A-Za-z0-9_.-]{0,64}", "a plain word")
    )
    mem_gb: float = _parameter(0.0, "memory of each node in GiB; 0 leaves it to the site", _within(0, 1e5))
    timeout_min: int = _parameter(240, "time limit in minutes; 0 for none", _within(0, 525_600))
    partition: str = _parameter("", "partition", _printable)
    account: str = _parameter("", "account that is charged", _printable)
    qos: str = _parameter("", "quality of service", _printable)
    reservation: str = _parameter("", "reservation", _printable)
    reservation_nodes: int = _parameter(0, "nodes of the reservation to use, instead of nodes", _within(0, 10_000))
    constraint: str = _parameter("", "features that the nodes must have", _printable)
    exclusive: bool = _parameter(False, "share the nodes with no other job")
    signal_s: int = _parameter(120, "seconds before the end at which searches write checkpoints", _within(10, 65_535))
    max_timeouts: int = _parameter(3, "how often a job goes on after its time limit", _within(0, 10_000))
    environment: str = _parameter("", "virtual environment (a path), conda environment (a name), or none", _printable)
    setup: tuple[str, ...] = _parameter((), "lines of shell before anything else, as they are", _shell)
    extra_directives: tuple[str, ...] = _parameter((), "more directives, such as --mail-type=END", _directives)
    skip_directives: tuple[str, ...] = _parameter((), "directives to leave out, such as mem", _names)
    umask: str = _parameter("077", "rights that new files do not get", _like(r"0?[0-7]{3}", "three octal digits"))
    interface: str = _parameter(
        "",
        "network interface of Ray, such as ib0; empty for Slurm's own",
        _like(r"[A-Za-z0-9_.:-]{0,15}", "a plain word"),
    )
    temporary_root: str = _parameter("/tmp", "folder on each node for Ray's sockets and logs", _short_folder)
    object_store_gb: float = _parameter(1.0, "shared memory of Ray on each node in GiB", _within(0.08, 1024))
    dashboard: bool = _parameter(True, "start Ray's dashboard, on the first node's loopback address")
    drain_s: int = _parameter(
        60, "seconds in which trials of a leaving node may finish, before they write checkpoints", _within(0, 86_400)
    )
    lifetime_min: int = _parameter(
        0, "minutes after which worker jobs leave; 0 for just before their time limit", _within(0, 525_600)
    )
    stagger_s: int = _parameter(
        60, "seconds by which worker jobs of an array leave one before the other", _within(0, 86_400)
    )

    def __post_init__(self) -> None:
        """Check every value, then how they fit."""
        for known in fields(self):
            check: Check | None = known.metadata["check"]
            value = getattr(self, known.name)
            problem = check(value) if check else ""
            if problem:
                raise SpecError(f"{problem}, got {value!r}.", field=f"{TABLE}.{known.name}")
        self._check_together()

    def _check_together(self) -> None:
        if self.reservation_nodes and not self.reservation:
            raise SpecError("needs a reservation.", field=f"{TABLE}.reservation_nodes", fix="Give --reservation too.")
        if self.gpu_type and not self.gpus_per_node:
            raise SpecError("needs gpus_per_node.", field=f"{TABLE}.gpu_type", fix="Say how many of these GPUs.")
        if self.timeout_min and self.signal_s > self.timeout_min * 30:
            raise SpecError(
                f"{self.signal_s} s are more than half of the time limit of {self.timeout_min} min.",
                field=f"{TABLE}.signal_s",
            )
        if self.timeout_min and self.lifetime_min > self.timeout_min:
            raise SpecError(
                f"{self.lifetime_min} min are more than the time limit of {self.timeout_min} min.",
                field=f"{TABLE}.lifetime_min",
            )
        skipped = {name.removeprefix("--") for name in self.skip_directives}
        for text in self.extra_directives:
            name = directive(text)[0]
            if name in RENDERED and name not in skipped:
                raise SpecError(
                    f"--{name} is in the scripts already.",
                    field=f"{TABLE}.extra_directives",
                    fix=f"Use its parameter, or leave it out with skip_directives = [{name!r}].",
                )

    @property
    def node_count(self) -> int:
        """Nodes that the job asks for."""
        return self.reservation_nodes or self.nodes


def directive(text: str) -> tuple[str, str | None]:
    """Name and value of ``--name=value``; the value of ``--name`` is None."""
    found = _DIRECTIVE.fullmatch(text)
    if found is None:
        raise SpecError(f"{text!r} must look like --name or --name=value.", field=f"{TABLE}.extra_directives")
    return found[1], found[2]


def describe() -> list[tuple[str, str, Any, str]]:
    """Name, kind, default and meaning of every parameter, in order."""
    return [(f.name, kind_of(f.name), f.default, f.metadata["help"]) for f in fields(SlurmParameters)]


def kind_of(name: str) -> str:
    """``text``, ``whole number``, ``number``, ``true|false`` or ``list``."""
    return _KINDS[type(_DEFAULTS[name])]


_KINDS = {str: "text", int: "whole number", float: "number", bool: "true|false", tuple: "list"}
_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(SlurmParameters) if f.default is not MISSING}


# ---- where values come from ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resolved:
    """Parameters with their sources.

    Attributes:
        parameters: the values in force.
        sources: ``flag``, ``environment``, the path of the profile, or ``default``, by parameter.
        profile: the profile that was read, None if there is none.
        elastic: the policy of the profile's table ``[slurm.elastic]``, None without one.
    """

    parameters: SlurmParameters
    sources: Mapping[str, str]
    profile: Path | None
    elastic: ElasticPolicy | None = None

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and source of every parameter, as ``xnas doctor`` shows them."""
        rows = [(name, _shown(getattr(self.parameters, name)), source) for name, source in self.sources.items()]
        if self.elastic is not None:
            settings = ", ".join(f"{name} = {value:g}" for name, value in self.elastic.to_json().items())
            rows.append((ELASTIC, settings, str(self.profile)))
        return rows


def resolve_parameters(
    flags: Mapping[str, Any], *, environment: Mapping[str, str], profile: Path | None = None
) -> Resolved:
    """Parameters by precedence: flag, environment, profile, default.

    Args:
        flags: values by name; None and empty ones were not given. Texts are read as those of the environment.
        environment: of the process; variables are called ``XNAS_SLURM_<NAME>``, lists have one item a line.
        profile: TOML file whose table ``[slurm]`` has parameters, and perhaps a policy in ``[slurm.elastic]``; by
            default ``cluster/slurm.toml``, if it is there.

    Raises:
        SpecError: a name is unknown, a value is malformed or out of range, or the profile cannot be read.
    """
    path = profile if profile is not None else DEFAULT_PROFILE if DEFAULT_PROFILE.is_file() else None
    given: list[tuple[str, Mapping[str, Any]]] = [
        ("flag", {name: value for name, value in flags.items() if value is not None and value != []}),
        ("environment", _from_environment(environment)),
    ]
    elastic = None
    if path is not None:
        table = _from_profile(path)
        if ELASTIC in table:
            elastic = ElasticPolicy.from_mapping(table.pop(ELASTIC))
        given.append((str(path), table))
    values, sources = dict(_DEFAULTS), dict.fromkeys(_DEFAULTS, "default")
    for source, found in reversed(given):
        known(found, TABLE)
        for name, value in found.items():
            values[name] = _converted(name, value, source, as_text=source in ("flag", "environment"))
            sources[name] = source
    if "/" in values["environment"]:
        values["environment"] = str(Path(values["environment"]).expanduser().absolute())
    return Resolved(SlurmParameters(**values), sources, path, elastic)


def known(given: Iterable[str], prefix: str) -> None:
    """Nothing if every name is a parameter's.

    Raises:
        SpecError: one is not; lists the valid ones and the nearest spelling.
    """
    for name in given:
        if name not in _DEFAULTS:
            raise SpecError("there is no such parameter.", field=f"{prefix}.{name}", got=name, valid=_DEFAULTS)


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(VARIABLE_PREFIX).lower(): value
        for name, value in sorted(environment.items())
        if name.startswith(VARIABLE_PREFIX) and value != ""
    }


def _from_profile(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"cannot read the profile {path}: {error}.", fix="See cluster/slurm.toml.") from None
    table = data.get(TABLE, {})
    if not isinstance(table, dict):
        raise SpecError("must be a table.", field=TABLE)
    return dict(table)


def _converted(name: str, value: Any, source: str, *, as_text: bool) -> Any:
    """A value of the parameter's type."""
    kind, wanted = type(_DEFAULTS[name]), kind_of(name)
    try:
        if kind is tuple:
            items = value.splitlines() if as_text and isinstance(value, str) else value
            if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
                raise ValueError
            return tuple(items)
        if as_text and isinstance(value, str):
            return _read(kind, value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if type(value) is not kind:
            raise ValueError
        return value
    except ValueError:
        raise SpecError(f"must be a {wanted} ({source}), got {value!r}.", field=f"{TABLE}.{name}") from None


_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _read(kind: type, text: str) -> Any:
    """A value from text; ValueError when it is none."""
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    value = kind(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
