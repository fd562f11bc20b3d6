"""Weisfeiler–Lehman features against GraKeL and plain loops; renaming, hashing and the order of rows change nothing."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from grakel import Graph, VertexHistogram, WeisfeilerLehman, WeisfeilerLehmanOptimalAssignment
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.wl_features import Subtree, WLFeatures, feature_id, wl_counts, wl_ids

LABELS = ("input", "output", "conv1x1", "conv3x3", "maxpool", "skip", "add")
DEPTH = 4


def random_dag(rng: np.random.Generator, nodes: int = 8, density: float = 0.5) -> nx.DiGraph:
    graph = nx.DiGraph()
    for node in range(nodes):
        graph.add_node(node, op_name=LABELS[rng.integers(len(LABELS))])
    pairs = [pair for pair in itertools.combinations(range(nodes), 2) if rng.random() < density]
    graph.add_edges_from(pairs)
    return graph


@pytest.fixture(scope="module")
def dags() -> list[nx.DiGraph]:
    rng = np.random.default_rng(0)
    return [random_dag(rng, int(rng.integers(2, 10)), rng.random()) for _ in range(400)]


def featurised(graphs, **settings) -> WLFeatures:
    features = WLFeatures(DEPTH, **settings)
    for i, graph in enumerate(graphs):
        assert features.add(str(i), {"cell": graph}) == i
    return features


def as_grakel(graph: nx.DiGraph) -> Graph:
    edges = {node: list(graph.successors(node)) for node in graph}
    return Graph(edges, dict(graph.nodes(data="op_name")), graph_format="dictionary")


def summed(features: WLFeatures, rows, h: int) -> np.ndarray:
    return sum(features.gram(rows, rows, t, "cell") for t in range(h + 1))


# ---- GraKeL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", range(DEPTH + 1))
def test_grams_equal_grakels(dags, h):
    given = [as_grakel(graph) for graph in dags]
    kernel = WeisfeilerLehman(n_iter=h) if h else VertexHistogram()
    expected = kernel.fit_transform(given)
    gram = summed(featurised(dags), range(400), h)
    assert np.array_equal(gram, expected)
    norms = np.sqrt(np.diag(gram))
    normalised = WeisfeilerLehman(n_iter=h, normalize=True) if h else VertexHistogram(normalize=True)
    assert np.abs(gram / np.outer(norms, norms) - normalised.fit_transform(given)).max() < 1e-12


@pytest.mark.parametrize("h", [1, 3])
def test_optimal_assignment_equals_grakels(dags, h):
    """GraKeL drops nodes without successors here, so every graph gets loops at its sinks: on both sides the same."""
    looped = [graph.copy() for graph in dags[:60]]
    for graph in looped:
        graph.add_edges_from((node, node) for node in list(graph) if graph.out_degree(node) == 0)
    expected = WeisfeilerLehmanOptimalAssignment(n_iter=h).fit_transform([as_grakel(graph) for graph in looped])
    assert np.array_equal(summed(featurised(looped, kind="oa"), range(60), h), expected)


def test_optimal_assignment_is_the_sum_of_minima(dags):
    counts = [wl_counts(graph, DEPTH) for graph in dags[:60]]
    features = featurised(dags[:60], kind="oa")
    for layer in range(DEPTH + 1):
        expected = [[sum((Counter(a[layer]) & Counter(b[layer])).values()) for b in counts] for a in counts]
        assert np.array_equal(features.gram(range(60), range(60), layer, "cell"), expected)


@pytest.mark.parametrize("kind", ["subtree", "oa"])
def test_the_backend_grakel_gives_the_same_columns(dags, kind):
    ours, theirs = featurised(dags[:80], kind=kind), featurised(dags[:80], kind=kind, backend="grakel")
    assert dict(ours.trees) == dict(theirs.trees)
    for layer in range(DEPTH + 1):
        assert ours.columns(layer, "cell") == theirs.columns(layer, "cell")
        assert (ours.matrix(layer, "cell") != theirs.matrix(layer, "cell")).nnz == 0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_backend_grakel_takes_extreme_graphs(depth):
    from xnas_ray.surrogates.wl_grakel import wl_counts as through_grakel

    lonely, loose = nx.DiGraph(), nx.DiGraph()
    lonely.add_node("a", op_name="conv3x3")
    loose.add_nodes_from([(0, {"op_name": "input"}), (1, {"op_name": "output"})])
    for graph in (nx.DiGraph(), lonely, loose):
        assert through_grakel(graph, depth) == wl_counts(graph, depth)


# ---- ids -------------------------------------------------------------------------------------------------------------


def chain(*labels: str) -> nx.DiGraph:
    graph = nx.path_graph(len(labels), create_using=nx.DiGraph)
    nx.set_node_attributes(graph, dict(enumerate(labels)), "op_name")
    return graph


def test_ids_never_change():
    """Written once, by hand from the definition; stored motifs carry such ids."""
    trees: dict[int, Subtree] = {}
    layers = wl_ids(chain("input", "conv3x3", "output"), 2, trees)
    assert [layers[t][0] for t in range(3)] == GOLDEN
    assert trees[GOLDEN[0]] == Subtree(0, "input")
    assert trees[GOLDEN[1]] == Subtree(1, "input", GOLDEN[0], (layers[0][1],))
    assert all(feature_id(tree) == id_ and 0 <= id_ < 2**63 for id_, tree in trees.items())


GOLDEN = [3318381317817512348, 1171557952851008787, 3770346500891800584]


def test_every_id_that_a_tree_mentions_is_known(dags):
    trees = featurised(dags[:50]).trees
    assert {i for tree in trees.values() for i in (*tree.children, *([tree.root] if tree.layer else []))} <= set(trees)
    assert all((tree.root is None) == (tree.layer == 0) for tree in trees.values())


def test_ids_are_finer_with_every_layer(dags):
    """Equal ids mean equal unfoldings, and only they do: an independent nested tuple for every node."""

    def unfolded(graph, node, depth):
        below = tuple(sorted(unfolded(graph, n, depth - 1) for n in graph.successors(node))) if depth else ()
        return graph.nodes[node]["op_name"], below

    pairs = set()
    for graph in dags[:100]:
        for layer, ids in enumerate(wl_ids(graph, 3)):
            pairs |= {(layer, id_, unfolded(graph, node, layer)) for node, id_ in ids.items()}
    assert len(pairs) == len({id_ for _, id_, _ in pairs}) == len({(layer, tree) for layer, _, tree in pairs})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_names_and_order_of_nodes_do_not_matter(seed, shuffler):
    graph = random_dag(np.random.default_rng(seed))
    names = [f"node {i}" for i in range(len(graph))]
    shuffler.shuffle(names)
    order = list(graph)
    shuffler.shuffle(order)
    renamed = nx.DiGraph()
    renamed.add_nodes_from((names[node], graph.nodes[node]) for node in order)
    edges = [(names[a], names[b]) for a, b in graph.edges]
    shuffler.shuffle(edges)
    renamed.add_edges_from(edges)
    first, second = featurised([graph]), featurised([renamed])
    for layer in range(DEPTH + 1):
        assert first.columns(layer, "cell") == second.columns(layer, "cell")
        assert (first.matrix(layer, "cell") != second.matrix(layer, "cell")).nnz == 0


def test_hash_randomisation_does_not_matter():
    program = (
        "import numpy as np; from xnas_ray.spaces.nasbench201 import NASBench201 as S;"
        "from xnas_ray.surrogates.wl_features import WLFeatures as F; s, f = S(), F(3, kind='oa');"
        "[f.add(str(i), s.graphs(s.sample(np.random.default_rng(i)))) for i in range(40)];"
        "print([f.columns(t, 'cell') for t in range(4)], list(f.trees), [f.matrix(t, 'cell').sum() for t in range(4)])"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert printed[0] == printed[1] and len(printed[0]) > 1000


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_rows_may_come_one_by_one(dags):
    batch, growing = featurised(dags[:60]), WLFeatures(DEPTH)
    for i, graph in enumerate(dags[:60]):
        growing.add(str(i), {"cell": graph})
        gram = growing.gram(range(i + 1), [i], 2, "cell")  # looked at between appends: caches must not go stale
        assert np.array_equal(gram, batch.gram(range(i + 1), [i], 2, "cell"))
        assert growing.squared_norms([i], 2, "cell") == gram[i]
    assert growing.columns(3, "cell") == batch.columns(3, "cell")


def test_blocks_of_the_gram(dags):
    features = featurised(dags)
    whole = features.gram(range(400), range(400), 3, "cell")
    rows, columns = np.array([5, 399, 5, 0]), np.arange(100, 300)
    assert np.array_equal(features.gram(rows, columns, 3, "cell"), whole[np.ix_(rows, columns)])
    assert np.array_equal(features.gram(columns, rows, 3, "cell"), whole[np.ix_(columns, rows)])
    backwards = np.arange(400)[::-1]
    assert np.array_equal(features.gram(backwards, rows, 3, "cell"), whole[np.ix_(backwards, rows)])
    assert np.array_equal(features.squared_norms(rows, 3, "cell"), np.diag(whole)[rows])
    assert features.gram([], rows, 3, "cell").shape == (0, 4)
    assert features.gram(rows, [], 3, "cell").shape == (4, 0)


def test_wide_blocks_are_made_piece_by_piece(dags, monkeypatch):
    features = featurised(dags[:50])
    whole = features.gram(range(50), range(50), 4, "cell")
    monkeypatch.setattr("xnas_ray.surrogates.wl_features._BLOCK_ENTRIES", 1)
    assert np.array_equal(features.gram(range(50), range(50), 4, "cell"), whole)


def test_a_key_has_one_row():
    space, features = NASBench201(), WLFeatures(2)
    first, second = space.graphs((3, 3, 3, 3, 3, 3)), space.graphs((1, 2, 3, 4, 0, 1))
    assert features.add("a", first) == 0 and features.add("b", second) == 1 and features.add("a", second) == 0
    assert len(features) == 2 and features.row("b") == 1 and "b" in features and "c" not in features
    with pytest.raises(KeyError):
        features.row("c")


def test_cells_are_kept_apart():
    features = WLFeatures(1)
    features.add("x", {"normal": chain("input", "output"), "reduction": chain("input", "conv3x3", "output")})
    features.add("y", {"reduction": chain("input", "output"), "normal": chain("input", "output")})
    assert features.cells == ("normal", "reduction")
    assert features.gram([0], [0, 1], 0, "normal").tolist() == [[2, 2]]
    assert features.gram([0], [0, 1], 0, "reduction").tolist() == [[3, 2]]


def test_graphs_without_nodes_have_empty_rows():
    features = WLFeatures(2)
    features.add("nothing", {"cell": nx.DiGraph()})
    features.add("something", {"cell": chain("input", "output")})
    assert features.gram([0, 1], [0, 1], 1, "cell").tolist() == [[0, 0], [0, 2]]


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_other_cells_are_refused():
    features = WLFeatures(1)
    features.add("x", {"cell": chain("input", "output")})
    with pytest.raises(GenotypeError, match=r"'y' has the graphs \['normal'\], others have \['cell'\]"):
        features.add("y", {"normal": chain("input", "output")})
    assert len(features) == 1


@pytest.mark.parametrize("backend", ["native", "grakel"])
def test_nodes_without_operation_are_refused(backend):
    graph = chain("input", "output")
    graph.add_edge(1, 2)
    features = WLFeatures(1, backend=backend)
    with pytest.raises(GenotypeError, match="node 2 has no text in 'op_name'"):
        features.add("x", {"cell": graph})
    assert len(features) == 0


def test_undirected_graphs_are_refused():
    graph = nx.Graph()
    graph.add_node(0, op_name="input")
    with pytest.raises(GenotypeError, match="undirected"):
        wl_counts(graph, 1)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"depth": -1}, "depth"), ({"depth": True}, "depth"), ({"kind": "dot"}, "kind"), ({"backend": "c"}, "backend")],
)
def test_settings_are_checked(settings, field):
    with pytest.raises(SpecError) as caught:
        WLFeatures(**settings)
    assert caught.value.field == field
