"""Points in time at which something must be looked at: one heap, checked by whoever set the alarm."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class AlarmKind(StrEnum):
    """What to look at."""

    BACKOFF = "backoff"
    TIMEOUT = "timeout"
    OBEY = "obey"
    STOP = "stop"
    LEASE = "lease"
    GANG = "gang"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to look at; whether it still matters is found out then."""

    kind: AlarmKind
    payload: tuple[Any, ...]


class Alarms:
    """A heap of alarms; setting is O(log n), nothing is ever cancelled.

    So whoever may set many (a deadline for every trial of a worker, a lease for every beat) keeps one and sets the
    next when it rings.
    """

    def __init__(self) -> None:
        """Empty."""
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        """How many are set."""
        return len(self._heap)

    def set(self, at_s: float, kind: AlarmKind, *payload: Any) -> None:
        """Look at something at that time."""
        heapq.heappush(self._heap, (at_s, next(self._order), Alarm(kind, payload)))

    def due(self, now_s: float) -> list[Alarm]:
        """Alarms whose time has come, removed."""
        found = []
        while self._heap and self._heap[0][0] <= now_s:
            found.append(heapq.heappop(self._heap)[2])
        return found

    @property
    def next_s(self) -> float | None:
        """Time of the earliest alarm."""
        return self._heap[0][0] if self._heap else None
