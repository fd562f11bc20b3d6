"""What Ray's dashboard, ``ps`` and ``top`` show of a worker: the trial that it evaluates.

A thread looks twice a second, so trials that are shorter cost nothing. It sets the process's title, and gives a trial
that has lasted a second a Ray task of its name that ends with it: Ray's list of tasks is then the list of trials.

Both are bounded where Ray makes time series of them. Ray's metrics have the first word of a command line as a label:
that is the search, and trial and epoch are further words. Its count of tasks has the name of each task, unless
``RAY_metric_cardinality_level`` is ``low``: only then are there such tasks.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xnas_ray.messages import TrialStatus
from xnas_ray.service.logs import about
from xnas_ray.service.metrics import SHORT_ID
from xnas_ray.service.reports import Assignment, TrialResult

log = logging.getLogger(__name__)

LOOK_S = 0.5
TASK_AFTER_S = 1.0
PREFIX = "ray::xnas"
"""Ray knows its processes by the first five characters."""

IDLE = "idle"
CARDINALITY = "RAY_metric_cardinality_level"


@dataclass(slots=True)
class RunningTrial:
    """A trial under way.

    Attributes:
        assignment: what is evaluated.
        started_s: monotonic seconds.
        epoch: the last one that ended.
        result: set at the end.
        lasted: whether it has been under way for a second.
    """

    assignment: Assignment
    started_s: float
    epoch: int = 0
    result: TrialResult | None = None
    lasted: bool = False

    @property
    def search(self) -> str:
        """The short id of its search."""
        return self.assignment.search_id[:SHORT_ID]

    @property
    def name(self) -> str:
        """``01JD8F2K3A/17``, and which attempt it is if it is not the first one."""
        again = self.assignment.attempt[1]
        return f"{self.search}/{self.assignment.trial}" + (f" attempt {again + 1}" if again else "")


def title(running: RunningTrial | None) -> tuple[str, str]:
    """First word of the command line and the rest: ``ray::xnas:01JD8F2K3A``, ``trial 17 epoch 3/12``."""
    if running is None:
        return f"{PREFIX}:{IDLE}", ""
    words = running.name.removeprefix(f"{running.search}/")
    if running.epoch:
        words += f" epoch {running.epoch}/{running.assignment.candidate.fidelity}"
    return f"{PREFIX}:{running.search}", f"trial {words}"


def set_title(first: str, rest: str) -> None:
    """Change this process's command line to two words; does nothing where the system has no such thing."""
    with contextlib.suppress(ImportError):
        from ray._raylet import setproctitle  # type: ignore[attr-defined]  # the name that `top` shows, too

        setproctitle(first)
    start, size = _command_line()
    words = first.encode() + b"\0" + rest.encode()
    if start and len(words) < size:
        ctypes.memmove(start, words.ljust(size, b"\0"), size)


def _command_line() -> tuple[int, int]:
    """Address and bytes of the memory that the kernel shows as this process's command line; zeros if it is unknown."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5), counted from the state
        shown = Path("/proc/self/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return 0, 0
    size = end - start
    if start and size > 0 and ctypes.string_at(start, min(size, len(shown))) == shown[:size]:
        return start, size
    return 0, 0


class TrialEndedError(Exception):
    """What the task of a trial raises that has not completed, so that Ray lists it as failed."""


class Shown:
    """Follows the trials of one worker.

    Args:
        current: the trial under way, None between two.
        begin_task: called with the name of a trial that has lasted a second; starts the Ray task that calls
            ``wait_for`` with that name.
    """

    def __init__(
        self, current: Callable[[], RunningTrial | None], begin_task: Callable[[str], None] | None = None
    ) -> None:
        """Nothing is shown before ``start``."""
        self._current = current
        self._begin_task = begin_task if os.environ.get(CARDINALITY) == "low" else None
        self._seen: RunningTrial | None = None
        self._tasks: dict[str, tuple[RunningTrial, threading.Event]] = {}

    def start(self) -> None:
        """Look twice a second, for as long as the process lives."""
        threading.Thread(target=self._run, name="xnas-shown", daemon=True).start()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # Ray may be going; what is shown is never worth a trial
                self.look()
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Show how it is now."""
        running = self._current()
        if running is not self._seen:
            self._seen = running
            for _, ended in self._tasks.values():
                ended.set()
        set_title(*title(running))
        if running is None or running.lasted or time.monotonic() - running.started_s < TASK_AFTER_S:
            return
        running.lasted = True
        given = running.assignment
        with about(search=given.search_id, trial=given.trial, attempt=given.attempt):
            log.info("the attempt has begun", extra={"about": {"genotype": given.candidate.genotype}})
        if self._begin_task is not None:
            self._tasks[running.name] = running, threading.Event()
            self._begin_task(running.name)

    def wait_for(self, name: str) -> str:
        """Return when a trial has ended; runs in the task of its name.

        Raises:
            TrialEndedError: it has not completed.
        """
        running, ended = self._tasks[name]
        ended.wait()
        del self._tasks[name]
        result = running.result
        if result is not None and result.status != TrialStatus.COMPLETED:
            why = f": {result.failure.type}: {result.failure.message}" if result.failure else ""
            raise TrialEndedError(f"trial {name} {result.status}{why}")
        return name
