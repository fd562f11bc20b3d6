"""Settings of the service itself; those of a search are in its specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
        nodes_every_s: seconds between two looks at the cluster's nodes.
        cpus_per_node: CPUs of each node that this service may use; None for all.
        gpus_per_node: GPUs of each node that this service may use; None for all.
    """

    only: tuple[str, ...] | None = None
    hosts: int = 1
    take_over: bool = False
    commit_interval_s: float = 0.05
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    worker: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes_every_s: float = 2.0
    cpus_per_node: float | None = None
    gpus_per_node: float | None = None
