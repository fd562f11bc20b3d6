"""Fair share, places, buffers and prefetch."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray import messages as m
from xnas_ray.messages import FailureKind, TrialStatus
from xnas_ray.scheduler import SchedulerConfig
from xnas_ray.scheduler.planning import allot

from .driver import Result, World

PLAIN = SchedulerConfig(lease_s=None, prefetch_below_s=0.0)
PREFETCH = SchedulerConfig(lease_s=None, prefetch_below_s=1.0)


def shares(world: World, since: dict[str, float] | None = None) -> dict[str, float]:
    """Part of the worker time that each search got."""
    spent = {s: world.busy_s[s] - (since or {}).get(s, 0.0) for s in world.busy_s}
    return {s: seconds / sum(spent.values()) for s, seconds in spent.items()}


# ---- fair share ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "rounds"), [(1, 100), (8, 30), (32, 8)])
@pytest.mark.parametrize("prefetch_below_s", [0.0, 10.0])
@pytest.mark.parametrize(
    ("a_s", "b_s"), [(1.0, 1.0), (5.0, 1.0), (1.0, 5.0), (0.1, 1.0)], ids=["equal", "a longer", "b longer", "a short"]
)
def test_priorities_3_and_1_share_3_to_1(
    workers: int, rounds: int, prefetch_below_s: float, a_s: float, b_s: float
) -> None:
    config = SchedulerConfig(lease_s=None, prefetch_below_s=prefetch_below_s)
    world = World(config, result=lambda s, t, n: Result(a_s if s == "a" else b_s), check=False)
    world.start(cpus=workers, a=m.SearchConfig(priority=3.0), b=m.SearchConfig(priority=1.0))
    world.run(rounds * max(a_s, b_s))
    assert shares(world)["a"] == pytest.approx(0.75, rel=0.1)


def test_random_durations_and_slow_answers_change_nothing() -> None:
    chance = random.Random(0)
    world = World(
        PREFETCH,
        result=lambda s, t, n: Result(chance.lognormvariate(0.0, 1.0) * (3.0 if s == "a" else 0.3)),
        ask_s=lambda s: 0.2 if s == "a" else 0.02,
        commit_s=0.03,
        check=False,
    )
    world.start(cpus=8, a=m.SearchConfig(priority=3.0), b=m.SearchConfig(priority=1.0)).run(600.0)
    assert shares(world)["a"] == pytest.approx(0.75, rel=0.1)


def test_no_worker_ever_waits_while_two_searches_share() -> None:
    world = World(PLAIN, check=False).start(cpus=8, a=m.SearchConfig(priority=3.0), b=m.SearchConfig()).run(100.0)
    assert sum(world.busy_s.values()) == pytest.approx(8 * 100.0)


def test_a_search_that_comes_later_gets_its_share_from_then_on_and_no_more() -> None:
    world = World(PLAIN, check=False).start(cpus=8, a=m.SearchConfig()).run(200.0)
    world.send(m.SearchSubmitted, "b", m.SearchConfig())
    before = dict(world.busy_s)
    world.run(250.0)
    assert shares(world, before)["b"] == pytest.approx(0.5, rel=0.1)


def test_a_paused_search_returns_without_credit() -> None:
    world = World(PLAIN, check=False).start(cpus=8, a=m.SearchConfig(), b=m.SearchConfig()).run(10.0)
    world.send(m.PauseRequested, "b")
    world.run(500.0)
    world.send(m.ResumeRequested, "b")
    before = dict(world.busy_s)
    world.run(530.0)
    assert shares(world, before)["b"] == pytest.approx(0.5, rel=0.1)


def test_a_search_that_could_not_propose_for_long_returns_without_credit() -> None:
    world = World(PLAIN, check=False, by_hand=(m.OpenController,))
    world.start(cpus=8, a=m.SearchConfig(), b=m.SearchConfig())
    world.send(m.ControllerReady, "a")
    world.run(500.0)
    world.send(m.ControllerReady, "b")
    before = dict(world.busy_s)
    world.run(530.0)
    assert shares(world, before)["b"] == pytest.approx(0.5, rel=0.1)


def test_a_slow_controller_gets_what_it_can_fill_and_the_others_the_rest() -> None:
    world = World(PLAIN, ask_s=lambda s: 8.0 if s == "b" else 0.0, check=False, result=lambda s, t, n: Result(1.0))
    world.start(cpus=4, a=m.SearchConfig(), b=m.SearchConfig()).run(100.0)
    before = dict(world.busy_s)
    world.run(300.0)
    assert sum(world.busy_s.values()) - sum(before.values()) > 0.999 * 4 * 200.0
    assert shares(world, before)["b"] == pytest.approx(0.5, rel=0.1)


def test_attempts_that_fail_are_charged_by_what_they_took() -> None:
    """The recent time of a trial is that of completed ones: here a tenth of what the others take."""

    def result(search: str, trial: int, n: int) -> Result:
        if search == "a" and trial % 2:
            return Result(9.0, TrialStatus.FAILED, FailureKind.NAN)
        return Result(1.0 if search == "a" else 5.0)

    world = World(PLAIN, result=result, check=False).start(cpus=8, a=m.SearchConfig(), b=m.SearchConfig()).run(400.0)
    assert shares(world)["a"] == pytest.approx(0.5, rel=0.1)


def test_only_a_search_that_could_answer_in_time_is_waited_for() -> None:
    world = World(PLAIN, ask_s=lambda s: 0.05, result=lambda s, t, n: Result(10.0 if s == "a" else 1.0), check=False)
    world.start(cpus=2, a=m.SearchConfig(), b=m.SearchConfig()).run(60.0)
    planner, searches = world.scheduler._planner, world.scheduler._core.searches
    world.send(m.Tick)
    for search in searches.values():
        search.asked_at.clear()
        search.asked_at.append((world.now_s, 0))
    assert planner.late_s(searches["a"]) == pytest.approx(world.now_s + 0.1), "1 % of its trials"
    assert planner.late_s(searches["b"]) == float("inf"), "it takes 5 % of its trials: nobody waits, nobody wakes up"


@pytest.mark.parametrize("trial_s", [0.3, 10.0])
def test_a_controller_that_hangs_keeps_no_worker_from_the_others(trial_s: float) -> None:
    world = World(PREFETCH, ask_s=0.002, result=lambda s, t, n: Result(trial_s), check=False)
    world.start(cpus=4, a=m.SearchConfig(), b=m.SearchConfig()).run(20 * trial_s)
    world.ask_s = lambda s: 1e9 if s == "b" else 0.002
    world.run(30 * trial_s)  # what it had proposed is used up
    before = dict(world.busy_s)
    world.run(60 * trial_s)
    assert world.busy_s["a"] - before["a"] > 0.96 * 4 * 30 * trial_s


def test_long_trials_are_served_beside_short_ones_that_are_always_in_stock() -> None:
    """Buffered and prefetched trials of one search may not take every place that becomes free."""
    world = World(
        PREFETCH, result=lambda s, t, n: Result(10.0 if s == "b" else 0.05), ask_s=0.01, commit_s=0.03, check=False
    )
    world.start(cpus=4, a=m.SearchConfig(), b=m.SearchConfig()).run(200.0)
    assert shares(world)["b"] == pytest.approx(0.5, rel=0.1)


def test_trials_that_take_no_time_starve_nobody() -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(0.0 if s == "a" else 1.0), commit_s=0.01, check=False)
    world.start(cpus=2, a=m.SearchConfig(trials=500), b=m.SearchConfig(trials=20)).run(60.0)
    assert world.statuses("b") == ["completed"] * 20


def test_shares_of_different_shapes_are_of_the_larger_resource() -> None:
    """One worker with a GPU is as large a part of a cluster with 2 GPUs as 4 of its 8 CPUs."""
    world = World(PLAIN, check=False).start(cpus=8, gpus=2, a=m.SearchConfig(cpus=2.0), b=m.SearchConfig(gpus=1.0))
    world.run(200.0)
    assert world.busy_s["a"] == pytest.approx(3 * 200.0, rel=0.05)
    assert world.busy_s["b"] == pytest.approx(2 * 200.0, rel=0.05)


# ---- places ----------------------------------------------------------------------------------------------------------


def test_candidates_are_asked_for_when_a_worker_is_free_and_not_before() -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(10.0)).start(cpus=3, a=m.SearchConfig(trials=100))
    world.run(9.0)
    assert world.proposed["a"] == 3
    world.run(10.0)
    assert world.proposed["a"] == 6


@pytest.mark.parametrize(
    ("ask_s", "trial_s", "ahead"),
    [(0.0, 1.0, 0), (0.005, 1.0, 0), (0.02, 1.0, 1), (0.5, 1.0, 2), (1.0, 1.0, 4), (2.5, 1.0, 10), (100.0, 1.0, 256)],
)
def test_the_buffer_is_what_workers_consume_while_a_proposal_is_made(ask_s: float, trial_s: float, ahead: int) -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(trial_s), ask_s=ask_s).start(cpus=4, a=m.SearchConfig())
    world.run(20 * (ask_s + trial_s))
    view = world.scheduler.search("a")
    assert view.ask_s == pytest.approx(ask_s)
    search = world.scheduler._core.searches["a"]
    search.holders = {f"w{i}": 1 for i in range(4)}
    assert world.scheduler._planner.buffer(search) == ahead


def test_workers_do_not_wait_for_a_controller_with_a_buffer() -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(1.0), ask_s=0.5, commit_s=0.03, check=False)
    world.start(cpus=8, a=m.SearchConfig()).run(200.0)
    assert world.busy_s["a"] > 0.98 * 8 * 200.0


def test_no_candidate_is_proposed_beyond_the_budget() -> None:
    world = World(PLAIN, ask_s=2.0, result=lambda s, t, n: Result(0.1)).start(cpus=8, a=m.SearchConfig(trials=30)).run()
    assert world.proposed["a"] == 30


# ---- prefetch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trial_s", "depth"), [(0.2, 2), (0.99, 2), (1.0, 1), (30.0, 1)])
def test_a_worker_holds_one_trial_in_advance_while_trials_are_shorter_than_a_second(trial_s: float, depth: int) -> None:
    world = World(PREFETCH, result=lambda s, t, n: Result(trial_s)).start(cpus=2, a=m.SearchConfig())
    world.run(50.5 * trial_s)
    assert [len(w.trials) for w in world.scheduler.workers()] == [depth, depth]
    assert world.scheduler.search("a").running == 2 * depth


@pytest.mark.parametrize(("trial_s", "depth"), [(0.05, 2), (0.03, 2), (0.015, 3), (0.002, 16)])
def test_a_worker_holds_more_of_the_shortest_trials_up_to_a_limit(trial_s: float, depth: int) -> None:
    config = SchedulerConfig(lease_s=None, prefetch_below_s=1.0, line_s=0.04)
    world = World(config, result=lambda s, t, n: Result(trial_s)).start(cpus=2, a=m.SearchConfig())
    deepest: list[int] = []
    for hundredth in range(100, 200):
        world.at(hundredth / 100, lambda: deepest.extend(len(w.trials) for w in world.scheduler.workers()))
    world.run(2.0)
    assert max(deepest) == depth


def test_nothing_waits_behind_a_long_trial_that_waits_behind_short_ones() -> None:
    world = World(
        PREFETCH,
        result=lambda s, t, n: Result(0.001 if s == "a" else 5.0),
    ).start(cpus=1, a=m.SearchConfig(trials=200), b=m.SearchConfig(trials=4))
    lines: list[list[str]] = []
    for tenth in range(1, 200):
        world.at(tenth / 10, lambda: lines.extend([s for s, _ in w.trials] for w in world.scheduler.workers()))
    world.run()
    later = lines[60:]  # by then both durations are known
    assert any("b" in line for line in later)
    assert all("b" not in line[:-1] for line in later)


def test_nothing_is_prefetched_while_a_worker_is_idle() -> None:
    world = World(PREFETCH, result=lambda s, t, n: Result(0.2)).start(cpus=4, a=m.SearchConfig(trials=40))
    deepest: list[int] = []

    def look() -> None:
        lines = [len(w.trials) for w in world.scheduler.workers()]
        deepest.append(max(lines) - min(lines))

    for tenth in range(1, 30):
        world.at(tenth * 0.1 + 0.05, look)
    world.run()
    assert max(deepest) <= 1


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("prefetch_below_s", [0.0, 5.0])
def test_max_workers_is_kept_with_and_without_prefetch(limit: int, prefetch_below_s: float) -> None:
    config = SchedulerConfig(lease_s=None, prefetch_below_s=prefetch_below_s)
    world = World(config).start(cpus=6, a=m.SearchConfig(max_workers=limit), b=m.SearchConfig())
    used: list[int] = []
    busy: list[int] = []

    def look() -> None:
        used.append(world.scheduler.search("a").workers)
        busy.append(sum(bool(w.trials) for w in world.scheduler.workers()))

    for second in range(20):
        world.at(second + 0.5, look)
    world.run(21.0)
    assert max(used) <= limit and min(used[2:]) >= 1
    assert set(busy[2:]) == {6}, "what one may not use the others do"


def test_a_search_with_max_workers_alone_does_not_start_more() -> None:
    world = World(PREFETCH, result=lambda s, t, n: Result(0.2))
    world.start(cpus=6, a=m.SearchConfig(max_workers=2, trials=50)).run()
    assert len(world.of(m.StartWorker)) == 2
    assert world.now_s == pytest.approx(50 * 0.2 / 2)


def test_a_search_at_its_limit_prefetches_on_its_own_workers_though_others_come_first() -> None:
    world = World(PREFETCH, result=lambda s, t, n: Result(0.5), by_hand=(m.Dispatch,))
    world.start(cpus=2, b=m.SearchConfig(), a=m.SearchConfig(max_workers=1))
    for index in range(12):
        world.report(world.dispatches()[index], Result(0.5))
        world.run(world.now_s)
    assert all(len(w.trials) == 2 for w in world.scheduler.workers())
    holders = {w.worker_id for w in world.scheduler.workers() for s, _ in w.trials if s == "a"}
    assert len(holders) <= 1


# ---- allotment -------------------------------------------------------------------------------------------------------


def one_by_one(places: int, lines: list[tuple[float, float, float]]) -> list[int]:
    """The definition: serve the lowest pass, then the first."""
    given = [0] * len(lines)
    for _ in range(places):
        able = [i for i, (_, _, limit) in enumerate(lines) if given[i] < limit]
        if not able:
            break
        given[min(able, key=lambda i: (lines[i][0] + given[i] * lines[i][1], i))] += 1
    return given


LINES = st.lists(
    st.tuples(
        st.integers(0, 400).map(lambda n: n / 8),
        st.integers(1, 64).map(lambda n: n / 8),
        st.one_of(st.integers(0, 300).map(float), st.just(float("inf"))),
    ),
    min_size=1,
    max_size=6,
)


@given(st.integers(0, 400), LINES)
def test_many_places_are_allotted_as_one_by_one(places: int, lines: list[tuple[float, float, float]]) -> None:
    """Passes and strides are multiples of 1/8, so that sums are exact and ties are ties."""
    assert allot(places, lines) == one_by_one(places, lines)


@pytest.mark.parametrize("make", [lambda n: m.SearchConfig(priority=n), lambda n: m.SearchConfig(trials=int(n) * 40)])
def test_4096_free_workers_cost_no_more_than_a_few(make: Callable[[float], m.SearchConfig]) -> None:
    """Counted, not timed: the loop that allots does not go through the places."""
    calls = 0

    class Counting(float):
        def __add__(self, other: float) -> Counting:
            nonlocal calls
            calls += 1
            return Counting(float(self) + other)

    assert sum(allot(4096, [(Counting(0.0), Counting(1.0), 5000.0), (Counting(3.0), Counting(0.25), 5000.0)])) == 4096
    assert calls < 50
