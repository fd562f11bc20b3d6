"""How fast the scheduler decides: events a second and microseconds an event, for 8 to 4,096 workers.

    python experiments/performance/scheduler_throughput.py [--trials 16000] [--workers 8 64 1024 4096]

Nothing but ``Scheduler.handle`` is timed: workers, controllers and the disk are a heap of answers on a virtual clock.
A trial takes 1 to 3 virtual seconds, seeded, so that workers do not move in step. ``start`` is what it takes until
every worker has its first trial. ``last/first`` compares what happens until the last thousand dispatches with the first
thousand after the start; ``99.9 %`` of the events after the start are faster than that.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xnas_ray import messages as m
from xnas_ray.messages import TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig

CHUNK = 1_000
NODE_CPUS = 64


@dataclass
class Cost:
    """What a run cost.

    Attributes:
        workers: how many there were.
        event_s: seconds of every event.
        total_s: their sum so far.
        dispatched: at every dispatch, the number of events and their seconds so far.
    """

    workers: int
    event_s: list[float] = field(default_factory=list)
    total_s: float = 0.0
    dispatched: list[tuple[int, float]] = field(default_factory=list)

    @property
    def start_s(self) -> float:
        """Seconds until every worker had its first trial."""
        return self.dispatched[self.workers - 1][1]

    @property
    def last_over_first(self) -> float:
        """Cost of the last thousand dispatches over that of the first thousand after the start."""
        seconds = [so_far_s for _, so_far_s in self.dispatched]
        first = seconds[self.workers + CHUNK - 1] - seconds[self.workers - 1]
        return (seconds[-1] - seconds[-1 - CHUNK]) / first

    @property
    def rare_s(self) -> float:
        """Seconds than which 999 of 1,000 events after the start are faster."""
        after = sorted(self.event_s[self.dispatched[self.workers - 1][0] :])
        return after[len(after) * 999 // 1000]


class Answers:
    """Answers every command at once, and every dispatch when the trial's virtual duration is over."""

    def __init__(self, workers: int, trials: int, priorities: tuple[float, ...]) -> None:
        """Nodes of 64 CPUs, and searches that share them."""
        self.cost = Cost(workers)
        self._scheduler = Scheduler(SchedulerConfig(lease_s=None))
        self._chance = random.Random(0)
        self._waiting: list[tuple[float, int, Callable[[float], m.Event]]] = []
        self._order = itertools.count()
        self._proposed: dict[str, int] = {}
        self._free_s: dict[str, float] = {}
        for index in range(0, workers, NODE_CPUS):
            self._now(m.NodeJoined(0.0, f"n{index}", float(min(NODE_CPUS, workers - index)), 0.0))
        for index, priority in enumerate(priorities):
            config = m.SearchConfig(priority=priority, trials=trials // len(priorities))
            self._now(m.SearchSubmitted(0.0, f"s{index}", config))
        self._now(m.Tick(0.0))

    def run(self) -> Cost:
        """Until every search has ended."""
        while self._waiting:
            now_s, _, event = heapq.heappop(self._waiting)
            self._now(event(now_s))
        return self.cost

    def _now(self, event: m.Event) -> None:
        before = time.perf_counter()
        commands = self._scheduler.handle(event)
        took_s = time.perf_counter() - before
        cost = self.cost
        cost.event_s.append(took_s)
        cost.total_s += took_s
        for command in commands:
            self._answer(command, event.now_s)

    def _at(self, at_s: float, event: Callable[[float], m.Event]) -> None:
        heapq.heappush(self._waiting, (at_s, next(self._order), event))

    def _answer(self, command: m.Command, now_s: float) -> None:
        match command:
            case m.StartWorker(worker_id=worker):
                self._at(now_s, lambda t: m.WorkerReady(t, worker))
            case m.OpenController(search_id=search):
                self._at(now_s, lambda t: m.ControllerReady(t, search))
            case m.Propose(search_id=search, count=count):
                for number in range(self._proposed.get(search, 0), self._proposed.get(search, 0) + count):
                    self._at(now_s, lambda t, n=number: m.Proposed(t, search, n))
                self._proposed[search] = self._proposed.get(search, 0) + count
            case m.WriteAsked(search_id=search, trial=trial):
                self._at(now_s, lambda t: m.AskedDurable(t, search, trial))
            case m.WriteTerminal(search_id=search, trial=trial):
                self._at(now_s, lambda t: m.TerminalDurable(t, search, trial))
            case m.Dispatch():
                self._dispatch(command, now_s)

    def _dispatch(self, c: m.Dispatch, now_s: float) -> None:
        self.cost.dispatched.append((len(self.cost.event_s), self.cost.total_s))
        duration_s = self._chance.uniform(1.0, 3.0)
        ends_s = max(now_s, self._free_s.get(c.worker_id, 0.0)) + duration_s
        self._free_s[c.worker_id] = ends_s
        done = TrialStatus.COMPLETED
        self._at(ends_s, lambda t: m.TrialReported(t, c.worker_id, c.search_id, c.trial, c.attempt, done, duration_s))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16_000, help="of all searches of a run together")
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 1024, 4096])
    arguments = parser.parse_args()
    least = max(arguments.workers) + 2 * CHUNK
    if arguments.trials < least:
        parser.error(f"--trials: at least {least}, so that a last thousand can be compared with a first")
    Answers(8, 3 * CHUNK, (1.0,)).run()  # warms the interpreter up
    load = os.getloadavg()[0]
    print(f"{arguments.trials:,} trials; {os.cpu_count()} CPUs, load {load:.1f}")
    print(f"{'workers':>8}{'searches':>10}{'events':>10}{'events/s':>11}{'us/event':>10}", end="")
    print(f"{'99.9 %':>11}{'last/first':>12}{'start':>10}")
    for workers, priorities in itertools.product(arguments.workers, ((1.0,), (3.0, 1.0))):
        gc.collect()
        cost = Answers(workers, arguments.trials, priorities).run()
        events = len(cost.event_s)
        print(f"{workers:>8,}{len(priorities):>10}{events:>10,}{events / cost.total_s:>11,.0f}", end="")
        print(f"{cost.total_s / events * 1e6:>10.1f}{cost.rare_s * 1e6:>8.0f} us", end="")
        print(f"{cost.last_over_first:>12.2f}{cost.start_s:>8.2f} s")


if __name__ == "__main__":
    main()
