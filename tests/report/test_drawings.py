"""The numbers from which architectures are drawn stand for the same graphs."""

from __future__ import annotations

import json

import networkx as nx
import pytest

from xnas_ray.explain.cell_drawing import graph_layout
from xnas_ray.explain.motif_drawing import tree_layout
from xnas_ray.randomness import Domain, rng
from xnas_ray.report.drawings import Drawings
from xnas_ray.spaces.graphs import OP_NAME, isomorphic
from xnas_ray.spaces.registry import SPACES


def graph_of(cell, operations) -> nx.DiGraph:
    """Read a cell back."""
    _, nodes, edges = cell
    graph = nx.DiGraph()
    for i in range(0, len(nodes), 3):
        graph.add_node(i // 3, **{OP_NAME: operations[nodes[i]]})
    graph.add_edges_from(zip(edges[::2], edges[1::2], strict=True))
    return graph


@pytest.mark.parametrize("name", ["nasbench101", "nasbench201", "darts"])
def test_drawings_stand_for_the_graphs(name):
    space, random = SPACES.get(name)(), rng(3, Domain.POOL, 0)
    genotypes = [space.sample(random) for _ in range(20)]
    found = Drawings()
    numbers = found.of_genotypes(genotypes * 2, space.graphs)
    assert numbers[:20] == numbers[20:] and len(found.drawings) == len(set(numbers)) <= 20
    assert json.loads(json.dumps(found.drawings)) == found.drawings
    for genotype, number in zip(genotypes, numbers, strict=False):
        for cell, (cell_name, graph) in zip(found.drawings[number], space.graphs(genotype).items(), strict=True):
            assert cell[0] == cell_name and isomorphic(graph_of(cell, found.operations), graph)
            places = sorted((x, y) for x, y in graph_layout(graph).values())
            assert sorted((cell[1][i + 1], cell[1][i + 2] / 2) for i in range(0, len(cell[1]), 3)) == places


def test_a_motif_grows_to_the_right():
    found = Drawings()
    tree = ("conv", (("pool", ()), ("skip", (("output", ()),))))
    number = found.of_tree(tree_layout(tree))
    [[_, nodes, edges]] = found.drawings[number]
    ends = {found.operations[nodes[i]]: nodes[i + 1] for i in range(0, len(nodes), 3)}
    assert ends == {"conv": 0, "pool": 1, "skip": 1, "output": 2}
    named = [found.operations[nodes[3 * end]] for end in edges]
    assert list(zip(named[::2], named[1::2], strict=True)) == [("conv", "pool"), ("conv", "skip"), ("skip", "output")]
