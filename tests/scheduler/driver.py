"""A small simulated cluster that drives one scheduler on a virtual clock and keeps a record of every command."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xnas_ray import messages as m
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.scheduler.invariants import check_invariants


@dataclass
class Result:
    """How an attempt ends."""

    duration_s: float = 1.0
    status: TrialStatus = TrialStatus.COMPLETED
    failure: FailureKind | None = None


def failed(kind: FailureKind, duration_s: float = 1.0) -> Result:
    return Result(duration_s, TrialStatus.FAILED, kind)


class World:
    """Answers what the scheduler orders.

    Args:
        config: of the scheduler; no leases unless given.
        result: how the attempt (search, trial, n) ends; None: its worker never reports.
        ask_s: seconds that a proposal takes.
        commit_s: seconds until a row is durable.
        start_s: seconds until a worker is ready.
        by_hand: kinds of commands that the test answers itself.
        candidates: how many candidates the controller of a search has; without limit unless given.
        reusable: whether the store has the result of a trial.
        check: whether every event is followed by a check of all invariants.
    """

    def __init__(
        self,
        config: SchedulerConfig | None = None,
        *,
        result: Callable[[str, int, int], Result | None] = lambda search, trial, n: Result(),
        ask_s: float | Callable[[str], float] = 0.0,
        commit_s: float = 0.0,
        start_s: float = 0.0,
        by_hand: tuple[type[m.Command], ...] = (),
        candidates: dict[str, int] | None = None,
        reusable: Callable[[str, int], bool] = lambda search, trial: False,
        check: bool = True,
        epoch: int = 1,
    ) -> None:
        self.scheduler = Scheduler(config or SchedulerConfig(lease_s=None, prefetch_below_s=0.0), epoch)
        self.result = result
        self.ask_s = ask_s if callable(ask_s) else lambda search: ask_s
        self.commit_s, self.start_s = commit_s, start_s
        self.by_hand = by_hand
        self.candidates = candidates or {}
        self.reusable = reusable
        self.check = check
        self.now_s = 0.0
        self.log: list[tuple[float, m.Command]] = []
        self.proposed: dict[str, int] = defaultdict(int)
        self.running: dict[str, list[m.Dispatch]] = defaultdict(list)
        self.ended_s: dict[tuple[str, int], float] = {}
        self.busy_s: dict[str, float] = defaultdict(float)
        self._free_s: dict[str, float] = {}
        self._pending: list[tuple[float, int, Callable[[], m.Event | None]]] = []
        self._order = itertools.count()

    # ---- what a test does -------------------------------------------------------------------------------------------

    def send(self, kind: type[m.Event], /, *fields: Any, **named: Any) -> list[m.Command]:
        """An event now; returns the commands."""
        commands = self.scheduler.handle(kind(self.now_s, *fields, **named))
        if self.check:
            check_invariants(self.scheduler)
        for command in commands:
            self.log.append((self.now_s, command))
            if not isinstance(command, self.by_hand):
                self._answer(command)
        return commands

    def start(self, cpus: float = 2.0, gpus: float = 0.0, **searches: m.SearchConfig) -> World:
        """One node, some searches, the first tick, and everything that follows at once."""
        self.send(m.NodeJoined, "n", cpus, gpus)
        for search_id, config in searches.items():
            self.send(m.SearchSubmitted, search_id, config)
        self.send(m.Tick)
        return self.run(self.now_s)

    def submit(self, search_id: str, **config: Any) -> list[m.Command]:
        return self.send(m.SearchSubmitted, search_id, m.SearchConfig(**config))

    def at(self, when_s: float, event: Callable[[], m.Event | None]) -> None:
        """Something that will happen; the event is made then, None if it will not."""
        heapq.heappush(self._pending, (when_s, next(self._order), event))

    def run(self, until_s: float = math.inf) -> World:
        """Let time pass until then, or until nothing more can happen."""
        while True:
            wake_s = self.scheduler.next_wakeup_s
            next_s = min(
                self._pending[0][0] if self._pending else math.inf,
                max(wake_s, self.now_s) if wake_s is not None else math.inf,
            )
            if next_s > until_s or next_s == math.inf:
                self.now_s = max(self.now_s, until_s) if until_s < math.inf else self.now_s
                return self
            self.now_s = max(self.now_s, next_s)
            if self._pending and self._pending[0][0] <= self.now_s:
                event = heapq.heappop(self._pending)[2]()
                if event is not None:
                    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event) if f.name != "now_s"}
                    self.send(type(event), **fields)
            else:
                self.send(m.Tick)

    def report(
        self, dispatch: m.Dispatch, result: Result | None = None, *, recycle: bool = False, worker_id: str = ""
    ) -> list[m.Command]:
        """A worker reports an attempt."""
        result = result or Result()
        return self.send(
            m.TrialReported,
            worker_id or dispatch.worker_id,
            dispatch.search_id,
            dispatch.trial,
            dispatch.attempt,
            result.status,
            result.duration_s,
            result.failure,
            recycle,
        )

    # ---- what a test looks at ---------------------------------------------------------------------------------------

    def of(self, kind: type[m.Command], search_id: str | None = None) -> list[Any]:
        """Commands of a kind so far."""
        return [c for _, c in self.log if isinstance(c, kind) and search_id in (None, getattr(c, "search_id", None))]

    def times(self, kind: type[m.Command], search_id: str | None = None) -> list[float]:
        return [t for t, c in self.log if isinstance(c, kind) and search_id in (None, getattr(c, "search_id", None))]

    def terminal(self, search_id: str) -> dict[int, m.WriteTerminal]:
        """The terminal row of each trial; there may be only one."""
        rows = self.of(m.WriteTerminal, search_id)
        assert len({r.trial for r in rows}) == len(rows), rows
        return {r.trial: r for r in rows}

    def statuses(self, search_id: str) -> list[str]:
        return [str(row.status) for _, row in sorted(self.terminal(search_id).items())]

    def states(self, search_id: str) -> list[str]:
        """Its states in order."""
        return [str(c.state) for c in self.of(m.LogSearch, search_id)]

    def state(self, search_id: str) -> SearchState:
        return self.scheduler.search(search_id).state

    def reason(self, search_id: str) -> str:
        return self.scheduler.search(search_id).reason

    def dispatches(self, search_id: str | None = None) -> list[m.Dispatch]:
        return self.of(m.Dispatch, search_id)

    # ---- answers ----------------------------------------------------------------------------------------------------

    def _answer(self, command: m.Command) -> None:
        now_s = self.now_s
        match command:
            case m.StartWorker(worker_id=w):
                self.at(now_s + self.start_s, lambda: m.WorkerReady(0, w))
            case m.StopWorker(worker_id=w) | m.KillWorker(worker_id=w):
                self.running.pop(w, None)
                self.at(now_s, lambda: m.WorkerGone(0, w))
            case m.OpenController(search_id=s):
                self.at(now_s, lambda: m.ControllerReady(0, s))
            case m.Propose(search_id=s, count=count):
                for _ in range(count):
                    self.at(now_s + self.ask_s(s), lambda: self._propose(s))
            case m.WriteAsked(search_id=s, trial=t):
                self.at(now_s + self.commit_s, lambda: m.AskedDurable(0, s, t))
            case m.WriteTerminal(search_id=s, trial=t):
                self.ended_s[s, t] = now_s
                self.at(now_s + self.commit_s, lambda: m.TerminalDurable(0, s, t))
            case m.Dispatch():
                self._run(command)
            case m.StopTrial(worker_id=w, search_id=s, trial=t, attempt=a, checkpoint=checkpoint):
                kind = FailureKind.PREEMPTED if checkpoint else FailureKind.CANCELLED
                self.at(now_s, lambda: self._end(w, s, t, a, Result(0.0, TrialStatus.CANCELLED, kind)))
            case m.StopGang(search_id=s):
                self.at(now_s, lambda: m.GangEnded(0, s, False, "stopped"))

    def _propose(self, search_id: str) -> m.Event:
        number = self.proposed[search_id]
        if number >= self.candidates.get(search_id, math.inf):
            return m.ProposalRefused(0, search_id)
        self.proposed[search_id] += 1
        return m.Proposed(0, search_id, number, self.reusable(search_id, number))

    def _run(self, command: m.Dispatch) -> None:
        self.running[command.worker_id].append(command)
        result = self.result(command.search_id, command.trial, command.attempt[1])
        if result is None:
            return
        start_s = max(self.now_s, self._free_s.get(command.worker_id, 0.0))
        self._free_s[command.worker_id] = start_s + result.duration_s
        w, s, t, a = command.worker_id, command.search_id, command.trial, command.attempt
        self.at(start_s + result.duration_s, lambda: self._end(w, s, t, a, result))

    def _end(self, w: str, s: str, t: int, a: m.Attempt, result: Result) -> m.Event | None:
        held = [c for c in self.running.get(w, []) if (c.search_id, c.trial, c.attempt) == (s, t, a)]
        if not held:
            return None
        self.running[w].remove(held[0])
        self.busy_s[s] += result.duration_s
        return m.TrialReported(0, w, s, t, a, result.status, result.duration_s, result.failure)
