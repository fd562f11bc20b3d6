"""What a benchmark reads off a run: a steady rate, CPU time of a process tree, files left."""

from __future__ import annotations

import bisect
import threading
import time
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil

WARM_SHARE = 0.2
TAIL_SHARE = 0.05
SAMPLE_S = 0.25


def steady_window(ends_at: list[float]) -> tuple[int, int]:
    """Indices of the first and the last end (sorted) between which a rate is taken: without warm-up and tail."""
    count = len(ends_at)
    if count < 3:
        raise ValueError(f"{count} trials are too few for a rate")
    first = int(WARM_SHARE * count)
    return first, max(first + 1, count - 1 - int(TAIL_SHARE * count))


class TreeCpu:
    """CPU seconds of this process and all its descendants, sampled while it is open.

    A process that ends between two samples counts with what it had used when it was last seen; what sampling itself
    uses does not count.

    Attributes:
        times_at: UNIX seconds of the samples.
        seconds: CPU seconds since opening, one each.
    """

    def __init__(self) -> None:
        """Nothing sampled."""
        self.times_at: list[float] = []
        self.seconds: list[float] = []
        self._first: dict[tuple[int, float], float] = {}
        self._last: dict[tuple[int, float], float] = {}
        self._sampling_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="tree-cpu", daemon=True)

    def __enter__(self) -> TreeCpu:
        """Begin: what was used so far does not count."""
        self._first = self._read()
        self._note()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the last sample."""
        self._stop.set()
        self._thread.join()
        self._note()

    def between(self, from_at: float, until_at: float) -> float:
        """CPU seconds between two UNIX times, interpolated."""
        low, high = np.interp([from_at, until_at], self.times_at, self.seconds)
        return float(high - low)

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._note()

    def _note(self) -> None:
        started_s = time.thread_time()
        self._last |= self._read()
        self.times_at.append(time.time())
        used_s = sum(used - self._first.get(key, 0.0) for key, used in self._last.items())
        self._sampling_s += time.thread_time() - started_s
        self.seconds.append(used_s - self._sampling_s)

    @staticmethod
    def _read() -> dict[tuple[int, float], float]:
        own = psutil.Process()
        found = {}
        for process in (own, *own.children(recursive=True)):
            try:
                used = process.cpu_times()
                found[process.pid, process.create_time()] = used.user + used.system
            except psutil.Error:  # it has ended since it was listed
                continue
        return found


def left_behind(folder: Path) -> tuple[int, int]:
    """(files, bytes) below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def summary(ends_at: list[float], cpu: TreeCpu, files: int, size_bytes: int) -> dict[str, float]:
    """Figures of one run: trials/s and CPU milliseconds a trial in the steady window, files and bytes a trial."""
    ends_at = sorted(ends_at)
    first, last = steady_window(ends_at)
    begun_at, ended_at = ends_at[first], ends_at[last]
    same = bisect.bisect_right(ends_at, begun_at)  # several may have ended at the same moment
    trials = last + 1 - same
    return {
        "rate": trials / (ended_at - begun_at),
        "cpu_ms": 1000 * cpu.between(begun_at, ended_at) / trials,
        "files": files / len(ends_at),
        "bytes": size_bytes / len(ends_at),
        "trials": len(ends_at),
    }
