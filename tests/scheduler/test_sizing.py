"""Workers of several shapes: they start where they fit, and divide the cluster without going back and forth."""

from __future__ import annotations

import itertools
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.scheduler import SchedulerConfig

from .driver import Result, World

PLAIN = SchedulerConfig(lease_s=None, prefetch_below_s=0.0)
Shape = tuple[float, float]


def workers(world: World) -> dict[Shape, int]:
    """Workers that work, by shape."""
    return dict(Counter(w.shape for w in world.scheduler.workers() if w.state in ("starting", "ready")))


def started(world: World) -> int:
    return len(world.of(m.StartWorker))


def test_workers_start_on_the_emptiest_nodes_as_many_as_are_useful() -> None:
    world = World(PLAIN)
    for name, cpus in (("x", 4.0), ("y", 2.0), ("z", 1.0)):
        world.send(m.NodeJoined, name, cpus, 0.0)
    world.submit("a", trials=5)
    world.send(m.Tick)
    assert Counter(c.node_id for c in world.of(m.StartWorker)) == {"x": 2, "y": 2, "z": 1}


def test_fractions_share_a_gpu_and_whole_ones_do_not() -> None:
    world = World(PLAIN).start(cpus=16, gpus=2, a=m.SearchConfig(gpus=0.5))
    assert workers(world) == {(1.0, 0.5): 4}
    world = World(PLAIN).start(cpus=16, gpus=2, a=m.SearchConfig(gpus=0.6))
    assert workers(world) == {(1.0, 0.6): 2}, "no two fit on one GPU"


def test_two_new_shapes_divide_an_empty_cluster_without_stopping_anybody() -> None:
    world = World(PLAIN).start(cpus=8, a=m.SearchConfig(cpus=1.0), b=m.SearchConfig(cpus=2.0)).run(30.0)
    assert workers(world) == {(1.0, 0.0): 4, (2.0, 0.0): 2}
    assert started(world) == 6 and not world.of(m.DrainWorker)


@pytest.mark.parametrize(
    ("mine", "yours", "mine_priority", "expected"),
    [
        ((1.0, 0.0), (2.0, 0.0), 1.0, {(1.0, 0.0): 4, (2.0, 0.0): 2}),
        ((1.0, 0.0), (2.0, 0.0), 3.0, {(1.0, 0.0): 6, (2.0, 0.0): 1}),
        ((1.0, 0.0), (3.0, 0.0), 1.0, {(1.0, 0.0): 5, (3.0, 0.0): 1}),
        ((2.0, 0.0), (1.0, 0.0), 1.0, {(2.0, 0.0): 2, (1.0, 0.0): 4}),
        ((1.0, 0.0), (1.0, 1.0), 1.0, {(1.0, 0.0): 6, (1.0, 1.0): 2}),  # 2 of 2 GPUs for nobody else
    ],
)
def test_a_shape_that_comes_later_gets_its_share_and_it_settles(
    mine: Shape, yours: Shape, mine_priority: float, expected: dict[Shape, int]
) -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(3.0), start_s=2.0)
    first = m.SearchConfig(cpus=mine[0], gpus=mine[1], priority=mine_priority)
    world.start(cpus=8, gpus=2, a=first).run(20.0)
    world.submit("b", cpus=yours[0], gpus=yours[1])
    world.run(60.0)
    assert workers(world) == expected
    before = started(world)
    world.run(400.0)
    assert workers(world) == expected and started(world) == before, "it does not go back and forth"
    assert not world.of(m.StopTrial) and not world.of(m.KillWorker), "nobody loses what runs"


@settings(max_examples=25, deadline=None)
@given(
    nodes=st.lists(
        st.tuples(st.sampled_from([2.0, 4.0, 6.0, 8.0]), st.sampled_from([0.0, 1.0, 2.0])), min_size=1, max_size=4
    ),
    searches=st.lists(
        st.tuples(
            st.sampled_from([(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (1.0, 0.5), (1.0, 1.0), (4.0, 1.0)]),
            st.sampled_from([1.0, 2.0, 3.0]),
            st.sampled_from([0.0, 0.0, 7.0]),
        ),
        min_size=2,
        max_size=4,
    ),
)
def test_any_shapes_on_any_nodes_settle(
    nodes: list[tuple[float, float]], searches: list[tuple[Shape, float, float]]
) -> None:
    """However searches of several shapes come, after a while no worker is stopped for another any more."""
    config = SchedulerConfig(lease_s=None, prefetch_below_s=0.0, turn_s=1e9)
    world = World(config, result=lambda s, t, n: Result(2.0), start_s=1.0, check=False)
    for index, (cpus, gpus) in enumerate(nodes):
        world.send(m.NodeJoined, f"n{index}", cpus, gpus)
    for index, (shape, priority, at_s) in enumerate(searches):
        given_config = m.SearchConfig(cpus=shape[0], gpus=shape[1], priority=priority)
        world.at(at_s, lambda i=index, c=given_config: m.SearchSubmitted(0, f"s{i}", c))
    world.send(m.Tick)
    world.run(60.0)
    before = started(world)
    world.run(150.0)
    assert started(world) == before


def test_many_places_are_cleared_at_once() -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(10.0), check=False)
    for index in range(16):
        world.send(m.NodeJoined, f"n{index}", 8.0, 0.0)
    world.submit("a", cpus=1.0)
    world.send(m.Tick)
    world.run(5.0)
    world.submit("b", cpus=2.0)
    world.run(10.5)
    assert workers(world) == {(1.0, 0.0): 64, (2.0, 0.0): 32}


def test_idle_workers_that_nobody_needs_make_room_at_once() -> None:
    world = World(PLAIN).start(cpus=8, a=m.SearchConfig(trials=8)).run()
    world.submit("b", cpus=8.0, trials=2)
    world.run()
    assert world.times(m.Dispatch, "b") == [1.0, 2.0]


def test_a_shape_that_nobody_made_room_for_starts_when_the_other_search_ends() -> None:
    world = World(PLAIN, result=lambda s, t, n: Result(5.0)).start(cpus=4, a=m.SearchConfig(trials=12)).run(1.0)
    world.submit("b", cpus=4.0, trials=2)
    world.run()
    assert world.times(m.LogSearch, "a")[-1] == 15.0
    assert world.times(m.Dispatch, "b") == [15.0, 20.0]


def test_a_shape_as_large_as_the_cluster_takes_turns() -> None:
    config = SchedulerConfig(lease_s=None, prefetch_below_s=0.0, turn_s=60.0)
    world = World(config, result=lambda s, t, n: Result(2.0), start_s=5.0, check=False)
    world.start(cpus=4, a=m.SearchConfig(cpus=1.0), b=m.SearchConfig(cpus=4.0)).run(2000.0)
    part_a, part_b = world.busy_s["a"] * 1.0, world.busy_s["b"] * 4.0
    assert part_a / (part_a + part_b) == pytest.approx(0.5, abs=0.06)
    assert part_a + part_b > 0.85 * 4 * 2000.0
    turns = [c.cpus for c in world.of(m.StartWorker)]
    assert 10 < len(list(itertools.groupby(turns))) < 40, "turns of a minute or two, not of a trial"


def test_a_claim_ends_with_the_search_that_made_it() -> None:
    world = World(PLAIN, by_hand=(m.Dispatch,)).start(cpus=4, a=m.SearchConfig(trials=9)).run(1.0)
    world.submit("b", cpus=2.0, trials=1)
    node = world.scheduler._core.pool.nodes["n"]
    assert node.claimed_by == (2.0, 0.0)
    world.send(m.CancelRequested, "b")
    assert node.claimed_by != (2.0, 0.0)
    held = {w.trials[0] for w in world.scheduler.workers() if w.trials}
    for dispatch in [d for d in world.dispatches() if (d.search_id, d.trial) in held]:
        world.report(dispatch)
    world.run(2.0)
    assert workers(world) == {(1.0, 0.0): 4}, "its places are given back"


def test_what_a_claimant_leaves_free_is_used_at_once() -> None:
    world = World(PLAIN, by_hand=(m.StopWorker,)).start(cpus=4, c=m.SearchConfig(cpus=2.0, trials=2)).run()
    world.submit("b", cpus=3.0)
    world.submit("a", cpus=1.0)
    idle = [c.worker_id for c in world.of(m.StopWorker)]
    assert len(idle) == 2 and started(world) == 2
    for worker_id in idle:
        world.send(m.WorkerGone, worker_id)
    assert workers(world) == {(3.0, 0.0): 1, (1.0, 0.0): 1}
    assert not world.scheduler._core.pool.claims


def test_a_claimed_node_that_drains_is_not_waited_for() -> None:
    world = World(PLAIN, by_hand=(m.Dispatch,))
    for name in ("x", "y"):
        world.send(m.NodeJoined, name, 4.0, 0.0)
    world.submit("a", cpus=1.0)
    world.send(m.Tick)
    world.run(1.0)
    world.submit("b", cpus=2.0, max_workers=1)
    (claimed,) = world.scheduler._core.pool.claims
    world.send(m.NodeDraining, claimed)
    (other,) = world.scheduler._core.pool.claims
    assert {claimed, other} == {"x", "y"}


def test_others_do_not_start_where_room_is_made() -> None:
    """Workers of the small shape leave one after the other; each place would fit another small one."""
    world = World(PLAIN, result=lambda s, t, n: Result(float(t % 4 + 1)))
    world.start(cpus=4, a=m.SearchConfig(cpus=1.0)).run(7.5)
    world.submit("b", cpus=2.0)
    world.run(30.0)
    assert workers(world) == {(1.0, 0.0): 2, (2.0, 0.0): 1}
    assert started(world) == 5


def test_a_recycled_worker_is_not_taken_over_by_a_shape_with_more() -> None:
    world = World(PLAIN, by_hand=(m.Dispatch,)).start(cpus=8, a=m.SearchConfig(), b=m.SearchConfig(cpus=2.0))
    before = workers(world)
    for _ in range(6):
        held = {w.trials[0] for w in world.scheduler.workers() if w.trials}
        for dispatch in [d for d in world.dispatches() if (d.search_id, d.trial) in held]:
            world.report(dispatch, recycle=True)
        world.run(world.now_s)
        assert workers(world) == before


def test_the_note_says_when_no_node_can_hold_a_worker() -> None:
    world = World(PLAIN)
    world.submit("a", cpus=4.0, gpus=1.0)
    world.send(m.Tick)
    assert world.scheduler.search("a").note == "no node has joined"
    world.send(m.NodeJoined, "n", 2.0, 2.0)
    assert world.scheduler.search("a").note == "no node offers 4 CPUs and 1 GPUs"
    world.send(m.NodeJoined, "x", 4.0, 1.0)
    assert world.scheduler.search("a").note == ""
    assert world.state("a") == SearchState.RUNNING
