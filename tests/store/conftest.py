"""Rows of a small invented search, and file systems that fail on purpose."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xnas_ray.messages import Candidate
from xnas_ray.store.files import Files
from xnas_ray.store.rows import LogRow, SearchRow, TrialRow, asked_row

NOW_S = 1_700_000_000.0


def search_id(n: int) -> str:
    """A valid id; ids sort like their numbers."""
    return f"01ARZ3NDEKTSV4RRFFQ69{n:05d}"


def trial(writer: Any, n: int, *, search: int = 0, **columns: Any) -> TrialRow:
    """A completed trial; ``columns`` replace what it would have."""
    given: dict[str, Any] = {
        "search_id": search_id(search),
        "trial": n,
        "epoch": writer.epoch,
        "seq": writer.next_seq(),
        "status": "completed",
        "attempts": 1,
        "attempt": (writer.epoch, 0),
        "task": "digits",
        "task_hash": "ab" * 32,
        "space": "nasbench201",
        "key": f"key-{n}",
        "genotype": (n % 5, 1, 2),
        "architecture": f"|conv~{n}|",
        "recipe": '{"lr":0.1}',
        "fidelity": 3,
        "schedule_epochs": 3,
        "replicate": 0,
        "train_seed": 1000 + n,
        "asked_at": NOW_S + n,
        "started_at": NOW_S + n + 0.25,
        "finished_at": NOW_S + n + 1,
        "duration_s": 0.5,
        "metrics": {"val_accuracy": n / 8},
    }
    return TrialRow(**(given | columns))


def asked(writer: Any, n: int, *, search: int = 0, **columns: Any) -> LogRow:
    """The row of a proposal."""
    return asked_row(
        Candidate(n, (n % 5, 1, 2), fidelity=3, schedule_epochs=3, origin={"parents": [n - 1]}),
        **(
            {"search_id": search_id(search), "epoch": writer.epoch, "seq": writer.next_seq(), "at": NOW_S + n} | columns
        ),
    )


def logged(writer: Any, n: int, state: str, *, search: int = 0, **columns: Any) -> LogRow:
    """A row of the log."""
    given = {"trial": n, "epoch": writer.epoch, "seq": writer.next_seq(), "at": NOW_S + n, "attempt": (writer.epoch, 0)}
    return LogRow(search_id=search_id(search), state=state, **(given | columns))


def transition(writer: Any, state: str, at_s: float = 0.0, *, search: int = 0, **columns: Any) -> SearchRow:
    """A transition of a search, ``at_s`` seconds after the beginning."""
    given = {"epoch": writer.epoch, "seq": writer.next_seq(), "at": NOW_S + at_s, "state": state}
    return SearchRow(search_id=search_id(search), **(given | columns))


def submitted(writer: Any, *, search: int = 0, gpus: float = 0.5) -> SearchRow:
    """The first row of a search."""
    spec = json.dumps({"name": f"search-{search}", "resources": {"gpus": gpus}})
    named = {"name": f"search-{search}", "task": "digits", "controller": "random_search"}
    return transition(writer, "queued", search=search, spec=spec, idempotency_key=f"key-{search}", **named)


class Crash(BaseException):
    """The process ended here."""


class FaultyFiles(Files):
    """Counts the calls that change something; from the ``first`` one, ``count`` fail or the process ends.

    Args:
        first: index of the first call that fails, None for none.
        count: how many fail; ignored when ``crash``.
        crash: end the process instead: nothing is done from then on.
    """

    def __init__(self, first: int | None = None, *, count: int = 1, crash: bool = False) -> None:
        self.calls: list[tuple[str, Path | int]] = []
        self._first, self._count, self._crash = first, count, crash

    def _step(self, name: str, *subjects: Path | int) -> bool:
        index = len(self.calls)
        self.calls.append((name, *subjects))
        if self._first is None or index < self._first:
            return False
        if self._crash:
            if index > self._first or name != "write":
                raise Crash
            return True  # half of the bytes get out
        if index < self._first + self._count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return False

    def make_folder(self, path: Path) -> None:
        self._step("make_folder", path)
        super().make_folder(path)

    def create(self, path: Path) -> int:
        self._step("create", path)
        descriptor = super().create(path)
        self.calls[-1] = ("create", path, descriptor)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        if self._step("write", descriptor):
            super().write(descriptor, data[: len(data) // 2])
            raise Crash
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._step("sync", descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", old, new)
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._step("remove", path)
        super().remove(path)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder", path)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Builders of rows: each takes the writer, whose epoch and positions the rows get."""
    return SimpleNamespace(
        search_id=search_id,
        trial=trial,
        asked=asked,
        logged=logged,
        transition=transition,
        submitted=submitted,
        now_s=NOW_S,
        FaultyFiles=FaultyFiles,
        Crash=Crash,
    )
