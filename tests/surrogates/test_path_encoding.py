"""Path encoding: all paths and only those, ids by content, truncation to the shortest, the order leaves no trace."""

from __future__ import annotations

import os
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.path_encoding import OperationPath, PathEncoding, columns_of, graph_paths, presence

SPACE = NASBench201()
DIAMOND = {"cell": nx.DiGraph([(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)])}
nx.set_node_attributes(DIAMOND["cell"], {0: "input", 1: "conv", 2: "pool", 3: "output"}, "op_name")


@st.composite
def dags(draw: st.DrawFn) -> nx.DiGraph:
    """Labelled acyclic graphs with up to 8 nodes, with any number of sources and sinks."""
    size = draw(st.integers(1, 8))
    labels = draw(st.lists(st.sampled_from("abc"), min_size=size, max_size=size))
    pairs = [(i, j) for j in range(size) for i in range(j)]
    graph = nx.DiGraph()
    graph.add_nodes_from((i, {"op_name": label}) for i, label in enumerate(labels))
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


def listed(graph: nx.DiGraph) -> set[tuple[str, ...]]:
    """All paths, by networkx."""
    sources = [n for n in graph if not graph.in_degree(n)]
    sinks = [n for n in graph if not graph.out_degree(n)]
    return {
        tuple(graph.nodes[node]["op_name"] for node in path)
        for source in sources
        for sink in sinks
        if source != sink
        for path in nx.all_simple_paths(graph, source, sink)
    }


def test_paths_of_a_diamond():
    expected = {("input", "output"), ("input", "conv", "output"), ("input", "pool", "output")}
    assert graph_paths(DIAMOND["cell"]) == expected


@given(dags())
def test_paths_are_those_of_networkx(graph: nx.DiGraph):
    assert graph_paths(graph) == listed(graph)


@given(dags(), st.integers(0, 4))
def test_truncation_leaves_out_the_longer_ones(graph: nx.DiGraph, longest: int):
    found = graph_paths(graph, max_operations=longest)
    assert found == {path for path in listed(graph) if len(path) - 2 <= longest}


@given(dags(), st.randoms())
def test_names_of_nodes_do_not_matter(graph: nx.DiGraph, dice):
    names = list(graph)
    dice.shuffle(names)
    copy = nx.DiGraph()
    copy.add_nodes_from((names[n], graph.nodes[n]) for n in reversed(list(graph)))
    copy.add_edges_from((names[a], names[b]) for a, b in reversed(list(graph.edges)))
    assert PathEncoding().add("a", {"cell": graph}) == PathEncoding().add("a", {"cell": copy})


def test_graphs_with_too_many_paths_keep_the_shortest():
    ladder = nx.DiGraph()
    ladder.add_node((0, 0), op_name="input")
    for level in range(1, 21):
        for side in (0, 1):
            ladder.add_node((level, side), op_name="ab"[side])
            ladder.add_edges_from((before, (level, side)) for before in [n for n in ladder if n[0] == level - 1])
    ladder.add_node("output", op_name="output")
    ladder.add_edges_from(((level, side), "output") for level in range(1, 21) for side in (0, 1))
    found = graph_paths(ladder, max_paths=100)
    assert {len(path) - 2 for path in found} == {1, 2, 3, 4, 5}
    assert found == graph_paths(ladder, max_operations=5)


def test_cells_without_a_path():
    nothing = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert PathEncoding().add("nothing", SPACE.graphs(nothing)) == frozenset()


def test_ids_are_of_content():
    path = OperationPath("cell", ("input", "nor_conv_3x3", "output"))
    assert path.id == GOLDEN
    assert (
        len({path.id, OperationPath("normal", path.operations).id, OperationPath("cell", path.operations[:2]).id}) == 3
    )
    assert OperationPath("a", ("bc",)).id != OperationPath("a", ("b", "c")).id


GOLDEN = 6928973192859221260


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_ids_are_equal_in_every_process(hash_seed: str):
    code = (
        "from xnas_ray.spaces.nasbench201 import NASBench201\n"
        "from xnas_ray.surrogates.path_encoding import PathEncoding\n"
        "space = NASBench201()\n"
        "print(sorted(PathEncoding().add('x', space.graphs((3, 2, 4, 1, 3, 2)))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    expected = PathEncoding().add("x", SPACE.graphs((3, 2, 4, 1, 3, 2)))
    assert printed.stdout.strip() == str(sorted(expected))


def test_the_order_of_architectures_leaves_no_trace():
    genotypes = [SPACE.sample(np.random.default_rng(i)) for i in range(30)]
    forth, back = PathEncoding(), PathEncoding()
    for genotype in genotypes:
        forth.add(SPACE.key(genotype), SPACE.graphs(genotype))
    for genotype in reversed(genotypes):
        back.add(SPACE.key(genotype), SPACE.graphs(genotype))
    assert forth.paths == back.paths
    rows = [forth[SPACE.key(g)] for g in genotypes]
    assert rows == [back[SPACE.key(g)] for g in genotypes]
    assert len(forth) == len({SPACE.key(g) for g in genotypes})
    assert "nothing" not in forth
    with pytest.raises(KeyError):
        forth["nothing"]


def test_settings_of_the_recipe_are_ids_too():
    encoding = PathEncoding()
    plain = encoding.add("a", DIAMOND)
    slow, fast = (encoding.add(name, DIAMOND, {"lr": lr}) for name, lr in (("b", 0.01), ("c", 1.0)))
    assert plain < slow and plain < fast and len(slow) == len(fast) == len(plain) + 1
    assert slow != fast == encoding.add("d", DIAMOND, {"lr": 1})


def test_columns_are_sorted_and_rows_are_presence():
    encoding = PathEncoding()
    rows = [encoding.add(str(i), SPACE.graphs(SPACE.sample(np.random.default_rng(i)))) for i in range(20)]
    columns = columns_of(rows)
    assert list(columns) == sorted(set().union(*rows))
    matrix = presence(rows, columns)
    assert matrix.shape == (20, len(columns))
    for row, ids in zip(matrix, rows, strict=True):
        assert {columns[i] for i in np.flatnonzero(row)} == set(ids)
    assert set(np.unique(matrix)) <= {0.0, 1.0}
    assert presence(rows, columns[:3]).shape == (20, 3)


@settings(max_examples=20)
@given(st.lists(dags(), min_size=1, max_size=4))
def test_every_id_is_known_by_its_path(graphs: list[nx.DiGraph]):
    encoding = PathEncoding()
    ids = encoding.add("all", {f"cell {i}": graph for i, graph in enumerate(graphs)})
    assert {encoding.paths[i] for i in ids} == {
        OperationPath(f"cell {n}", path) for n, graph in enumerate(graphs) for path in listed(graph)
    }
