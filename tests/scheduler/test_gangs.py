"""Gangs: reserve, clear only what is needed, start when everything is free, end, pause, cancel."""

from __future__ import annotations

import pytest

from xnas_ray import messages as m
from xnas_ray.messages import FailureKind, SearchState
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World

CONFIG = SchedulerConfig(lease_s=None, prefetch_below_s=0.0, gang_patience_s=100.0)
GANG = m.SearchConfig(cpus=2.0, gang_workers=2, trials=2)


def cluster(*nodes: tuple[str, float, float], world: World | None = None) -> World:
    world = world or World(CONFIG)
    for name, cpus, gpus in nodes:
        world.send(m.NodeJoined, name, cpus, gpus)
    world.send(m.Tick)
    return world


def busy(trial_s: float = 50.0, **named: object) -> World:
    """Two nodes of four CPUs, full of long trials of one CPU."""
    named = {"result": lambda s, t, n: Result(trial_s if s == "a" else 1.0), **named}
    world = cluster(("x", 4.0, 0.0), ("y", 4.0, 0.0), world=World(CONFIG, **named))  # type: ignore[arg-type]
    world.submit("a")
    return world.run(1.0)


def claimed(world: World, search_id: str = "g") -> list[str]:
    """Nodes that are kept for a gang."""
    return [n.node_id for n in world.scheduler._core.pool.nodes.values() if n.claimed_by == search_id]


def test_a_gang_starts_at_once_on_a_free_cluster_and_its_findings_come_back_as_trials() -> None:
    world = cluster(("x", 2.0, 0.0), ("y", 4.0, 0.0))
    world.submit("g", cpus=2.0, gang_workers=3, trials=2)
    assert world.of(m.StartGang) == [m.StartGang("g", (("x", 1), ("y", 2)))]
    world.run(10.0)
    assert not world.of(m.StartWorker) and not world.of(m.Propose)
    world.send(m.GangEnded, "g", True)
    world.run()
    assert world.statuses("g") == ["completed"] * 2
    assert world.states("g") == ["running", "finished"]


def test_a_gang_waits_until_everything_is_free_and_only_what_is_needed_drains() -> None:
    world = busy()
    world.submit("g", cpus=2.0, gang_workers=1, trials=1)
    assert len(world.of(m.DrainWorker)) == 2 and not world.of(m.StopTrial)
    assert world.scheduler.search("g").note == "waits for 1 workers of 2 CPUs and 0 GPUs at once"
    world.run(49.0)
    assert not world.of(m.StartGang)
    world.run(60.0)
    assert world.times(m.StartGang) == [50.0]
    assert sum(w.state == "ready" for w in world.scheduler.workers()) == 6, "the others go on"
    world.run(200.0)
    assert len(world.of(m.StartWorker)) == 8, "nobody starts where the gang is"


def test_after_its_patience_what_is_in_the_way_checkpoints_and_requeues_for_free() -> None:
    world = busy(trial_s=1000.0)
    world.send(m.SearchSubmitted, "g", GANG)
    world.run(100.0)
    assert not world.of(m.StopTrial)
    world.run(101.0)
    stopped = world.of(m.StopTrial)
    assert [c.checkpoint for c in stopped] == [True] * 4 and world.times(m.StopTrial) == [101.0] * 4
    assert world.times(m.StartGang) == [101.0]
    requeued = [c for c in world.of(m.LogTrial) if c.state == "requeued"]
    assert {c.failure for c in requeued} == {FailureKind.PREEMPTED} and len(requeued) == 4
    world.send(m.GangEnded, "g", True)
    world.run(150.0)
    assert {(d.trial, d.attempt) for d in world.dispatches("a")} >= {(c.trial, (1, 1)) for c in stopped}


def test_nodes_with_fewer_trials_are_preferred() -> None:
    world = busy()
    world.send(m.NodeJoined, "z", 4.0, 0.0)
    world.send(m.PauseRequested, "a")  # z stays empty
    world.send(m.SearchSubmitted, "g", GANG)
    world.run(world.now_s)
    assert world.of(m.StartGang) == [m.StartGang("g", (("z", 2),))]


@pytest.mark.parametrize("ok", [True, False])
def test_what_a_gang_held_is_free_when_it_ends(ok: bool) -> None:
    world = cluster(("x", 4.0, 2.0))
    world.submit("g", cpus=2.0, gpus=1.0, gang_workers=2, trials=1, gpu_hours=10.0)
    world.submit("a", trials=4)
    world.run(100.0)
    assert not world.of(m.StartWorker)
    world.send(m.GangEnded, "g", ok, "" if ok else "diverged")
    world.run()
    assert world.statuses("a") == ["completed"] * 4
    assert world.scheduler.search("g").gpu_s == pytest.approx(200.0 + ok)
    assert (world.state("g"), world.reason("g")) == (
        (SearchState.FINISHED, "") if ok else (SearchState.FAILED, "diverged")
    )


def test_gang_seconds_are_charged_to_the_search() -> None:
    world = cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", GANG)
    world.run(100.0)
    world.send(m.GangEnded, "g", True)
    assert world.scheduler.search("g").virtual_s >= 100.0


def test_a_gang_that_waits_gives_its_places_up_when_its_search_is_paused() -> None:
    world = busy()
    world.send(m.SearchSubmitted, "g", GANG)
    world.send(m.PauseRequested, "g")
    assert not claimed(world)
    world.run(70.0)
    assert sum(w.state == "ready" for w in world.scheduler.workers()) == 8 and not world.of(m.StartGang)
    world.send(m.ResumeRequested, "g")
    world.run(200.0)
    assert len(world.of(m.StartGang)) == 1


@pytest.mark.parametrize("waiting", [True, False])
def test_a_cancelled_gang_ends(waiting: bool) -> None:
    world = busy() if waiting else cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", GANG)
    world.run(2.0)
    world.send(m.CancelRequested, "g")
    world.run(3.0)
    assert world.of(m.StopGang) == ([] if waiting else [m.StopGang("g")])
    assert world.state("g") == SearchState.CANCELLED and not claimed(world)


def test_a_running_gang_goes_on_through_a_pause_and_its_end_counts() -> None:
    world = cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", GANG)
    world.send(m.PauseRequested, "g")
    assert not world.of(m.StopGang)
    world.send(m.GangEnded, "g", True)
    world.send(m.ResumeRequested, "g")
    world.run()
    assert len(world.of(m.StartGang)) == 1 and world.statuses("g") == ["completed"] * 2


@pytest.mark.parametrize("resumed_before_it_stopped", [True, False])
def test_a_gang_that_is_paused_at_once_starts_again_on_resume(resumed_before_it_stopped: bool) -> None:
    world = cluster(("x", 4.0, 0.0), world=World(CONFIG, by_hand=(m.StopGang,)))
    world.send(m.SearchSubmitted, "g", GANG)
    for _ in range(2):
        world.send(m.PauseRequested, "g", "", True)
    assert world.of(m.StopGang) == [m.StopGang("g")]
    if resumed_before_it_stopped:
        world.send(m.ResumeRequested, "g")
    world.send(m.GangEnded, "g", False, "stopped")
    if not resumed_before_it_stopped:
        assert world.state("g") == SearchState.PAUSED and len(world.of(m.StartGang)) == 1
        world.send(m.ResumeRequested, "g")
    assert len(world.of(m.StartGang)) == 2
    world.send(m.GangEnded, "g", True)
    world.run()
    assert world.statuses("g") == ["completed"] * 2


def test_a_gang_that_had_finished_when_it_was_stopped_is_not_run_again() -> None:
    world = cluster(("x", 4.0, 0.0), world=World(CONFIG, by_hand=(m.StopGang,)))
    world.send(m.SearchSubmitted, "g", GANG)
    world.send(m.PauseRequested, "g", "", True)
    world.send(m.GangEnded, "g", True)
    world.send(m.ResumeRequested, "g")
    world.run()
    assert len(world.of(m.StartGang)) == 1 and world.statuses("g") == ["completed"] * 2


def test_a_gang_whose_job_fails_in_a_pause_fails_its_search() -> None:
    world = cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", GANG)
    world.send(m.PauseRequested, "g")
    world.send(m.GangEnded, "g", False, "diverged")
    assert (world.state("g"), world.reason("g")) == (SearchState.FAILED, "diverged")


@pytest.mark.parametrize("leaves", [True, False])
def test_a_reserved_node_that_goes_is_replaced(leaves: bool) -> None:
    world = busy()
    world.send(m.SearchSubmitted, "g", GANG)
    (reserved,) = world.scheduler._gangs.reservations["g"].places
    world.send(m.NodeLeft if leaves else m.NodeDraining, reserved)
    (instead,) = world.scheduler._gangs.reservations["g"].places
    assert {reserved, instead} == {"x", "y"}
    world.run(60.0)
    assert world.of(m.StartGang) == [m.StartGang("g", ((instead, 2),))]


def test_patience_begins_anew_with_a_new_reservation() -> None:
    world = busy(trial_s=1000.0)
    world.send(m.SearchSubmitted, "g", GANG)
    world.run(51.0)
    world.send(m.NodeLeft, claimed(world)[0])
    world.run(150.0)
    assert claimed(world) and not world.of(m.StopTrial)
    world.run(152.0)
    assert world.times(m.StopTrial) == [151.0] * 4


def test_a_gang_without_enough_nodes_reserves_nothing_until_they_join() -> None:
    world = cluster(("x", 2.0, 0.0))
    world.submit("g", cpus=2.0, gang_workers=2, trials=1)
    world.submit("a", trials=9)
    world.run(3.0)
    assert not world.scheduler._core.pool.claims and len(world.dispatches("a")) > 2
    world.send(m.NodeJoined, "y", 2.0, 0.0)
    world.run(10.0)
    assert world.of(m.StartGang) == [m.StartGang("g", (("x", 1), ("y", 1)))]


def test_two_gangs_do_not_block_each_other() -> None:
    world = cluster(("x", 4.0, 0.0))
    for name in ("g", "h"):
        world.send(m.SearchSubmitted, name, m.SearchConfig(cpus=2.0, gang_workers=2, trials=1))
    assert [c.search_id for c in world.of(m.StartGang)] == ["g"]
    world.run(5.0)
    world.send(m.GangEnded, "g", True)
    world.run(10.0)
    assert [c.search_id for c in world.of(m.StartGang)] == ["g", "h"]


@pytest.mark.parametrize("hard", [False, True])
def test_a_gang_that_waits_when_the_time_is_over_ends_and_a_running_one_only_if_the_budget_is_hard(hard: bool) -> None:
    config = m.SearchConfig(cpus=2.0, gang_workers=2, wall_clock_s=20.0, hard=hard)
    waiting = busy()
    waiting.send(m.SearchSubmitted, "g", config)
    waiting.run(30.0)
    assert waiting.states("g") == ["running", "draining", "finished"]
    running = cluster(("x", 4.0, 0.0))
    running.send(m.SearchSubmitted, "g", config)
    running.run(30.0)
    assert running.of(m.StopGang) == ([m.StopGang("g")] if hard else [])
    assert running.state("g") == (SearchState.FINISHED if hard else SearchState.DRAINING)


def test_the_gpu_hours_of_a_running_gang_count_as_they_pass() -> None:
    world = cluster(("x", 4.0, 2.0))
    world.submit("g", cpus=2.0, gpus=1.0, gang_workers=2, gpu_hours=100.0 / 3600.0, hard=True)
    world.run()
    assert world.times(m.StopGang) == [50.0] and world.state("g") == SearchState.FINISHED


def test_a_restored_gang_search_that_has_proposed_does_not_run_its_job_again() -> None:
    world = World(CONFIG, epoch=2)
    world.send(m.NodeJoined, "x", 4.0, 0.0)
    world.proposed["g"] = 1
    world.send(m.SearchSubmitted, "g", GANG, m.SearchProgress(SearchState.RUNNING, next_trial=1, counted=1))
    world.send(m.Tick)
    world.run()
    assert not world.of(m.StartGang) and world.statuses("g") == ["completed"]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_running_gang_whose_node_goes_starts_again_elsewhere(leaves: bool) -> None:
    world = cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", GANG)
    world.send(m.NodeJoined, "y", 4.0, 0.0)
    if leaves:
        world.send(m.NodeLeft, "x")
    else:
        world.send(m.NodeDraining, "x", False)
        assert not world.of(m.StopGang), "there is still time"
        world.send(m.NodeDraining, "x", True)
    assert world.of(m.StopGang) == [m.StopGang("g")]
    world.run(1.0)
    assert world.of(m.StartGang) == [m.StartGang("g", (("x", 2),)), m.StartGang("g", (("y", 2),))]
    world.send(m.GangEnded, "g", True)
    world.run()
    assert world.statuses("g") == ["completed"] * 2


def test_an_end_that_comes_twice_is_dropped() -> None:
    world = cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", m.SearchConfig(cpus=2.0, gang_workers=2))
    world.send(m.GangEnded, "g", True)
    assert world.scheduler.search("g").stale_reports == 0
    world.send(m.GangEnded, "g", False, "late")
    assert world.scheduler.search("g").stale_reports == 1 and world.state("g") == SearchState.RUNNING


def test_a_node_that_comes_back_under_its_name_is_not_given_the_old_ones_places() -> None:
    world = cluster(("x", 4.0, 0.0))
    world.send(m.SearchSubmitted, "g", GANG)
    world.send(m.NodeLeft, "x")
    world.send(m.NodeJoined, "x", 4.0, 0.0)
    world.send(m.GangEnded, "g", True)
    assert world.scheduler._core.pool.nodes["x"].free_cpus + sum(w.shape[0] for w in world.scheduler.workers()) == 4.0
