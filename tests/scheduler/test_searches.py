"""Searches in the queue, paused, resumed, cancelled, extended, restored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World, failed

ENDLESS = m.SearchConfig()
BY_HAND = (m.Dispatch, m.StopTrial)


def config(**named: object) -> SchedulerConfig:
    return SchedulerConfig(lease_s=None, prefetch_below_s=0.0, **named)  # type: ignore[arg-type]


# ---- the queue -------------------------------------------------------------------------------------------------------


def test_so_many_searches_run_at_once_the_highest_priority_first() -> None:
    world = World(config(max_running_searches=2))
    searches = {name: m.SearchConfig(trials=4, priority=p) for name, p in (("a", 1), ("b", 3), ("c", 2), ("d", 3))}
    world.start(cpus=2, **searches)
    assert {s: str(world.state(s)) for s in "abcd"} == {"a": "queued", "b": "running", "c": "queued", "d": "running"}
    world.run()
    started = [c.search_id for c in world.of(m.LogSearch) if c.state == SearchState.RUNNING]
    assert started == ["b", "d", "c", "a"]
    assert all(world.statuses(s) == ["completed"] * 4 for s in "abcd")


def test_a_search_that_ends_gives_its_slot_and_its_workers_to_the_next_at_once() -> None:
    world = World(config(max_running_searches=1)).start(cpus=1, a=m.SearchConfig(trials=2), b=m.SearchConfig(trials=2))
    world.run()
    assert world.times(m.Dispatch) == [0.0, 1.0, 2.0, 3.0]
    assert len(world.of(m.StartWorker)) == 1


def test_a_search_without_anything_to_do_ends_without_a_worker() -> None:
    world = World(config(), candidates={"a": 0}).start(a=m.SearchConfig(trials=3)).run()
    assert world.states("a") == ["running", "finished"]
    assert "every architecture" in world.reason("a")


def test_a_search_whose_space_is_exhausted_ends_with_what_there_is() -> None:
    world = World(config(), candidates={"a": 5}).start(a=m.SearchConfig(trials=9)).run()
    assert world.statuses("a") == ["completed"] * 5 and world.state("a") == SearchState.FINISHED


def test_a_controller_that_never_opens_keeps_nothing_from_being_cancelled() -> None:
    world = World(config(), by_hand=(m.OpenController,)).start(a=ENDLESS).run(1000.0)
    assert world.state("a") == SearchState.RUNNING and not world.dispatches()
    world.send(m.CancelRequested, "a")
    assert world.state("a") == SearchState.CANCELLED
    assert world.of(m.CloseController) == [m.CloseController("a")]
    assert world.send(m.ControllerReady, "a") == []


def test_events_cost_nothing_for_searches_that_have_ended() -> None:
    world = World(config()).start(cpus=4)
    for index in range(30):
        world.submit(f"s{index}", trials=2)
    world.run()
    core = world.scheduler._core
    assert not core.running and not core.queued and len(core.searches) == 30


# ---- pause and resume ------------------------------------------------------------------------------------------------


def test_pause_dispatches_nothing_and_lets_running_trials_finish() -> None:
    world = World(config(), result=lambda s, t, n: Result(10.0)).start(cpus=2, a=m.SearchConfig(trials=6)).run(5.0)
    world.send(m.PauseRequested, "a", "lunch")
    world.run(100.0)
    assert (world.state("a"), world.reason("a")) == (SearchState.PAUSED, "lunch")
    assert len(world.dispatches()) == 2 and world.statuses("a") == ["completed"] * 2
    world.send(m.ResumeRequested, "a")
    world.run()
    assert world.states("a") == ["running", "paused", "queued", "running", "finished"]
    assert world.statuses("a") == ["completed"] * 6
    assert len(world.of(m.OpenController)) == 1, "its controller stayed open"


def test_pause_at_once_checkpoints_and_requeues_without_spending_a_retry() -> None:
    world = World(config(), result=lambda s, t, n: Result(100.0)).start(cpus=2, a=m.SearchConfig(trials=2)).run(5.0)
    world.send(m.PauseRequested, "a", "", True)
    world.run(20.0)
    assert [c.checkpoint for c in world.of(m.StopTrial)] == [True, True]
    assert world.scheduler.search("a").queued == 2 and not world.terminal("a")
    world.send(m.ResumeRequested, "a")
    world.run()
    assert [d.attempt for d in world.dispatches()] == [(1, 0), (1, 0), (1, 1), (1, 1)]
    assert world.statuses("a") == ["completed"] * 2


def test_proposals_that_were_asked_for_before_a_pause_wait_for_its_end() -> None:
    world = World(config(), ask_s=5.0).start(cpus=2, a=m.SearchConfig(trials=4))
    world.send(m.PauseRequested, "a")
    world.run(50.0)
    view = world.scheduler.search("a")
    assert (view.queued, view.outstanding) == (2, 0) and not world.dispatches()
    world.send(m.ResumeRequested, "a")
    world.run()
    assert world.statuses("a") == ["completed"] * 4


def test_a_paused_search_gives_its_slot_to_the_queue() -> None:
    world = World(config(max_running_searches=1)).start(cpus=1, a=ENDLESS, b=m.SearchConfig(trials=2)).run(3.5)
    world.send(m.PauseRequested, "a")
    assert world.state("b") == SearchState.RUNNING
    world.send(m.ResumeRequested, "a")
    assert world.state("a") == SearchState.QUEUED
    world.run(20.0)
    assert world.states("b") == ["running", "finished"] and world.state("a") == SearchState.RUNNING


def test_a_queued_search_can_be_paused_before_it_ever_runs() -> None:
    world = World(config(max_running_searches=1)).start(cpus=1, a=ENDLESS, b=m.SearchConfig(trials=2))
    world.send(m.PauseRequested, "b")
    world.send(m.CancelRequested, "a")
    world.run(10.0)
    assert world.states("b") == ["paused"]


# ---- cancel ----------------------------------------------------------------------------------------------------------


def test_cancel_ends_what_waits_at_once_and_what_runs_when_it_stops() -> None:
    world = World(config(), by_hand=(*BY_HAND, m.WriteTerminal)).start(cpus=2, a=m.SearchConfig(trials=9, retries=1))
    first, second = world.dispatches()
    world.report(first, failed(FailureKind.EXCEPTION))  # waits for its next attempt
    world.run(world.now_s)
    commands = world.send(m.CancelRequested, "a")
    assert [c for c in commands if isinstance(c, m.WriteTerminal)] == [
        m.WriteTerminal("a", first.trial, None, TrialStatus.CANCELLED, reason="cancelled on request")
    ]
    stopped = {(c.trial, c.checkpoint) for c in commands if isinstance(c, m.StopTrial)}
    assert stopped == {(d.trial, False) for d in world.dispatches()[1:]}
    for dispatch in world.dispatches()[1:]:
        world.report(dispatch, Result(1.0, TrialStatus.CANCELLED, FailureKind.CANCELLED))
    assert world.states("a") == ["running", "draining"], "its rows are not durable yet"
    for trial in list(world.terminal("a")):
        world.send(m.TerminalDurable, "a", trial)
    assert world.states("a") == ["running", "draining", "cancelled"]
    assert set(world.statuses("a")) == {"cancelled"} and second.trial in world.terminal("a")


def test_a_result_that_comes_before_the_stop_stands() -> None:
    world = World(config(), by_hand=BY_HAND).start(cpus=2, a=m.SearchConfig(trials=9))
    first, second = world.dispatches()
    world.send(m.CancelRequested, "a")
    world.report(first)
    world.report(second, failed(FailureKind.EXCEPTION))
    world.run(world.now_s)
    assert world.statuses("a") == ["completed", "cancelled"] and world.state("a") == SearchState.CANCELLED


def test_a_worker_that_dies_after_a_cancel_makes_no_retry() -> None:
    world = World(config(), by_hand=BY_HAND).start(cpus=1, a=m.SearchConfig(trials=9, retries=3))
    world.send(m.CancelRequested, "a")
    world.send(m.WorkerGone, world.dispatches()[0].worker_id)
    world.run(world.now_s)
    assert world.statuses("a") == ["cancelled"] and world.state("a") == SearchState.CANCELLED


def test_proposals_and_rows_under_way_are_cancelled_as_they_arrive() -> None:
    world = World(config(), by_hand=(m.Propose, m.WriteAsked)).start(cpus=2, a=m.SearchConfig(trials=4))
    world.send(m.Proposed, "a", 0)
    world.send(m.CancelRequested, "a")
    world.send(m.Proposed, "a", 1)
    assert world.state("a") == SearchState.DRAINING
    world.send(m.AskedDurable, "a", 1)
    world.send(m.AskedDurable, "a", 0)
    world.run(world.now_s)
    assert world.statuses("a") == ["cancelled"] * 2 and world.state("a") == SearchState.CANCELLED


def test_nothing_new_is_dispatched_to_a_worker_that_a_cancel_frees() -> None:
    world = World(config(), result=lambda s, t, n: Result(50.0)).start(cpus=1, a=ENDLESS, b=m.SearchConfig(trials=1))
    world.run(1.0)
    world.send(m.CancelRequested, "a")
    world.run()
    assert world.statuses("b") == ["completed"] and len(world.of(m.StartWorker)) == 1


# ---- failures in a row -----------------------------------------------------------------------------------------------


def test_ten_failed_trials_in_a_row_pause_a_search_with_the_reason() -> None:
    world = World(config(), result=lambda s, t, n: failed(FailureKind.NAN)).start(cpus=1, a=m.SearchConfig(trials=50))
    world.run()
    assert world.state("a") == SearchState.PAUSED
    assert world.reason("a") == "10 trials failed in a row, the last with nan"
    assert world.statuses("a") == ["failed"] * 10
    world.send(m.ResumeRequested, "a")
    world.run()
    assert world.statuses("a") == ["failed"] * 20, "the count begins anew"


def test_one_success_between_them_clears_the_count() -> None:
    world = World(config(), result=lambda s, t, n: Result() if t % 10 == 9 else failed(FailureKind.NAN))
    world.start(cpus=1, a=m.SearchConfig(trials=50)).run()
    assert world.state("a") == SearchState.FINISHED


def test_attempts_that_are_tried_again_are_no_failures_in_a_row() -> None:
    world = World(config(), result=lambda s, t, n: failed(FailureKind.EXCEPTION) if n < 3 else Result())
    world.start(cpus=1, a=m.SearchConfig(trials=12, retries=3)).run()
    assert world.statuses("a") == ["completed"] * 12


# ---- requests that cannot be -----------------------------------------------------------------------------------------


def finished(world: World) -> None:
    world.run()


def cancelled(world: World) -> None:
    world.send(m.CancelRequested, "a")
    world.run()


def ending(world: World) -> None:
    world.by_hand = BY_HAND
    world.send(m.CancelRequested, "a")


@pytest.mark.parametrize(
    ("before", "event", "match"),
    [
        (finished, m.PauseRequested, "a is finished, it cannot be paused"),
        (finished, m.ResumeRequested, "a is finished, not paused. A finished search goes on with `xnas extend`"),
        (finished, m.CancelRequested, "a is finished already"),
        (cancelled, m.ExtendRequested, "a is cancelled, it cannot be extended. Submit a new one"),
        (cancelled, m.CancelRequested, "a is cancelled already"),
        (ending, m.PauseRequested, "a is draining, it cannot be paused"),
        (ending, m.ExtendRequested, "a is cancelled, it cannot be extended"),
        (lambda world: None, m.ResumeRequested, "a is running, not paused"),
        (lambda world: None, m.SearchSubmitted, "a was submitted before, it is running"),
    ],
)
def test_requests_that_cannot_be_say_why(before: Callable[[World], None], event: type[m.Event], match: str) -> None:
    world = World(config()).start(a=m.SearchConfig(trials=2))
    before(world)
    with pytest.raises(TransitionError, match=match):
        world.send(event, "a", *([ENDLESS] if event is m.SearchSubmitted else []))


@pytest.mark.parametrize("event", [m.PauseRequested, m.ResumeRequested, m.CancelRequested, m.ExtendRequested])
def test_requests_for_the_unknown_list_what_is_known(event: type[m.Event]) -> None:
    world = World(config()).start(a=ENDLESS)
    with pytest.raises(TransitionError, match=r"search b is unknown\. Valid: a"):
        world.send(event, "b")


# ---- restored --------------------------------------------------------------------------------------------------------


def restore(progress: m.SearchProgress, search: m.SearchConfig | None = None, **named: object) -> World:
    world = World(config(), epoch=2, **named)  # type: ignore[arg-type]
    world.proposed["a"] = progress.next_trial
    world.send(m.NodeJoined, "n", 2.0, 0.0)
    world.send(m.SearchSubmitted, "a", search or m.SearchConfig(trials=6, retries=1), progress)
    assert world.log == [], "nothing is done before the first tick"
    world.send(m.Tick)
    return world


def test_pending_trials_are_run_again_and_none_twice() -> None:
    pending = (m.PendingTrial(1, attempts=1), m.PendingTrial(3))
    world = restore(m.SearchProgress(SearchState.RUNNING, next_trial=4, counted=2, pending=pending)).run()
    assert [(d.trial, d.attempt) for d in world.dispatches()][:2] == [(1, (2, 1)), (3, (2, 0))]
    assert world.statuses("a") == ["completed"] * 4 and sorted(world.terminal("a")) == [1, 3, 4, 5]
    assert world.scheduler.search("a").counted == 6


def test_spent_retries_are_remembered() -> None:
    pending = (m.PendingTrial(0, attempts=1, failures=1), m.PendingTrial(1, attempts=5, infrastructure_failures=5))
    world = restore(
        m.SearchProgress(SearchState.RUNNING, next_trial=2, pending=pending),
        m.SearchConfig(trials=2, retries=1),
        result=lambda s, t, n: failed(FailureKind.EXCEPTION if t == 0 else FailureKind.WORKER_DIED),
    ).run()
    assert world.statuses("a") == ["failed"] * 2 and len(world.dispatches()) == 2


def test_a_paused_search_stays_paused() -> None:
    pending = (m.PendingTrial(0),)
    world = restore(m.SearchProgress(SearchState.PAUSED, 1, pending=pending, reason="disk full")).run()
    assert (world.state("a"), world.reason("a")) == (SearchState.PAUSED, "disk full") and not world.dispatches()
    world.send(m.ResumeRequested, "a")
    world.run()
    assert world.statuses("a") == ["completed"] * 6


def test_a_search_of_which_only_the_end_was_not_written_ends() -> None:
    world = restore(m.SearchProgress(SearchState.RUNNING, next_trial=6, counted=6)).run()
    assert world.states("a") == ["running", "finished"] and not world.dispatches()


def test_pending_trials_beyond_the_budget_are_cancelled_the_latest_first() -> None:
    pending = tuple(m.PendingTrial(n, attempts=int(n == 7)) for n in (4, 5, 6, 7))
    world = restore(m.SearchProgress(SearchState.RUNNING, next_trial=8, counted=4, pending=pending)).run()
    assert {n: str(r.status) for n, r in world.terminal("a").items()} == {
        4: "completed",
        5: "cancelled",
        6: "cancelled",
        7: "completed",
    }
    assert world.scheduler.search("a").counted == 6


def test_searches_that_ran_keep_their_slots() -> None:
    world = World(config(max_running_searches=1), epoch=2)
    world.send(m.SearchSubmitted, "b", m.SearchConfig(priority=9.0), m.SearchProgress(SearchState.QUEUED))
    world.send(m.SearchSubmitted, "a", m.SearchConfig(), m.SearchProgress(SearchState.RUNNING))
    world.send(m.Tick)
    assert (world.state("a"), world.state("b")) == (SearchState.RUNNING, SearchState.QUEUED)


def test_a_cancel_that_was_wished_before_is_done_before_anything_runs() -> None:
    world = World(config(), epoch=2)
    world.send(m.NodeJoined, "n", 2.0, 0.0)
    progress = m.SearchProgress(SearchState.DRAINING, next_trial=2, pending=(m.PendingTrial(0), m.PendingTrial(1)))
    world.send(m.SearchSubmitted, "a", m.SearchConfig(trials=6), progress)
    world.send(m.CancelRequested, "a")
    world.send(m.Tick)
    world.run()
    assert world.statuses("a") == ["cancelled"] * 2 and not world.dispatches() and not world.of(m.StartWorker)
    assert world.states("a") == ["draining", "cancelled"]


def test_a_finished_search_of_an_earlier_service_is_reopened_by_extend() -> None:
    world = restore(m.SearchProgress(SearchState.FINISHED, next_trial=6, counted=6)).run()
    assert world.states("a") == []
    world.send(m.ExtendRequested, "a", 8)
    world.run()
    assert world.states("a") == ["queued", "running", "finished"] and sorted(world.terminal("a")) == [6, 7]
    world.send(m.SearchSubmitted, "a", m.SearchConfig(trials=9), m.SearchProgress(SearchState.FINISHED, 8, 8))
    world.send(m.ExtendRequested, "a", 9)
    world.run()
    assert sorted(world.terminal("a")) == [6, 7, 8]
