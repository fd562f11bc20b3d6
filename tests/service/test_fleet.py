"""Workers from start to end, as the head hears of them; the processes are played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from xnas_ray.messages import Event, WorkerGone, WorkerReady
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.service.fleet import Fleet


class Worker:
    """A process that starts when it is let, and ends when it is killed."""

    node_id = "n"

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.up = asyncio.Event()
        self.dead = asyncio.Event()

    async def ready(self) -> None:
        await self.up.wait()

    async def ended(self) -> None:
        await self.dead.wait()

    def kill(self) -> None:
        self.dead.set()


class Launcher:
    """Starts played processes."""

    def __init__(self) -> None:
        self.made: list[Worker] = []

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> Worker:
        self.made.append(Worker(worker_id))
        return self.made[-1]


def play(scene: Callable[[Fleet, Launcher, list[Event]], Any], start_timeout_s: float) -> list[Event]:
    """The events that a fleet posts in a scene."""

    async def whole() -> list[Event]:
        events: list[Event] = []
        launcher = Launcher()
        fleet = Fleet(launcher, post=lambda event: events.append(event(1.0)), start_timeout_s=start_timeout_s)  # type: ignore[arg-type]
        await asyncio.wait_for(scene(fleet, launcher, events), 30)
        return events

    return asyncio.run(whole())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_a_worker_that_never_answers_is_killed() -> None:
    async def scene(fleet: Fleet, launcher: Launcher, events: list[Event]) -> None:
        fleet.start("w", "n", 1.0, 0.0)
        await until(lambda: events)
        assert launcher.made[0].dead.is_set() and fleet.any() is None

    events = play(scene, start_timeout_s=0.02)
    assert [type(event) for event in events] == [WorkerGone]
    assert "did not answer within 0.02 s of its start" in events[0].reason


def test_the_limit_ends_with_the_start() -> None:
    async def scene(fleet: Fleet, launcher: Launcher, events: list[Event]) -> None:
        fleet.start("w", "n", 1.0, 0.0)
        launcher.made[0].up.set()
        await until(lambda: events)
        await asyncio.sleep(0.1)  # several times the limit
        assert not launcher.made[0].dead.is_set()
        launcher.made[0].kill()
        await until(lambda: len(events) == 2)

    events = play(scene, start_timeout_s=0.02)
    assert [type(event) for event in events] == [WorkerReady, WorkerGone]


def test_a_node_on_which_none_ever_answers_gets_a_rest() -> None:
    """To the scheduler such a worker has died while it started: the house rule for these holds."""
    from xnas_ray import messages as m

    config = SchedulerConfig(start_attempts=3, start_rest_s=30.0)
    scheduler = Scheduler(config, 1)
    scheduler.handle(m.NodeJoined(0.0, "n", 1.0, 0.0))
    asked = m.SearchSubmitted(0.0, "s", m.SearchConfig(trials=3, cpus=1.0))
    scheduler.handle(asked)
    started = [c for c in scheduler.handle(m.Tick(0.0)) if isinstance(c, m.StartWorker)]
    scheduler.handle(m.ControllerReady(0.0, "s"))
    for _ in range(config.start_attempts):
        workers = [w.worker_id for w in scheduler.workers()] or [c.worker_id for c in started]
        commands = scheduler.handle(m.WorkerGone(1.0, workers[0], "did not answer within 300 s of its start"))
        started = [c for c in commands if isinstance(c, m.StartWorker)]
    assert not started, "the node rests"
    assert any(isinstance(c, m.StartWorker) for c in scheduler.handle(m.Tick(1.0 + config.start_rest_s)))
