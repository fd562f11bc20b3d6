"""Drawings of cells: every motif is marked where it is, and nothing overlaps."""

from __future__ import annotations

import itertools

import networkx as nx

from xnas_ray.explain.cell_drawing import cell_info, graph_layout
from xnas_ray.explain.drawing import BAD_COLOUR, GOOD_COLOUR
from xnas_ray.spaces.nasbench201 import NASBench201


def test_cells_flow_from_left_to_right_and_nothing_overlaps():
    space = NASBench201()
    for genotype in itertools.islice(space.genotypes(), 0, None, 401):
        graph = space.graphs(genotype)["cell"]
        places = graph_layout(graph)
        assert set(places) == set(graph) and len(set(places.values())) == len(graph)
        assert all(places[a][0] < places[b][0] for a, b in graph.edges)


def test_motifs_are_marked_in_a_cell(drawn, drawn_table):
    graph = next(g for g in drawn.graphs if len(cell_info({"cell": g}, drawn_table).panels) > 1)
    info = cell_info({"cell": graph}, drawn_table, title="cell 7")
    assert info.title == "cell 7" and set(info.colours) == {label for _, label in graph.nodes(data="op_name")}
    gradients = [float(panel.title.split()[0]) for panel in info.panels]
    good = [g for g in gradients if g > 0]
    assert good == sorted(good, reverse=True) and gradients == good + sorted(g for g in gradients if g < 0)
    for panel, gradient in zip(info.panels, gradients, strict=True):
        assert panel.colour == (GOOD_COLOUR if gradient > 0 else BAD_COLOUR)
        assert set(panel.roots) <= panel.marked <= set(graph) and panel.edges == tuple(graph.edges)
        assert {node for edge in panel.marked_edges for node in edge} | set(panel.roots) == panel.marked
        assert panel.labels == dict(graph.nodes(data="op_name"))


def test_a_cell_without_motifs_is_drawn_plain(drawn_table):
    graph = nx.DiGraph([("a", "b")])
    nx.set_node_attributes(graph, {"a": "input", "b": "output"}, "op_name")
    (panel,) = cell_info({"cell": graph}, drawn_table.assign(cell="other")).panels
    assert panel.marked == frozenset() and panel.title == "cell: no motif of either kind"
