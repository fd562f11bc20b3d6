"""What a store remembers of the Slurm jobs that were submitted for it: ``<store>/slurm/<job>.json`` and ``.sh``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xnas_ray.errors import StoreError
from xnas_ray.slurm.script import LOG_FOLDER

SERVICE, SEARCH, WORKER = "service", "search", "worker"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job that was submitted.

    Attributes:
        job_id: its number.
        role: ``service``, ``search`` or ``worker``.
        name: of the job.
        submitted_at: UNIX seconds.
        nodes: nodes of the job; of an array, its tasks.
        task_hash: of the bundle that a search needs.
        key: idempotency key of a search.
        elastic: rule by which a service asks for nodes itself, empty for none (see ``elastic``).
        parameters: of such a service, and so of its worker jobs.
        python: the interpreter that submitted it.
    """

    job_id: str
    role: str
    name: str
    submitted_at: float
    nodes: int
    task_hash: str = ""
    key: str = ""
    elastic: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    python: str = ""


def folder_of(root: Path) -> Path:
    """The folder of the jobs in a store, made if it is missing: Slurm writes logs only into folders that are there.

    Raises:
        StoreError: it cannot be made.
    """
    folder = root / LOG_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {folder}: {error}.", field="store") from error
    return folder


def remember(root: Path, record: JobRecord, script: str) -> None:
    """Keep a record, and the script beside it."""
    folder = folder_of(root)
    (folder / f"{record.job_id}.sh").write_text(script, encoding="utf-8")
    fresh = folder / f".{record.job_id}.json"
    fresh.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, folder / f"{record.job_id}.json")  # noqa: PTH105 - whole or not at all


def recorded(root: Path) -> list[JobRecord]:
    """The jobs of a store, in the order of their submission; unreadable records are left out."""
    found = []
    for path in (root / LOG_FOLDER).glob("[0-9]*.json"):
        try:
            found.append(JobRecord(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda record: (record.submitted_at, record.job_id))


def log_of(root: Path, job_id: str) -> Path:
    """The log of a job, or of a task of an array such as ``12_3``."""
    return root / LOG_FOLDER / f"{job_id}.log"
