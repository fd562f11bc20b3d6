"""The life of a trial: asked, dispatched, retried, ended; exactly one terminal row, told once it is durable."""

from __future__ import annotations

import itertools

import pytest

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import FailureKind, TrialStatus
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World, failed

ONE = m.SearchConfig(trials=1)


def kinds(commands: list[m.Command]) -> list[str]:
    return [type(c).__name__ for c in commands]


def test_each_step_waits_for_the_one_before() -> None:
    world = World(by_hand=(m.WriteAsked, m.WriteTerminal, m.Dispatch)).start(a=ONE)
    assert kinds(world.of(m.WriteAsked)) == ["WriteAsked"]
    assert not world.dispatches()

    commands = world.send(m.AskedDurable, "a", 0)
    assert kinds(commands) == ["Dispatch", "LogTrial"]
    (dispatch,) = world.dispatches()
    assert (dispatch.trial, dispatch.attempt) == (0, (1, 0))

    commands = world.report(dispatch)
    assert commands == [m.WriteTerminal("a", 0, (1, 0), TrialStatus.COMPLETED)]

    commands = world.send(m.TerminalDurable, "a", 0)
    assert kinds(commands) == ["Tell", "LogSearch", "CloseController"]
    assert world.states("a") == ["running", "finished"]
    assert world.scheduler.search("a").counted == 1


def test_a_free_worker_does_not_wait_for_the_commit_of_its_own_outcome() -> None:
    world = World(by_hand=(m.WriteTerminal, m.Dispatch)).start(cpus=1, a=m.SearchConfig(trials=2))
    commands = world.report(world.dispatches()[0])
    world.run(world.now_s)
    assert "WriteTerminal" in kinds(commands)
    assert [d.trial for d in world.dispatches()] == [0, 1]


@pytest.mark.parametrize(
    ("failure", "retries", "status", "attempts"),
    [
        (FailureKind.EXCEPTION, 0, "failed", 1),
        (FailureKind.EXCEPTION, 2, "failed", 3),
        (FailureKind.OUT_OF_MEMORY, 1, "failed", 2),
        (FailureKind.NAN, 2, "failed", 1),  # deterministic: never again
        (FailureKind.INVALID, 2, "failed", 1),
        (FailureKind.WORKER_DIED, 0, "failed", 6),  # the machine's fault: five retries that the search does not pay
        (FailureKind.NODE_DIED, 3, "failed", 6),
    ],
)
def test_how_often_a_failure_is_tried_again(failure: FailureKind, retries: int, status: str, attempts: int) -> None:
    world = World(result=lambda s, t, n: failed(failure)).start(a=m.SearchConfig(trials=1, retries=retries)).run()
    assert world.statuses("a") == [status]
    assert [d.attempt for d in world.dispatches()] == [(1, n) for n in range(attempts)]
    row = world.terminal("a")[0]
    assert (row.failure, row.attempt) == (failure, (1, attempts - 1))
    assert world.scheduler.search("a").counted == 1, "a failed trial counts once, whatever its attempts"


def test_infrastructure_failures_and_retries_are_counted_apart() -> None:
    story = [FailureKind.WORKER_DIED, FailureKind.EXCEPTION, FailureKind.NODE_DIED]
    world = World(result=lambda s, t, n: failed(story[n]) if n < 3 else Result())
    world.start(a=m.SearchConfig(trials=1, retries=1)).run()
    assert world.statuses("a") == ["completed"]
    assert [c.state for c in world.of(m.LogTrial)] == [*["running", "retrying"] * 3, "running"]


def test_preemptions_never_count_and_are_tried_at_once() -> None:
    world = World(result=lambda s, t, n: failed(FailureKind.PREEMPTED) if n < 20 else Result()).start(a=ONE).run()
    assert world.statuses("a") == ["completed"]
    assert world.now_s == 21.0


def test_backoff_grows_and_its_last_value_repeats() -> None:
    world = World(result=lambda s, t, n: failed(FailureKind.WORKER_DIED)).start(a=ONE).run()
    times = world.times(m.Dispatch)
    assert [b - a - 1.0 for a, b in itertools.pairwise(times)] == [1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_retried_trial_goes_before_new_ones() -> None:
    config = SchedulerConfig(lease_s=None, prefetch_below_s=0.0, backoff_s=())
    world = World(config, result=lambda s, t, n: failed(FailureKind.EXCEPTION) if (t, n) == (0, 0) else Result())
    world.start(cpus=1, a=m.SearchConfig(trials=3, retries=1)).run()
    assert [d.trial for d in world.dispatches()] == [0, 0, 1, 2]


def test_it_goes_even_before_new_ones_with_lower_numbers() -> None:
    world = World(by_hand=(m.WriteAsked,), result=lambda s, t, n: None).start(cpus=2, a=m.SearchConfig(trials=2))
    world.send(m.AskedDurable, "a", 1)
    world.send(m.NodeDraining, "n", True)
    world.run(world.now_s)
    world.send(m.AskedDurable, "a", 0)
    world.send(m.NodeJoined, "x", 1.0, 0.0)
    world.run(world.now_s)
    assert [d.trial for d in world.dispatches()] == [1, 1]


def test_a_worker_that_dies_is_replaced_and_its_trial_goes_on() -> None:
    world = World(by_hand=(m.Dispatch,)).start(cpus=1, a=ONE)
    (first,) = world.dispatches()
    world.now_s = 3.0
    world.send(m.WorkerGone, first.worker_id, "segmentation fault")
    world.run(10.0)
    second = world.dispatches()[1]
    assert second.worker_id != first.worker_id and second.attempt == (1, 1)
    (retrying,) = [c for c in world.of(m.LogTrial) if c.state == "retrying"]
    assert (retrying.failure, retrying.duration_s) == (FailureKind.WORKER_DIED, 3.0)
    assert retrying.detail == "segmentation fault"


@pytest.mark.parametrize("kind", ["old attempt", "twice", "other worker", "unknown worker", "unknown search"])
def test_reports_that_fit_nothing_are_dropped_and_counted(kind: str) -> None:
    world = World(by_hand=(m.Dispatch,)).start(cpus=2, a=m.SearchConfig(trials=2, retries=1))
    first, other = world.dispatches()
    world.report(first, failed(FailureKind.EXCEPTION))
    world.run(5.0)
    second = world.dispatches()[-1]
    assert (second.trial, second.attempt) == (0, (1, 1))
    if kind == "old attempt":
        commands = world.report(first)
    elif kind == "twice":
        world.report(second)
        commands = world.report(second)
    elif kind == "other worker":
        commands = world.report(second, worker_id=other.worker_id)
    elif kind == "unknown worker":
        commands = world.report(second, worker_id="w0-1")
    else:
        commands = world.send(m.TrialReported, second.worker_id, "nowhere", 0, (1, 0), TrialStatus.COMPLETED, 1.0)
    assert commands == []
    assert world.scheduler.search("a").stale_reports == (kind != "unknown search")
    if kind != "twice":
        assert kinds(world.report(second)) == ["WriteTerminal"]


def test_a_result_of_the_store_ends_a_trial_without_a_worker_and_does_not_count() -> None:
    world = World(reusable=lambda search, trial: trial % 2 == 0).start(a=m.SearchConfig(trials=3)).run()
    rows = world.terminal("a")
    assert [t for t, row in rows.items() if row.reused] == [0, 2, 4]
    assert sorted(d.trial for d in world.dispatches()) == [1, 3, 5]
    assert world.scheduler.search("a").counted == 3
    assert all(row.attempt is None and row.status == TrialStatus.COMPLETED for row in rows.values() if row.reused)


def test_impossible_rows_tell_the_story_of_the_trial() -> None:
    world = World(by_hand=(m.Dispatch, m.WriteTerminal)).start(a=m.SearchConfig(trials=1, retries=1))
    world.now_s = 2.5
    with pytest.raises(TransitionError) as error:
        world.send(m.TerminalDurable, "a", 0)
    text = str(error.value)
    assert "a/0 is assigned, not reported" in text
    assert "proposed at 0 s, queued at 0 s, assigned at 0 s (w1-1)" in text

    world.report(world.dispatches()[0], failed(FailureKind.EXCEPTION))
    world.run(5.0)
    world.report(world.dispatches()[1])
    with pytest.raises(TransitionError, match=r"retrying at 2.5 s \(exception\), queued at 3.5 s, .* completed at 5 s"):
        world.send(m.AskedDurable, "a", 0)
    world.send(m.TerminalDurable, "a", 0)
    with pytest.raises(TransitionError, match="a/0: it has ended"):
        world.send(m.TerminalDurable, "a", 0)
    with pytest.raises(TransitionError, match="a/7: it was never proposed"):
        world.send(m.AskedDurable, "a", 7)


def test_a_long_story_keeps_its_beginning_and_its_end() -> None:
    world = World(
        SchedulerConfig(lease_s=None), result=lambda s, t, n: failed(FailureKind.PREEMPTED) if n < 50 else None
    )
    world.start(a=ONE).run(100.0)
    with pytest.raises(TransitionError) as error:
        world.send(m.TerminalDurable, "a", 0)
    story = str(error.value)
    assert story.count(" at ") == 12 and "proposed at 0 s" in story and "assigned at 50 s" in story


def test_an_error_changes_nothing() -> None:
    world = World(by_hand=(m.WriteAsked,)).start(a=ONE)
    before = world.scheduler.search("a")
    for event in (m.AskedDurable(0, "a", 3), m.TerminalDurable(0, "a", 0), m.Proposed(0, "a", 1)):
        with pytest.raises(TransitionError):
            world.scheduler.handle(event)
    assert world.scheduler.search("a") == before
