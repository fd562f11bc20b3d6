"""Budgets of trials, GPU hours and running time: they stop dispatch, and kill only when they are hard."""

from __future__ import annotations

import pytest

from xnas_ray import messages as m
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World, failed

CONFIG = SchedulerConfig(lease_s=None, prefetch_below_s=0.0, backoff_s=(1.0,))
SECOND = 1.0 / 3600.0


def start(world: World, cpus: float = 2.0, gpus: float = 0.0, **config: object) -> World:
    return world.start(cpus=cpus, gpus=gpus, a=m.SearchConfig(**config))  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_a_trial_budget_is_met_exactly_whatever_fails_on_the_way(workers: int) -> None:
    def result(search: str, trial: int, n: int) -> Result:
        if trial % 3 == 0 and n == 0:
            return failed(FailureKind.EXCEPTION)
        return failed(FailureKind.NAN) if trial % 5 == 1 else Result()

    world = World(CONFIG, result=result, reusable=lambda s, t: t % 7 == 4, ask_s=0.3)
    start(world, cpus=workers, trials=20, retries=1).run()
    rows = world.terminal("a").values()
    counted = [r for r in rows if not r.reused]
    assert len(counted) == 20 and world.scheduler.search("a").counted == 20
    assert {str(r.status) for r in counted} == {"completed", "failed"}
    assert world.state("a") == SearchState.FINISHED and world.reason("a") == ""


def test_cancelled_and_reused_trials_do_not_count() -> None:
    world = World(CONFIG, reusable=lambda s, t: t < 3, by_hand=(m.Dispatch,))
    start(world, cpus=1, trials=2)
    world.report(world.dispatches()[0], Result(1.0, TrialStatus.CANCELLED, FailureKind.CANCELLED))
    world.run(world.now_s)
    assert world.scheduler.search("a").counted == 0
    assert world.statuses("a") == ["completed"] * 3 + ["cancelled"]
    for index in (1, 2):
        world.report(world.dispatches()[index])
        world.run(world.now_s)
    assert world.state("a") == SearchState.FINISHED


# ---- running time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hard", "status"), [(False, "completed"), (True, "cancelled")])
def test_running_time_stops_dispatch_and_kills_only_when_hard(hard: bool, status: str) -> None:
    world = start(World(CONFIG, result=lambda s, t, n: Result(30.0)), cpus=1, wall_clock_s=100.0, hard=hard).run()
    assert world.statuses("a") == ["completed"] * 3 + [status]
    assert world.times(m.LogSearch) == [0.0, 100.0, 100.0 if hard else 120.0]
    assert world.states("a") == ["running", "draining", "finished"]
    assert world.reason("a") == "budget exhausted: 100 s of running time"


def test_what_waits_is_cancelled_when_the_time_is_over() -> None:
    world = World(CONFIG, result=lambda s, t, n: failed(FailureKind.EXCEPTION, 99.5) if t == 0 else Result(200.0))
    start(world, wall_clock_s=100.0, retries=3).run(99.5)
    world.send(m.NodeDraining, "n", True)  # trial 1 checkpoints and waits for a place
    world.run()
    waited = {0: "cancelled", 1: "cancelled", 2: "cancelled"}
    assert {n: str(r.status) for n, r in world.terminal("a").items()} == waited
    assert world.state("a") == SearchState.FINISHED


def test_an_attempt_that_fails_while_the_search_drains_is_not_tried_again() -> None:
    world = World(CONFIG, result=lambda s, t, n: failed(FailureKind.EXCEPTION, 150.0))
    start(world, cpus=1, wall_clock_s=100.0, retries=3).run()
    assert world.statuses("a") == ["cancelled"] and world.state("a") == SearchState.FINISHED


def test_only_running_time_counts() -> None:
    world = start(World(CONFIG, result=lambda s, t, n: Result(10.0)), cpus=1, wall_clock_s=100.0).run(40.0)
    world.send(m.PauseRequested, "a")
    world.run(500.0)
    assert world.scheduler.search("a").running_s == 40.0
    world.send(m.ResumeRequested, "a")
    world.run()
    assert world.times(m.LogSearch)[-1] == 560.0


def test_running_time_goes_on_after_a_restart() -> None:
    world = World(CONFIG, result=lambda s, t, n: Result(10.0), epoch=2)
    world.send(m.NodeJoined, "n", 1.0, 0.0)
    progress = m.SearchProgress(SearchState.RUNNING, running_s=70.0)
    world.send(m.SearchSubmitted, "a", m.SearchConfig(wall_clock_s=100.0), progress)
    world.send(m.Tick)
    world.run()
    assert world.times(m.LogSearch) == [0.0, 30.0, 30.0] and len(world.dispatches()) == 3


def test_the_next_wakeup_is_when_the_budget_is_spent() -> None:
    world = start(World(CONFIG, by_hand=(m.Dispatch,)), cpus=1, wall_clock_s=100.0)
    assert world.scheduler.next_wakeup_s == 100.0
    world.send(m.ExtendRequested, "a", None, None, 250.0)
    assert world.scheduler.next_wakeup_s == 250.0


# ---- GPU hours -------------------------------------------------------------------------------------------------------


def test_gpu_hours_count_every_attempt_by_its_share_of_a_gpu() -> None:
    world = World(CONFIG, result=lambda s, t, n: failed(FailureKind.EXCEPTION, 4.0) if n == 0 else Result(6.0))
    start(world, cpus=2, gpus=1, gpu_hours=1000.0, trials=2, retries=1)
    world.run()
    assert world.scheduler.search("a").gpu_s == 0.0, "its workers have no GPU"
    world.send(m.SearchSubmitted, "b", m.SearchConfig(trials=2, retries=1, gpus=0.5))
    world.run()
    assert world.scheduler.search("b").gpu_s == pytest.approx(2 * (4.0 + 6.0) * 0.5)


def test_gpu_hours_count_what_runs_as_it_runs() -> None:
    world = World(CONFIG, by_hand=(m.Dispatch,)).start(cpus=2, gpus=2, a=m.SearchConfig(gpus=1.0)).run(7.0)
    world.send(m.Tick)
    assert world.scheduler.search("a").gpu_s == pytest.approx(14.0)
    world.report(world.dispatches()[0], Result(5.0))
    world.run(7.0)
    assert world.scheduler.search("a").gpu_s == pytest.approx(12.0), "what the worker measured replaces the clock"


@pytest.mark.parametrize(("hard", "ends_s"), [(False, 60.0), (True, 50.0)])
def test_gpu_hours_stop_dispatch_and_kill_only_when_hard(hard: bool, ends_s: float) -> None:
    world = World(CONFIG, result=lambda s, t, n: Result(30.0))
    world.start(cpus=2, gpus=2, a=m.SearchConfig(gpus=1.0, gpu_hours=100 * SECOND, hard=hard)).run()
    assert world.times(m.LogSearch) == [0.0, 50.0, ends_s]
    assert world.statuses("a") == ["completed"] * 2 + ["cancelled" if hard else "completed"] * 2
    assert world.reason("a") == "budget exhausted: 0.0277778 GPU hours"


def test_gpu_hours_go_on_after_a_restart_before_anything_is_dispatched() -> None:
    world = World(CONFIG, epoch=2)
    world.send(m.NodeJoined, "n", 1.0, 1.0)
    progress = m.SearchProgress(SearchState.RUNNING, next_trial=1, gpu_s=3600.0, pending=(m.PendingTrial(0),))
    world.send(m.SearchSubmitted, "a", m.SearchConfig(gpus=1.0, gpu_hours=1.0), progress)
    world.send(m.Tick)
    world.run()
    assert world.states("a") == ["running", "draining", "finished"]
    assert world.statuses("a") == ["cancelled"] and not world.dispatches()


# ---- extend ----------------------------------------------------------------------------------------------------------


def test_extend_reopens_a_finished_search() -> None:
    world = start(World(CONFIG), trials=3).run()
    world.send(m.ExtendRequested, "a", 5)
    world.run()
    assert world.statuses("a") == ["completed"] * 5
    assert world.states("a") == ["running", "finished", "queued", "running", "finished"]
    assert len(world.of(m.OpenController)) == len(world.of(m.CloseController)) == 2


def test_extend_lets_a_running_search_go_on_beyond_its_first_budget() -> None:
    world = start(World(CONFIG), cpus=1, wall_clock_s=5.0).run(3.0)
    world.send(m.ExtendRequested, "a", None, None, 8.0)
    world.run()
    assert len(world.statuses("a")) == 8 and world.now_s == 8.0


def test_extend_takes_a_search_out_of_draining_and_spares_what_was_to_be_cancelled() -> None:
    world = World(CONFIG, result=lambda s, t, n: Result(30.0), by_hand=(m.WriteAsked,))
    start(world, wall_clock_s=50.0)
    world.send(m.AskedDurable, "a", 0)
    world.run(55.0)
    assert world.state("a") == SearchState.DRAINING
    world.send(m.ExtendRequested, "a", 3, None, 500.0)
    for number in (1, 2):
        world.send(m.AskedDurable, "a", number)
    world.run()
    assert world.states("a") == ["running", "draining", "running", "finished"]
    assert world.statuses("a") == ["completed"] * 3
    assert len(world.of(m.OpenController)) == 1


def test_an_extension_that_leaves_the_spent_budget_as_it_is_changes_nothing() -> None:
    world = World(CONFIG, result=lambda s, t, n: Result(30.0), by_hand=(m.WriteAsked,))
    start(world, wall_clock_s=50.0)
    world.send(m.AskedDurable, "a", 0)
    world.run(55.0)
    world.send(m.ExtendRequested, "a", 99)
    for number in (1, 2):
        world.send(m.AskedDurable, "a", number)
    world.run()
    assert world.states("a") == ["running", "draining", "finished"]
    assert world.statuses("a") == ["completed", "cancelled", "cancelled"]


def test_a_smaller_budget_cancels_what_waits_beyond_it() -> None:
    world = World(CONFIG, by_hand=(m.Dispatch, m.WriteAsked, m.Propose), ask_s=1.0)
    start(world, cpus=3, trials=9)
    for number in range(3):
        world.send(m.Proposed, "a", number)
    world.send(m.AskedDurable, "a", 0)
    world.send(m.ExtendRequested, "a", 2)
    for number in (1, 2):
        world.send(m.AskedDurable, "a", number)
    assert [r.trial for r in world.of(m.WriteTerminal)] == [2]
    for dispatch in world.dispatches():
        world.report(dispatch)
    world.run(world.now_s)
    assert world.statuses("a") == ["completed", "completed", "cancelled"]
    assert world.state("a") == SearchState.FINISHED


def test_proposals_beyond_a_smaller_budget_are_cancelled_as_they_arrive() -> None:
    world = World(CONFIG, by_hand=(m.Propose,))
    start(world, cpus=3, trials=9)
    world.send(m.ExtendRequested, "a", 2)
    for number in range(3):
        world.send(m.Proposed, "a", number)
    world.run()
    assert sorted(world.statuses("a")) == ["cancelled", "completed", "completed"]


def test_a_draining_search_can_be_paused_and_extended_then() -> None:
    world = World(CONFIG, result=lambda s, t, n: Result(30.0))
    start(world, cpus=1, wall_clock_s=50.0).run(55.0)
    world.send(m.PauseRequested, "a", "", True)
    world.run(56.0)
    assert world.state("a") == SearchState.PAUSED and world.scheduler.search("a").queued == 1
    world.send(m.ExtendRequested, "a", 2, None, 500.0)
    world.send(m.ResumeRequested, "a")
    world.run()
    assert world.statuses("a") == ["completed"] * 2
