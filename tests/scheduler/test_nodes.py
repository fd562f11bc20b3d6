"""What fits on a node, against a search over every way to place it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.scheduler.nodes import Node, Worker


@pytest.mark.parametrize(
    ("gpus", "shape", "fits"),
    [
        (0.0, (1.0, 0.0), True),
        (0.0, (1.0, 0.1), False),
        (1.0, (1.0, 1.0), True),
        (0.5, (1.0, 0.5), True),
        (0.5, (1.0, 1.0), False),
        (1.5, (1.0, 1.0), True),
        (1.5, (1.0, 2.0), False),
        (4.0, (4.0, 4.0), True),
        (4.0, (5.0, 0.0), False),
    ],
)
def test_what_an_empty_node_can_hold(gpus: float, shape: tuple[float, float], fits: bool) -> None:
    node = Node.of("n", 4.0, gpus)
    assert node.fits(shape) == node.could_hold(shape) == fits
    assert node.places(shape, 1) == fits


def test_fractions_fill_the_fullest_gpu_first_so_that_whole_ones_stay_free() -> None:
    node = Node.of("n", 9.0, 2.0)
    assert [node.take((1.0, 0.5)) for _ in range(2)] == [((0, 0.5),), ((0, 0.5),)]
    assert node.take((1.0, 1.0)) == ((1, 1.0),)
    assert not node.fits((1.0, 0.1)) and node.fits((1.0, 0.0))


@given(st.lists(st.sampled_from([(1.0, 0.0), (2.0, 0.0), (1.0, 0.5), (1.0, 1.0), (0.5, 0.25)]), max_size=6))
def test_taking_and_releasing_in_any_order_leaves_an_empty_node(shapes: list[tuple[float, float]]) -> None:
    for order in itertools.islice(itertools.permutations(range(len(shapes))), 8):
        node = Node.of("n", 4.0, 2.0)
        held = {i: node.take(shape) for i, shape in enumerate(shapes) if node.fits(shape)}
        assert node.free_cpus >= 0 and min(node.free_gpu) >= 0
        for i in order:
            if i in held:
                node.release(shapes[i], held[i])
        assert (node.free_cpus, node.free_gpu) == (4.0, [1.0, 1.0])


@given(
    st.lists(st.sampled_from([(1.0, 0.0), (1.0, 0.5), (1.0, 1.0)]), max_size=5),
    st.sampled_from([(1.0, 0.0), (1.0, 0.5), (1.0, 1.0), (2.0, 2.0)]),
)
def test_places_are_what_can_be_taken_one_by_one(held: list[tuple[float, float]], shape: tuple[float, float]) -> None:
    node = Node.of("n", 6.0, 2.0)
    for other in held:
        if node.fits(other):
            node.take(other)
    before = (node.free_cpus, list(node.free_gpu))
    count = node.places(shape, 9)
    assert (node.free_cpus, node.free_gpu) == before, "asking changes nothing"
    for _ in range(count):
        node.take(shape)
    assert not node.fits(shape)


def test_a_copy_without_some_workers_leaves_the_node_alone() -> None:
    node = Node.of("n", 2.0, 1.0)
    worker = Worker("w", "n", (2.0, 1.0), gpu=node.take((2.0, 1.0)))
    node.workers.add("w")
    copy = node.after([worker])
    assert copy.fits((2.0, 1.0)) and not copy.workers
    assert not node.fits((1.0, 0.0)) and node.workers == {"w"}
