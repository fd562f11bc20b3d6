"""The NAS-Bench-201 space: strings, classes, graphs and costs, against the official table where it is at hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.graphs import unfold
from xnas_ray.spaces.nasbench201 import EDGES, OPERATIONS, NASBench201
from xnas_ray.spaces.registry import SPACES, list_spaces
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.space_case import SpaceTestCase

CIFAR10 = DataShape(inputs=((3, 32, 32),), outputs=10)
SPACE = NASBench201()
genotypes = st.tuples(*[st.integers(0, 4)] * 6)


def arch(*ops: str) -> tuple[int, ...]:
    """A genotype from the operations' names."""
    return tuple(OPERATIONS.index(op) for op in ops)


class TestConformance(SpaceTestCase):
    def make_space(self) -> Space:
        return NASBench201(cells_per_stage=1, channels=4, stages=2)

    def same_graph(self, first: nx.DiGraph, second: nx.DiGraph) -> bool:
        return unfold(first, 7) == unfold(second, 7)


class TestConformanceOfARestriction(SpaceTestCase):
    def make_space(self) -> Space:
        space = NASBench201(cells_per_stage=1, channels=4, stages=1)
        rng = np.random.default_rng(3)
        return RestrictedSpace(space, [space.sample(rng) for _ in range(60)])

    def same_graph(self, first: nx.DiGraph, second: nx.DiGraph) -> bool:
        return unfold(first, 7) == unfold(second, 7)


# ---- strings ---------------------------------------------------------------------------------------------------------


def test_the_official_string_of_a_known_cell():
    genotype = arch("nor_conv_3x3", "none", "skip_connect", "skip_connect", "none", "avg_pool_3x3")
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
    assert SPACE.format(genotype) == text
    assert SPACE.parse(f" {text}\n") == genotype


def test_every_genotype_round_trips():
    listed = list(SPACE.genotypes())
    assert len(listed) == len(set(listed)) == SPACE.size == 15_625
    assert [SPACE.parse(SPACE.format(genotype)) for genotype in listed] == listed


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "0 nodes|1 nodes"),
        ("|none~0|+|none~0|none~1|", "2 nodes"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|", "4 nodes"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", "node 1"),
        ("|none~0|+|none~0|none~1+|none~0|none~1|none~2|", "node 2"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 has 1 edges"),
        ("|none~0|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "node 1 has 2 edges"),
        ("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", "edge 1 of node 1.*'~0'"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "edge 1 of node 2.*'~0'"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none|", "edge 3 of node 3.*'~2'"),
        ("|none~0|+|none~0|none~1|+|none~0|nor_conv_3x4~1|none~2|", "3<-1.*nor_conv_3x4.*Did you mean 'nor_conv_3x3'"),
        ("|~0|+|none~0|none~1|+|none~0|none~1|none~2|", "1<-0"),
    ],
)
def test_malformed_strings_say_what_is_wrong_and_where(text: str, named: str):
    with pytest.raises(GenotypeError, match=named):
        SPACE.parse(text)


def test_a_text_that_is_no_text_is_refused():
    with pytest.raises(GenotypeError):
        SPACE.parse(None)  # type: ignore[arg-type]


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_there_are_6466_classes():
    assert len({SPACE.key(genotype) for genotype in SPACE.genotypes()}) == 6_466
    listed = list(SPACE.enumerate())
    assert len(listed) == len(set(listed)) == 6_466


def test_canonical_is_the_cheapest_then_first_member_for_every_size_of_network():
    members: dict[str, list[tuple[int, ...]]] = {}
    for genotype in SPACE.genotypes():
        members.setdefault(SPACE.key(genotype), []).append(genotype)
    small, shape = NASBench201(cells_per_stage=2, channels=3, stages=2), DataShape(((1, 9, 7),), 3)
    for space, data in ((SPACE, CIFAR10), (small, shape)):
        for group in members.values():
            best = min(group, key=lambda genotype: (space.cost(genotype, data).flops, genotype))
            assert {space.canonical(genotype) for genotype in group} == {best}


@given(genotypes)
def test_equal_keys_compute_the_same_expression(genotype: tuple[int, ...]):
    first = SPACE.graphs(genotype)["cell"]
    second = SPACE.graphs(SPACE.canonical(genotype))["cell"]
    assert unfold(first, 7) == unfold(second, 7)


def test_sharing_is_what_a_key_ignores():
    shared = arch("nor_conv_3x3", "none", "skip_connect", "none", "nor_conv_1x1", "avg_pool_3x3")
    twice = arch("nor_conv_3x3", "nor_conv_3x3", "none", "none", "nor_conv_1x1", "avg_pool_3x3")
    assert SPACE.key(shared) == SPACE.key(twice)
    assert len(SPACE.graphs(shared)["cell"]) + 1 == len(SPACE.graphs(twice)["cell"])
    assert SPACE.canonical(twice) == SPACE.canonical(shared)
    assert SPACE.cost(SPACE.canonical(twice), CIFAR10).flops < SPACE.cost(twice, CIFAR10).flops


def test_numpy_genotypes_are_understood():
    genotype = np.array([0, 1, 2, 3, 4, 0])
    assert SPACE.key(genotype) == SPACE.key((0, 1, 2, 3, 4, 0))  # type: ignore[arg-type]
    assert SPACE.canonical(genotype) == SPACE.canonical((0, 1, 2, 3, 4, 0))  # type: ignore[arg-type]
    assert SPACE.cost(genotype, CIFAR10) == SPACE.cost((0, 1, 2, 3, 4, 0), CIFAR10)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [(5, 0, 0, 0, 0, 0), (0,) * 5, (0,) * 7, (-1, 0, 0, 0, 0, 0)])
def test_foreign_genotypes_are_refused_everywhere(bad: tuple[int, ...]):
    for function in (SPACE.key, SPACE.canonical, SPACE.graphs, SPACE.format, lambda g: SPACE.cost(g, CIFAR10)):
        with pytest.raises(GenotypeError):
            function(bad)


# ---- graphs ----------------------------------------------------------------------------------------------------------


def labels(graph: nx.DiGraph) -> Counter[str]:
    return Counter(label for _, label in graph.nodes(data="op_name"))


def test_chains_of_skips_keep_their_connection():
    graph = SPACE.graphs(arch("skip_connect", "none", "skip_connect", "none", "none", "nor_conv_3x3"))["cell"]
    assert labels(graph) == {"input": 1, "nor_conv_3x3": 1, "output": 1}
    assert set(graph.edges) == {(0, 6), (6, 7)}


def test_a_path_of_skips_joins_input_and_output():
    graph = SPACE.graphs(arch("skip_connect", "none", "skip_connect", "none", "none", "skip_connect"))["cell"]
    assert set(graph.edges) == {(0, 7)}


def test_none_cuts_and_dead_ends_vanish():
    dead = arch("nor_conv_3x3", "avg_pool_3x3", "none", "none", "none", "none")
    graph = SPACE.graphs(dead)["cell"]
    assert labels(graph) == {"input": 1, "output": 1}
    assert not graph.edges
    assert SPACE.graphs((0,) * 6)["cell"].number_of_edges() == 0


def test_a_cell_of_convolutions_is_the_line_graph_of_the_cell():
    graph = SPACE.graphs(arch(*["nor_conv_3x3"] * 6))["cell"]
    expected = {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}
    assert set(graph.edges) == expected


def paths(genotype: tuple[int, ...]) -> set[tuple[str, ...]]:
    """Operations along every path of the cell from its input to its output, without skips: an independent reading."""
    found: set[tuple[str, ...]] = set()

    def walk(node: int, trail: tuple[str, ...]) -> None:
        if node == 3:
            found.add(trail)
        for op, (source, target) in zip(genotype, EDGES, strict=True):
            name = OPERATIONS[op]
            if source == node and name != "none":
                walk(target, trail if name == "skip_connect" else (*trail, name))

    walk(0, ())
    return found


@given(genotypes)
def test_graphs_have_the_paths_of_the_cell(genotype: tuple[int, ...]):
    graph = SPACE.graphs(genotype)["cell"]
    listed = {tuple(graph.nodes[node]["op_name"] for node in path[1:-1]) for path in nx.all_simple_paths(graph, 0, 7)}
    assert listed == paths(genotype)
    on_paths = {node for path in nx.all_simple_paths(graph, 0, 7) for node in path}
    assert set(graph) == on_paths | {0, 7}


def test_edgeless_graphs_are_counted_as_the_cells_without_a_path():
    edgeless = [g for g in SPACE.genotypes() if not paths(g)]
    assert len(edgeless) == 341
    assert all(SPACE.graphs(g)["cell"].number_of_edges() == 0 for g in edgeless)


# ---- costs -----------------------------------------------------------------------------------------------------------


def test_costs_of_published_cells():
    assert SPACE.cost((0,) * 6, CIFAR10) == Cost(flops=7_783_040, params=73_306)
    assert SPACE.cost(arch(*["nor_conv_3x3"] * 6), CIFAR10) == Cost(flops=220_119_680, params=1_531_546)


def test_cost_rounds_odd_sizes_up():
    space = NASBench201(cells_per_stage=1, channels=2, stages=2)
    even, odd = DataShape(((1, 8, 8),), 4), DataShape(((1, 7, 7),), 4)
    stem = 1 * 2 * 9
    assert space.cost((0,) * 6, even).flops - space.cost((0,) * 6, odd).flops == stem * (64 - 49)


@pytest.mark.parametrize("shape", [DataShape(((10,),), 3), DataShape(((3, 8, 8), (3, 8, 8)), 3), DataShape((), 3)])
def test_what_is_not_one_image_is_refused(shape: DataShape):
    with pytest.raises(SpecError, match="one image"):
        SPACE.cost((0,) * 6, shape)


@pytest.mark.parametrize("params", [{"channels": 0}, {"stages": -1}, {"cells_per_stage": 2.0}, {"channels": True}])
def test_bad_parameters_are_refused(params: dict[str, object]):
    with pytest.raises(SpecError, match=next(iter(params))):
        NASBench201(**params)  # type: ignore[arg-type]


def test_it_is_registered():
    assert "nasbench201" in list_spaces("nas*")
    space = SPACES.create("nasbench201", {"channels": 8})
    assert isinstance(space, NASBench201)
    assert space.channels == 8


# ---- against the benchmark's own table -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    folder = os.environ.get("XNAS_DATA")
    path = Path(folder) / "nasbench201.parquet" if folder else None
    if path is None or not path.exists():
        pytest.skip("needs nasbench201.parquet in the folder that XNAS_DATA names")
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pydict()


def test_all_official_strings_round_trip(table):
    parsed = [SPACE.parse(text) for text in table["arch"]]
    assert len(set(parsed)) == 15_625
    assert [SPACE.format(genotype) for genotype in parsed] == table["arch"]


def test_keys_are_the_official_strings(table):
    assert [SPACE.key(SPACE.parse(text)) for text in table["arch"]] == table["unique_string"]


def test_costs_are_the_tables(table):
    costs = [SPACE.cost(SPACE.parse(text), CIFAR10) for text in table["arch"]]
    assert [cost.flops / 1e6 for cost in costs] == table["flops_m"]
    assert [cost.params / 1e6 for cost in costs] == table["params_m"]
