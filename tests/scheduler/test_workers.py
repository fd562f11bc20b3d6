"""Workers and nodes: they start, hang, obey or not, die, leave and are adopted."""

from __future__ import annotations

import math

import pytest

from xnas_ray import messages as m
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World

ONE = m.SearchConfig(trials=1)
NO_LEASE = SchedulerConfig(lease_s=None, prefetch_below_s=0.0)
PREFETCH = SchedulerConfig(lease_s=None, prefetch_below_s=2.0)
QUIET = (m.Dispatch, m.StopTrial, m.KillWorker, m.StopWorker)
"""Orders that a test answers itself: workers that do what the test wants."""


def two_deep(config: SchedulerConfig = PREFETCH, **search: object) -> tuple[World, m.Dispatch, m.Dispatch]:
    """One worker that holds a short trial and another one behind it."""
    world = World(config, by_hand=QUIET).start(cpus=1, a=m.SearchConfig(**{"trials": 9, **search}))  # type: ignore[arg-type]
    world.report(world.dispatches()[0], Result(0.5))
    world.run(world.now_s)
    _, first, second = world.dispatches()
    assert first.worker_id == second.worker_id
    return world, first, second


# ---- timeouts and stops ----------------------------------------------------------------------------------------------


def test_a_trial_that_takes_too_long_is_killed_and_fails_as_timeout() -> None:
    world = World(by_hand=(m.Dispatch,)).start(cpus=1, a=m.SearchConfig(trials=1, timeout_s=20.0)).run(40.0)
    (kill,) = world.of(m.KillWorker)
    assert world.times(m.KillWorker) == [20.0] and "a/0 took longer than 20 s" in kill.reason
    row = world.terminal("a")[0]
    assert (row.status, row.failure) == (TrialStatus.FAILED, FailureKind.TIMEOUT)


def test_a_timeout_spends_a_retry() -> None:
    world = World(by_hand=(m.Dispatch,)).start(cpus=1, a=m.SearchConfig(trials=1, timeout_s=20.0, retries=1)).run()
    assert world.times(m.KillWorker) == [20.0, 41.0]
    assert world.statuses("a") == ["failed"]


def test_the_time_of_a_trial_counts_from_when_its_worker_comes_to_it() -> None:
    world, first, _ = two_deep(timeout_s=20.0)
    world.run(15.0)
    world.report(first, Result(15.0))
    world.run(34.0)
    assert not world.of(m.KillWorker)
    world.run(35.0)
    assert world.times(m.KillWorker) == [35.0]


def test_the_alarms_of_many_short_trials_do_not_pile_up() -> None:
    world = World(NO_LEASE, result=lambda s, t, n: Result(0.01)).start(cpus=2, a=m.SearchConfig(timeout_s=3600.0))
    world.run(10.0)
    assert len(world.of(m.WriteTerminal)) > 1000
    assert len(world.scheduler._core.alarms) < 10


def test_a_trial_behind_the_one_that_timed_out_did_nothing_wrong() -> None:
    world, first, second = two_deep(timeout_s=20.0)
    world.run(20.0)
    assert world.of(m.KillWorker)
    world.send(m.WorkerGone, first.worker_id)
    assert world.terminal("a")[first.trial].failure == FailureKind.TIMEOUT
    assert second.trial not in world.terminal("a")
    logged = [c for c in world.of(m.LogTrial) if c.trial == second.trial]
    assert [(c.state, c.detail) for c in logged] == [("running", ""), ("requeued", "not begun")]


def test_a_result_that_overtakes_the_kill_stands_and_nobody_else_pays() -> None:
    world, first, second = two_deep(timeout_s=20.0)
    world.run(20.0)
    world.report(first, Result(20.0))
    world.send(m.WorkerGone, first.worker_id)
    world.run(world.now_s)
    assert world.terminal("a")[first.trial].status == TrialStatus.COMPLETED
    last = world.dispatches()[-1]
    assert (last.trial, last.attempt) == (second.trial, (1, 1))
    assert second.trial not in world.terminal("a")


@pytest.mark.parametrize(("checkpoint", "status"), [(True, None), (False, "cancelled")])
def test_who_does_not_obey_a_stop_is_killed_after_ten_seconds(checkpoint: bool, status: str | None) -> None:
    world = World(NO_LEASE, by_hand=(m.Dispatch, m.StopTrial)).start(cpus=1, a=ONE)
    world.now_s = 5.0
    if checkpoint:
        world.send(m.PauseRequested, "a", "", True)
    else:
        world.send(m.CancelRequested, "a")
    assert world.of(m.StopTrial) == [m.StopTrial("w1-1", "a", 0, (1, 0), checkpoint)]
    world.run(14.9)
    assert not world.of(m.KillWorker)
    world.run(20.0)
    assert world.times(m.KillWorker) == [15.0]
    assert world.terminal("a").get(0) is None if status is None else world.statuses("a") == [status]
    if status is None:
        assert [c.failure for c in world.of(m.LogTrial)] == [None, FailureKind.PREEMPTED]


def test_a_trial_behind_another_must_obey_only_once_it_begins() -> None:
    world, first, second = two_deep()
    world.send(m.SearchSubmitted, "b", m.SearchConfig(trials=1, priority=2.0))
    world.send(m.PauseRequested, "a", "", True)
    world.run(9.0)
    world.report(first, Result(0.5, TrialStatus.CANCELLED, FailureKind.PREEMPTED))
    world.run(18.9)
    assert not world.of(m.KillWorker)
    world.run(19.0)
    assert world.times(m.KillWorker) == [19.0]
    world.send(m.WorkerGone, second.worker_id)
    assert world.scheduler.search("a").queued >= 2


def test_stop_is_ordered_once_and_a_cancel_overrides_a_checkpoint() -> None:
    world = World(NO_LEASE, by_hand=QUIET).start(cpus=1, a=ONE)
    for _ in range(2):
        world.send(m.PauseRequested, "a", "", True)
    world.send(m.CancelRequested, "a")
    world.send(m.CancelRequested, "a")
    assert [c.checkpoint for c in world.of(m.StopTrial)] == [True, False]
    world.report(world.dispatches()[0], Result(1.0, TrialStatus.CANCELLED, FailureKind.PREEMPTED))
    assert world.statuses("a") == ["cancelled"]


# ---- leases ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_is_not_heard_is_killed_and_its_trial_goes_on_elsewhere() -> None:
    config = SchedulerConfig(lease_s=60.0)
    world = World(config, by_hand=(m.Dispatch,)).start(cpus=1, a=ONE)
    for at_s in range(5, 50, 5):
        world.at(at_s, lambda: m.WorkerBeat(0, "w1-1"))
    world.run(104.9)
    assert not world.of(m.KillWorker)
    world.run(110.0)
    assert world.times(m.KillWorker) == [105.0]
    assert [c.failure for c in world.of(m.LogTrial) if c.state == "retrying"] == [FailureKind.WORKER_DIED]
    assert world.dispatches()[-1].attempt == (1, 1)


def test_beats_set_no_alarms() -> None:
    world = World(SchedulerConfig(lease_s=60.0), by_hand=(m.Dispatch,)).start(cpus=1, a=ONE)
    for _ in range(500):
        world.now_s += 5.0
        world.send(m.WorkerBeat, "w1-1")
        world.send(m.Tick)
    assert not world.of(m.KillWorker)
    assert len(world.scheduler._core.alarms) == 1


def test_a_report_renews_the_lease() -> None:
    world = World(SchedulerConfig(lease_s=60.0), result=lambda s, t, n: Result(50.0)).start(cpus=1, a=m.SearchConfig())
    world.run(1000.0)
    assert not world.of(m.KillWorker)


def test_an_empty_worker_that_does_not_end_when_asked_is_killed() -> None:
    world = World(NO_LEASE, by_hand=(m.StopWorker,)).start(cpus=1, a=ONE).run()
    world.send(m.NodeDraining, "n")
    world.run(world.now_s + 60.0)
    assert world.times(m.KillWorker) == [world.times(m.StopWorker)[0] + 10.0]


# ---- starting --------------------------------------------------------------------------------------------------------


def test_workers_that_die_while_they_start_give_their_node_longer_and_longer_rests() -> None:
    world = World(NO_LEASE, by_hand=(m.StartWorker,)).start(cpus=1, a=ONE)
    for _ in range(40):
        starting = world.of(m.StartWorker)[-1].worker_id
        if starting in world.scheduler._core.pool.workers:
            world.send(m.WorkerGone, starting, "ImportError")
        else:
            world.run(world.scheduler.next_wakeup_s or 0.0)
    rests = [b - a for a, b in zip(world.times(m.StartWorker), world.times(m.StartWorker)[1:], strict=False)]
    assert rests[:4] == [0.0] * 4
    assert rests[4:13] == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 1920.0, 1920.0]


def test_many_workers_that_fail_together_are_one_rest() -> None:
    world = World(NO_LEASE, by_hand=(m.StartWorker,)).start(cpus=64, a=m.SearchConfig(trials=100))
    starting = world.of(m.StartWorker)
    assert len(starting) == 64
    for command in starting:
        world.send(m.WorkerGone, command.worker_id, "ImportError")
    world.run(30.0)
    assert world.times(m.StartWorker)[-1] == 30.0


def test_a_worker_that_starts_well_clears_the_count() -> None:
    config = SchedulerConfig(lease_s=None, start_attempts=2)
    world = World(config, by_hand=(m.StartWorker, m.Dispatch)).start(cpus=1, a=m.SearchConfig(trials=1, retries=9))
    for well in (False, True, False, True):
        worker_id = world.of(m.StartWorker)[-1].worker_id
        if well:
            world.send(m.WorkerReady, worker_id)
        world.send(m.WorkerGone, worker_id)
    world.run(world.now_s)
    assert len(world.of(m.StartWorker)) == 5 and world.now_s == 0.0


def test_one_bad_node_does_not_keep_the_others_from_starting() -> None:
    world = World(NO_LEASE, by_hand=(m.StartWorker,)).start(cpus=1, a=m.SearchConfig(trials=4))
    for _ in range(5):
        world.send(m.WorkerGone, world.of(m.StartWorker)[-1].worker_id)
    world.send(m.NodeJoined, "good", 1.0, 0.0)
    assert world.of(m.StartWorker)[-1].node_id == "good"


def test_a_recycled_worker_finishes_what_it_holds_and_is_replaced() -> None:
    world, first, second = two_deep()
    world.report(first, Result(0.5), recycle=True)
    assert world.of(m.DrainWorker) == [m.DrainWorker(first.worker_id)] and not world.of(m.StopWorker)
    world.report(second, Result(0.5))
    assert world.of(m.StopWorker) == [m.StopWorker(first.worker_id)]
    world.send(m.WorkerGone, first.worker_id)
    world.run(world.now_s)
    assert world.of(m.StartWorker)[-1].worker_id != first.worker_id
    assert world.dispatches()[-1].worker_id == world.of(m.StartWorker)[-1].worker_id


# ---- nodes -----------------------------------------------------------------------------------------------------------


def test_nothing_starts_on_a_draining_node_and_what_runs_there_finishes() -> None:
    world = World(NO_LEASE, start_s=2.0).start(cpus=2, a=m.SearchConfig(trials=6))
    world.run(2.5)
    world.send(m.NodeDraining, "n")
    world.send(m.NodeJoined, "m", 1.0, 0.0)
    world.run()
    assert world.statuses("a") == ["completed"] * 6
    assert [c.node_id for c in world.of(m.StartWorker)] == ["n", "n", "m"]
    assert not world.of(m.KillWorker)
    assert [d.attempt for d in world.dispatches()] == [(1, 0)] * 6


def test_workers_that_start_on_a_draining_node_end_at_once() -> None:
    world = World(NO_LEASE, by_hand=(m.StartWorker,)).start(cpus=2, a=m.SearchConfig(trials=6))
    world.send(m.NodeDraining, "n")
    world.run(0.0)
    assert [c.worker_id for c in world.of(m.KillWorker)] == ["w1-1", "w1-2"]
    assert world.scheduler.workers() == []
    assert world.scheduler._core.pool.nodes["n"].start_failures == 0


def test_a_node_that_must_go_soon_has_its_trials_checkpoint_and_move() -> None:
    world = World(NO_LEASE, result=lambda s, t, n: Result(100.0)).start(cpus=1, a=ONE).run(10.0)
    world.send(m.NodeJoined, "m", 1.0, 0.0)
    world.send(m.NodeDraining, "n", True)
    world.run()
    assert [c.checkpoint for c in world.of(m.StopTrial)] == [True]
    assert [c.state for c in world.of(m.LogTrial)] == ["running", "requeued", "running"]
    assert world.statuses("a") == ["completed"]


def test_a_node_that_is_gone_takes_its_workers_with_it() -> None:
    world = World(NO_LEASE, by_hand=(m.Dispatch,)).start(cpus=2, a=m.SearchConfig(trials=2))
    world.send(m.NodeLeft, "n")
    assert world.scheduler.workers() == []
    assert [c.failure for c in world.of(m.LogTrial) if c.state == "retrying"] == [FailureKind.NODE_DIED] * 2
    world.send(m.NodeJoined, "n", 2.0, 0.0)
    world.run(1.0)
    assert [d.attempt for d in world.dispatches()] == [(1, 0), (1, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize("first", ["node", "worker"])
def test_a_draining_node_that_goes_early_costs_its_trials_nothing(first) -> None:
    world = World(NO_LEASE, by_hand=(m.Dispatch,)).start(cpus=1, a=m.SearchConfig(trials=1))
    world.send(m.NodeDraining, "n")
    for attempt in range(8):  # more often than a node may die under a trial
        if first == "worker":
            world.send(m.WorkerGone, world.dispatches()[-1].worker_id, "gone", FailureKind.NODE_DIED)
        world.send(m.NodeLeft, f"n{attempt}" if attempt else "n")
        world.send(m.NodeJoined, f"n{attempt + 1}", 1.0, 0.0)
        world.run(world.now_s + 1)
        world.send(m.NodeDraining, f"n{attempt + 1}")
    assert [c.failure for c in world.of(m.LogTrial) if c.state == "requeued"] == [FailureKind.PREEMPTED] * 8
    assert world.dispatches()[-1].attempt == (1, 8) and not world.of(m.WriteTerminal)


def test_what_searches_could_use_is_told() -> None:
    world = World(NO_LEASE, by_hand=(m.Dispatch,))
    world.start(cpus=1, a=m.SearchConfig(trials=5, cpus=2.0), b=m.SearchConfig(max_workers=3), c=m.SearchConfig(gpus=1))
    assert world.scheduler.demand() == {(2.0, 0.0): 5, (1.0, 0.0): 3, (1.0, 1): math.inf}


@pytest.mark.parametrize(
    "event",
    [
        m.WorkerReady(0, "nobody"),
        m.WorkerGone(0, "nobody"),
        m.WorkerBeat(0, "nobody"),
        m.NodeLeft(0, "nowhere"),
        m.NodeDraining(0, "nowhere"),
        m.NodeJoined(0, "n", 99.0, 9.0),
        m.ControllerReady(0, "nowhere"),
        m.ControllerLost(0, "nowhere"),
        m.ControllerFailed(0, "nowhere", "x"),
        m.ProposalRefused(0, "nowhere"),
        m.GangEnded(0, "nowhere", True),
    ],
    ids=lambda e: type(e).__name__,
)
def test_news_of_the_unknown_change_nothing(event: m.Event) -> None:
    world = World(by_hand=(m.Dispatch,)).start(a=m.SearchConfig(trials=3))
    assert world.scheduler.handle(event) == []


# ---- adoption --------------------------------------------------------------------------------------------------------


def restored(*pending: m.PendingTrial, state: SearchState = SearchState.RUNNING, trials: int = 9) -> World:
    """A second service that knows its nodes and searches and has not begun."""
    world = World(NO_LEASE, by_hand=(m.Dispatch, m.KillWorker), epoch=2)
    world.send(m.NodeJoined, "n", 2.0, 0.0)
    progress = m.SearchProgress(state, next_trial=4, counted=2, pending=pending)
    world.send(m.SearchSubmitted, "a", m.SearchConfig(trials=trials), progress)
    world.proposed["a"] = 4
    return world


def test_a_living_worker_goes_on_with_what_it_runs() -> None:
    world = restored(m.PendingTrial(2, attempts=1), m.PendingTrial(3, attempts=1))
    world.send(m.WorkerAdopted, "w1-7", "n", 1.0, 0.0, (("a", 2, (1, 0)),))
    assert world.dispatches() == []
    world.send(m.Tick)
    world.run(0.0)
    assert [(d.trial, d.attempt) for d in world.dispatches()] == [(3, (2, 1))]
    world.send(m.TrialReported, "w1-7", "a", 2, (1, 0), TrialStatus.COMPLETED, 5.0)
    assert world.terminal("a")[2].attempt == (1, 0)


@pytest.mark.parametrize(
    ("node", "running"),
    [
        ("n", (("a", 0, (1, 0)),)),  # has ended
        ("n", (("a", 2, (1, 0)), ("b", 0, (1, 0)))),  # of a search that nobody knows
        ("nowhere", ()),
    ],
)
def test_a_living_worker_that_does_not_fit_is_killed(
    node: str, running: tuple[tuple[str, int, m.Attempt], ...]
) -> None:
    world = restored(m.PendingTrial(2, attempts=1))
    commands = world.send(m.WorkerAdopted, "w1-7", node, 1.0, 0.0, running)
    assert [type(c) for c in commands] == [m.KillWorker]
    world.send(m.Tick)
    world.run(0.0)
    assert (2, (2, 1)) in [(d.trial, d.attempt) for d in world.dispatches()]


def test_of_two_workers_with_one_trial_the_first_goes_on() -> None:
    world = restored(m.PendingTrial(2, attempts=2))
    assert world.send(m.WorkerAdopted, "w1-7", "n", 1.0, 0.0, (("a", 2, (1, 1)),)) == []
    assert world.send(m.WorkerAdopted, "w1-8", "n", 1.0, 0.0, (("a", 2, (1, 0)),)) != []
    assert [w.worker_id for w in world.scheduler.workers()] == ["w1-7"]


def test_adopting_twice_changes_nothing() -> None:
    world = restored(m.PendingTrial(2, attempts=1))
    for _ in range(2):
        assert world.send(m.WorkerAdopted, "w1-7", "n", 1.0, 0.0, (("a", 2, (1, 0)),)) == []


def test_an_adopted_worker_with_two_attempts_of_a_trial_owes_the_later_one() -> None:
    world = restored(m.PendingTrial(2, attempts=2))
    world.send(m.WorkerAdopted, "w1-7", "n", 1.0, 0.0, (("a", 2, (1, 0)), ("a", 2, (1, 1))))
    world.send(m.Tick)
    assert world.send(m.TrialReported, "w1-7", "a", 2, (1, 0), TrialStatus.COMPLETED, 5.0) == []
    world.send(m.TrialReported, "w1-7", "a", 2, (1, 1), TrialStatus.COMPLETED, 5.0)
    assert world.terminal("a")[2].attempt == (1, 1)


def test_an_adopted_worker_of_a_draining_node_gets_nothing_new() -> None:
    world = restored(m.PendingTrial(2, attempts=1))
    world.send(m.NodeDraining, "n")
    world.send(m.WorkerAdopted, "w1-7", "n", 1.0, 0.0, (("a", 2, (1, 0)),))
    world.send(m.Tick)
    world.run(0.0)
    assert world.dispatches() == []
    world.send(m.TrialReported, "w1-7", "a", 2, (1, 0), TrialStatus.COMPLETED, 5.0)
    assert world.of(m.StopWorker) == [m.StopWorker("w1-7")]


def test_adopted_workers_may_overfill_a_node_that_became_smaller() -> None:
    world = restored(m.PendingTrial(2, attempts=1), m.PendingTrial(3, attempts=1))
    for number in (2, 3):
        world.send(m.WorkerAdopted, f"w1-{number}", "n", 2.0, 0.0, (("a", number, (1, 0)),))
    world.send(m.Tick)
    world.run(0.0)
    assert not world.of(m.StartWorker)
    for number in (2, 3):
        world.send(m.WorkerGone, f"w1-{number}")
    world.run(9.0)
    assert len(world.of(m.StartWorker)) == 2
