"""What happened in a service since somebody last looked: counts and durations that become metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from xnas_ray.scheduler.nodes import WorkerState
from xnas_ray.scheduler.views import WorkerView

OBSERVATIONS = 100
"""Least kept values; of twice as many every second one is kept, and so on."""


class Sampled:
    """Keeps some of many values, evenly spread over their order: up to twice ``OBSERVATIONS``."""

    def __init__(self) -> None:
        """No value yet."""
        self.values: list[float] = []
        self._seen = 0
        self._every = 1

    def add(self, value: float) -> None:
        """Another value."""
        if self._seen % self._every == 0:
            self.values.append(value)
            if len(self.values) >= 2 * OBSERVATIONS:
                self.values = self.values[::2]
                self._every *= 2
        self._seen += 1


@dataclass
class Happened:
    """What happened in one interval; the engine and the hosts write it.

    Attributes:
        ended: trials whose terminal row became durable, by status.
        asks_s: seconds of calls that asked a controller for candidates.
        lags_s: seconds from the arrival of a result to its durability.
        busy: busy workers, summed over the looks.
        ready: ready workers, summed over the looks.
    """

    ended: Counter[str] = field(default_factory=Counter)
    asks_s: Sampled = field(default_factory=Sampled)
    lags_s: Sampled = field(default_factory=Sampled)
    busy: int = 0
    ready: int = 0

    def end(self, status: str, arrived_s: float | None) -> None:
        """A terminal row became durable; its result arrived at ``arrived_s`` (monotonic), if there was one."""
        self.ended[str(status)] += 1
        if arrived_s is not None:
            self.lags_s.add(time.monotonic() - arrived_s)

    def look(self, workers: Iterable[WorkerView]) -> None:
        """Count who is busy now."""
        for worker in workers:
            if worker.state == WorkerState.READY:
                self.ready += 1
                self.busy += bool(worker.trials)
