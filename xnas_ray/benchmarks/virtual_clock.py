"""Virtual time, and what takes some of it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Virtual time: actions in the order of their seconds, then of their ranks, then as they were set."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, at_s: float, action: Callable[[], None], *, rank: int = -1) -> None:
        """Do something then."""
        heapq.heappush(self._heap, (at_s, rank, next(self._order), action))

    def run(self) -> None:
        """Until nothing is left to do."""
        while self._heap:
            self.now_s, _, _, action = heapq.heappop(self._heap)
            action()


class GroupCommit:
    """Group commit, one at a time: what is written during a commit shares the next one. Free commits are immediate."""

    def __init__(self, clock: Clock, commit_s: float) -> None:
        self._clock = clock
        self._commit_s = commit_s
        self._waiting: list[Callable[[], None]] = []
        self._committing = False

    def write(self, when_durable: Callable[[], None]) -> None:
        """Write a row."""
        if self._commit_s == 0:
            when_durable()
            return
        self._waiting.append(when_durable)
        if not self._committing:
            self._commit()

    def _commit(self) -> None:
        group, self._waiting = self._waiting, []
        self._committing = True
        self._clock.at(self._clock.now_s + self._commit_s, lambda: self._durable(group))

    def _durable(self, group: list[Callable[[], None]]) -> None:
        for tell in group:
            tell()
        self._committing = False
        if self._waiting:
            self._commit()
