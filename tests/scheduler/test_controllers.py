"""Controllers that are lost, fail, refuse or answer what nobody asked."""

from __future__ import annotations

import pytest

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import SearchState
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World

CONFIG = SchedulerConfig(lease_s=None, prefetch_below_s=0.0)


def asked(world: World) -> int:
    return sum(c.count for c in world.of(m.Propose))


def test_a_lost_controller_is_opened_again_and_its_unanswered_proposals_are_void() -> None:
    world = World(CONFIG, by_hand=(m.Propose, m.OpenController)).start(cpus=2, a=m.SearchConfig(trials=4))
    world.send(m.ControllerReady, "a")
    assert world.of(m.Propose) == [m.Propose("a", 2)]
    commands = world.send(m.ControllerLost, "a", "killed")
    assert commands == [m.OpenController("a")]
    assert world.scheduler.search("a").outstanding == 0
    with pytest.raises(TransitionError, match=r"nobody asked for proposal 0; the search is running and its .* opening"):
        world.send(m.Proposed, "a", 0)
    assert world.send(m.ControllerReady, "a") == [m.Propose("a", 2)]


def test_workers_keep_working_while_a_controller_is_replayed() -> None:
    world = World(CONFIG, by_hand=(m.OpenController,), result=lambda s, t, n: Result(10.0))
    world.start(cpus=2, a=m.SearchConfig(trials=4))
    world.send(m.ControllerReady, "a")
    world.run(5.0)
    world.send(m.ControllerLost, "a")
    world.run(30.0)
    assert world.statuses("a") == ["completed"] * 2 and len(world.of(m.Tell)) == 2
    world.send(m.ControllerReady, "a")
    world.run()
    assert world.statuses("a") == ["completed"] * 4


def test_a_controller_lost_in_a_pause_is_opened_when_it_is_needed() -> None:
    world = World(CONFIG).start(a=m.SearchConfig(trials=9)).run(2.0)
    world.send(m.PauseRequested, "a")
    assert world.send(m.ControllerLost, "a") == []
    assert world.send(m.ControllerLost, "a") == []
    world.send(m.ResumeRequested, "a")
    assert len(world.of(m.OpenController)) == 2
    world.run()
    assert world.statuses("a") == ["completed"] * 9


def test_a_search_that_drains_for_its_budget_gets_its_controller_back_to_explain() -> None:
    world = World(CONFIG, result=lambda s, t, n: Result(30.0)).start(a=m.SearchConfig(wall_clock_s=20.0)).run(25.0)
    assert world.state("a") == SearchState.DRAINING
    assert world.send(m.ControllerLost, "a") == [m.OpenController("a")]
    world.run()
    assert world.state("a") == SearchState.FINISHED and world.of(m.CloseController) == [m.CloseController("a")]


def test_a_cancelled_search_does_without_its_controller_but_closes_it() -> None:
    world = World(CONFIG, by_hand=(m.Dispatch, m.StopTrial)).start(cpus=1, a=m.SearchConfig(trials=9))
    world.send(m.CancelRequested, "a")
    assert world.send(m.ControllerLost, "a") == []
    world.report(world.dispatches()[0])
    world.run()
    assert world.state("a") == SearchState.CANCELLED and world.of(m.CloseController) == [m.CloseController("a")]


def test_a_loss_answers_what_a_cancelled_search_still_waits_for() -> None:
    world = World(CONFIG, by_hand=(m.Propose,)).start(a=m.SearchConfig(trials=9))
    world.send(m.CancelRequested, "a")
    assert world.state("a") == SearchState.DRAINING
    world.send(m.ControllerLost, "a")
    assert world.state("a") == SearchState.CANCELLED


@pytest.mark.parametrize("state", ["running", "paused", "draining"])
def test_a_controller_that_raises_fails_its_search(state: str) -> None:
    world = World(CONFIG, by_hand=(m.Dispatch, m.StopTrial)).start(cpus=1, a=m.SearchConfig(wall_clock_s=50.0))
    if state == "paused":
        world.send(m.PauseRequested, "a")
    if state == "draining":
        world.run(60.0)
    assert world.state("a") == state
    world.send(m.ControllerFailed, "a", "ValueError: no such cell")
    assert [c.checkpoint for c in world.of(m.StopTrial)] == [False]
    world.report(world.dispatches()[0])
    world.run(100.0)
    assert (world.state("a"), world.reason("a")) == (
        SearchState.FAILED,
        "the controller failed: ValueError: no such cell",
    )


def test_a_failure_that_comes_too_late_changes_nothing() -> None:
    world = World(CONFIG).start(a=m.SearchConfig(trials=2)).run()
    assert world.send(m.ControllerFailed, "a", "late") == []
    assert world.send(m.ControllerLost, "a", "late") == []
    assert world.state("a") == SearchState.FINISHED


def test_a_refusal_lasts_until_the_next_tell() -> None:
    world = World(CONFIG, by_hand=(m.Propose, m.Dispatch)).start(cpus=2, a=m.SearchConfig(trials=9))
    world.send(m.Proposed, "a", 0)
    world.send(m.ProposalRefused, "a")
    world.run(world.now_s)
    assert asked(world) == 2, "nothing is asked again of a controller that has nothing"
    world.report(world.dispatches()[0])
    world.run(world.now_s)
    assert asked(world) == 4
    world.send(m.ProposalRefused, "a")
    assert world.state("a") == SearchState.RUNNING, "one answer is missing"
    world.send(m.ProposalRefused, "a")
    assert world.state("a") == SearchState.FINISHED


def test_a_refusal_from_before_a_tell_is_no_end() -> None:
    """The controller refuses because trial 0 is pending; its outcome overtakes the refusal."""
    world = World(CONFIG, by_hand=(m.Propose, m.Dispatch)).start(cpus=2, a=m.SearchConfig(trials=9))
    world.send(m.Proposed, "a", 0)
    world.run(world.now_s)
    world.report(world.dispatches()[0])
    world.run(world.now_s)
    assert len(world.of(m.Tell)) == 1
    commands = world.send(m.ProposalRefused, "a")
    assert world.state("a") == SearchState.RUNNING
    assert [c.count for c in commands if isinstance(c, m.Propose)] == [1]


def test_refusals_of_what_was_not_asked_are_dropped() -> None:
    world = World(CONFIG, by_hand=(m.Propose,)).start(cpus=1, a=m.SearchConfig(trials=9))
    world.send(m.Proposed, "a", 0)
    assert world.send(m.ProposalRefused, "a") == []
    assert world.state("a") == SearchState.RUNNING


def test_a_proposal_out_of_turn_is_refused() -> None:
    world = World(CONFIG, by_hand=(m.Propose,)).start(a=m.SearchConfig(trials=9))
    with pytest.raises(TransitionError, match="a: proposal 3 is out of turn, expected 0"):
        world.send(m.Proposed, "a", 3)
    with pytest.raises(TransitionError, match="search b is unknown"):
        world.send(m.Proposed, "b", 0)
