"""Nodes that leave: what the scheduler hears, and when."""

from __future__ import annotations

import asyncio
import math
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray import messages as m
from xnas_ray.service import nodes as nodes_module
from xnas_ray.service.draining import departures, drain_node, draining_nodes
from xnas_ray.service.settings import HeadSettings


def test_trials_finish_as_long_as_there_is_time():
    deadlines = {"b": 130.0, "a": 160.0, "c": math.inf, "d": 90.0}
    assert departures(deadlines, 100.0, 14.0) == [("a", False), ("b", False), ("c", False), ("d", True)]
    assert departures(deadlines, 116.0, 14.0) == [("a", False), ("b", True), ("c", False), ("d", True)]
    assert departures({}, 100.0, 14.0) == []


@given(st.dictionaries(st.text("ab", max_size=3), st.floats(0, 1e9)), st.floats(0, 1e9), st.floats(0, 1e9))
def test_who_was_told_to_write_a_checkpoint_is_told_so_for_ever(deadlines, now, later):
    first, second = departures(deadlines, now, 14.0), departures(deadlines, now + later, 14.0)
    assert [node for node, _ in first] == [node for node, _ in second] == sorted(deadlines)
    assert all(after or not before for (_, before), (_, after) in zip(first, second, strict=True))


def test_where_nobody_listens_nothing_is_drained():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError):
        drain_node(f"127.0.0.1:{port}", {"slurm_job": "7"}, time.time() + 10)


def test_a_node_that_nobody_has_is_not_drained(ray_cluster):
    assert draining_nodes() == {}
    assert drain_node(ray_cluster, {"slurm_job": "7"}, time.time() + 10) is False
    assert draining_nodes() == {}


def test_the_head_tells_the_scheduler_who_leaves(monkeypatch):
    """Two looks at the nodes: one comes, one drains with time, then without, then it is gone."""
    monkeypatch.setattr(
        nodes_module.ray, "nodes", lambda: [{"NodeID": n, "Alive": True, "Resources": {"CPU": 4.0}} for n in world]
    )
    monkeypatch.setattr(nodes_module, "draining_nodes", lambda: deadlines)
    posted: list[m.Event] = []
    lost: set[str] = set()
    settings = HeadSettings(nodes_every_s=2.0, cpus_per_node=3.0)
    nodes = nodes_module.Nodes(settings, lambda event: posted.append(event(0.0)), lost)

    def look() -> list[m.Event]:
        posted.clear()
        asyncio.run(nodes.look())
        return list(posted)

    world, deadlines = ["a", "b"], {}
    assert look() == [m.NodeJoined(0.0, "a", 3.0, 0.0), m.NodeJoined(0.0, "b", 3.0, 0.0)]
    deadlines = {"b": time.time() + 60}
    assert look() == look() == [m.NodeDraining(0.0, "b", False)]
    deadlines = {"b": time.time() + 12}
    assert look() == [m.NodeDraining(0.0, "b", True)]
    world, deadlines = ["a"], {}
    assert look() == [m.NodeLeft(0.0, "b")] and lost == {"b"}
