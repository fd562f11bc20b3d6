"""More and fewer nodes for a running service: by hand with ``xnas slurm scale``, or by a policy inside its job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xnas_ray.errors import SlurmError, SpecError
from xnas_ray.slurm import jobs
from xnas_ray.slurm.elastic import ElasticPolicy
from xnas_ray.slurm.parameters import SlurmParameters
from xnas_ray.slurm.records import SEARCH, SERVICE, WORKER, JobRecord, folder_of, recorded, remember
from xnas_ray.slurm.script import Place, worker_script

LEAVING = "leaving"
"""File in the folder of a worker job that was told to leave; its next start removes it."""


@dataclass(frozen=True, slots=True)
class StoreJobs:
    """The jobs of a store that wait or run.

    Attributes:
        service: its services, the newest last; there should be one.
        searches: search jobs.
        workers: worker jobs, those included that leave.
        leaving: ids of worker jobs that were told to leave.
    """

    service: list[jobs.Job]
    searches: list[jobs.Job]
    workers: list[jobs.Job]
    leaving: frozenset[str] = frozenset()

    @property
    def all(self) -> list[jobs.Job]:
        """Workers first."""
        return self.workers + self.searches + self.service

    @property
    def staying(self) -> list[jobs.Job]:
        """Worker jobs that were not told to leave."""
        return [job for job in self.workers if job.job_id not in self.leaving]


def jobs_of(root: Path) -> StoreJobs:
    """The jobs of a store that wait or run."""
    roles = {record.job_id: record.role for record in recorded(root)}
    found = jobs.queued(roles) if roles else []
    by_role = {role: [job for job in found if roles[job.number] == role] for role in (SERVICE, SEARCH, WORKER)}
    leaving = {job.job_id for job in by_role[WORKER] if _mark(root, job).exists()}
    return StoreJobs(by_role[SERVICE], by_role[SEARCH], by_role[WORKER], frozenset(leaving))


def _mark(root: Path, job: jobs.Job) -> Path:
    return folder_of(root) / job.job_id / LEAVING


@dataclass(frozen=True, slots=True)
class Change:
    """What brings a service from the nodes that it has to those that it should have.

    Attributes:
        missing: nodes to ask for.
        leaving: worker jobs to let go; those that wait first, then the newest.
    """

    missing: int = 0
    leaving: tuple[jobs.Job, ...] = ()


def plan_change(found: StoreJobs, nodes: int) -> Change:
    """The change to so many nodes in all, those of the service's own job included.

    Raises:
        SlurmError: no service waits or runs.
        SpecError: its own job has more.
    """
    if not found.service:
        raise SlurmError("no service of this store waits or runs.", fix="Start one with: xnas slurm up")
    own = found.service[-1].nodes
    if nodes < own:
        raise SpecError(f"the service's own job has {own}.", field="NODES", fix="End it with: xnas slurm down")
    missing = nodes - own - len(found.staying)
    if missing >= 0:
        return Change(missing=missing)
    return Change(leaving=tuple(sorted(found.staying, key=_lasting)[missing:]))


def _lasting(job: jobs.Job) -> tuple[bool, int, int]:
    number, _, task = job.job_id.partition("_")
    return job.state == "PENDING", int(number), int(task or 0)


def add_nodes(place: Place, parameters: SlurmParameters, count: int) -> str:
    """Ask for worker jobs; returns the number of their array.

    Raises:
        SlurmError: Slurm refuses them.
    """
    script = worker_script(parameters, place, count=count)
    return submit_recorded(place.root, WORKER, script, parameters, nodes=count)


def let_go(root: Path, leaving: tuple[jobs.Job, ...]) -> None:
    """Tell worker jobs to leave: running ones let their node drain first, waiting ones are cancelled."""
    for job in leaving:
        if job.state != "PENDING":
            mark = _mark(root, job)
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
    jobs.cancel(leaving, gently=True)


def submit_recorded(
    root: Path,
    role: str,
    script: str,
    parameters: SlurmParameters,
    *,
    nodes: int = 0,
    place: Place | None = None,
    elastic: ElasticPolicy | None = None,
    **facts: str,
) -> str:
    """Submit a script and note it in the store; returns the job's number.

    Args:
        root: the store.
        role: of the job.
        script: what Slurm runs.
        parameters: those that it was made with.
        nodes: nodes of the job if these are not those of the parameters.
        place: where it works, for a service that may ask for worker jobs itself.
        elastic: by which rule.
        **facts: further fields of the record.

    Raises:
        SlurmError: Slurm refuses it.
        StoreError: the store cannot be written.
    """
    folder_of(root)
    job_id = jobs.submit(script)
    record = JobRecord(
        job_id,
        role,
        f"{parameters.job_name}-{role}",
        time.time(),
        nodes or parameters.node_count,
        parameters=asdict(parameters) if elastic else {},
        python=str(place.python) if place and elastic else "",
        elastic=elastic.to_json() if elastic else {},
        **facts,
    )
    remember(root, record, script)
    return job_id


@dataclass(frozen=True, slots=True)
class Standing:
    """What a service needs to know to ask for nodes by itself.

    Attributes:
        policy: when.
        parameters: of the worker jobs.
        place: where they work.
    """

    policy: ElasticPolicy
    parameters: SlurmParameters
    place: Place


def standing_order(root: Path, job_id: str) -> Standing | None:
    """The policy that a service was submitted with; None without one."""
    record = next((record for record in recorded(root) if record.job_id == job_id), None)
    if record is None or not record.elastic:
        return None
    return Standing(
        ElasticPolicy.from_mapping(record.elastic),
        SlurmParameters(**_tuples(record.parameters)),
        Place(root=root, python=Path(record.python)),
    )


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
