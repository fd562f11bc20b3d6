"""Settings of the service itself; those of a search are in its specification."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from xnas_ray.errors import SpecError
from xnas_ray.scheduler import SchedulerConfig


@dataclass(frozen=True)
class HeadSettings:
    """How a head runs.

    Attributes:
        only: ids of the unfinished searches that it takes up again; None takes up all of them.
        hosts: controller host processes.
        take_over: take the store from a writer that seems alive.
        commit_interval_s: least seconds between two commits.
        scheduler: limits and time-outs.
        worker: settings of the workers: ``memory_growth_bytes``, ``checkpoint_every_s``, ``data_memory_bytes``,
            ``threads``.
        environment: environment variables of workers and controller hosts.
        max_workers: most workers of a search that is taken up again, instead of its specification's; None keeps that.
        nodes_every_s: seconds between two looks at the cluster's nodes.
        cpus_per_node: CPUs of each node that this service may use; None for all.
        gpus_per_node: GPUs of each node that this service may use; None for all.
        start_timeout_s: a worker that has not answered so long after its start is killed.
        http_host: name or address on which the HTTP API listens; None for this machine alone.
        http_port: its port; 0 for any free one.
    """

    only: tuple[str, ...] | None = None
    hosts: int = 1
    take_over: bool = False
    commit_interval_s: float = 0.05
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    worker: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    max_workers: int | None = None
    nodes_every_s: float = 2.0
    cpus_per_node: float | None = None
    gpus_per_node: float | None = None
    start_timeout_s: float = 300.0
    http_host: str | None = None
    http_port: int = 0

    @classmethod
    def from_toml(cls, path: Path, **fixed: Any) -> HeadSettings:
        """Settings from a profile such as ``cluster/local.toml``: keys of ``[head]``, ``[scheduler]`` and ``[worker]``.

        Args:
            path: of the profile.
            **fixed: settings that win over the file.

        Raises:
            SpecError: the file is missing or is not TOML, a key is unknown, or a value has the wrong type.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SpecError(f"cannot read the profile {path}: {error}.", fix="See cluster/local.toml.") from None
        _only(data, ("head", "scheduler", "worker", "slurm"), "")  # [slurm] is read by slurm.parameters
        head = dict(data.get("head", {}))
        _only(head, HEAD_KEYS, "head.")
        scheduler = dict(data.get("scheduler", {}))
        known = {f.name: f.type for f in fields(SchedulerConfig)}
        _only(scheduler, known, "scheduler.")
        if "backoff_s" in scheduler:
            scheduler["backoff_s"] = tuple(scheduler["backoff_s"])
        worker = dict(data.get("worker", {}))
        _only(worker, WORKER_KEYS, "worker.")
        text = head.pop("http_host", None)
        if not (text is None or (isinstance(text, str) and text.isprintable())):
            raise SpecError(f"must be a host name or an address, got {text!r}.", field="http_host")
        if head.get("http_port", 0) not in range(2**16):
            raise SpecError(f"must be from 0 to 65535, got {head['http_port']!r}.", field="http_port")
        for name, value in {**head, **scheduler, **worker}.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(n, (int, float)) and not isinstance(n, bool) and n >= 0 for n in numbers):
                raise SpecError(f"must be a number of at least 0, got {value!r}.", field=name)
        return cls(
            **{**head, "http_host": text or None, "scheduler": SchedulerConfig(**scheduler), "worker": worker, **fixed}
        )


HEAD_KEYS = (
    *("hosts", "commit_interval_s", "nodes_every_s", "cpus_per_node", "gpus_per_node", "start_timeout_s"),
    *("http_host", "http_port"),
)
WORKER_KEYS = ("memory_growth_bytes", "checkpoint_every_s", "data_memory_bytes", "threads")


def _only(given: Mapping[str, Any], valid: Iterable[str], prefix: str) -> None:
    for name in given:
        if name not in valid:
            raise SpecError("unknown key in a profile.", field=prefix + name, got=name, valid=valid)
