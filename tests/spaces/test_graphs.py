"""Operations on architecture graphs."""

from __future__ import annotations

import networkx as nx

from xnas_ray.spaces.graphs import OP_NAME, chain, contract, isomorphic, prune, remove, unfold


def graph(edges: list[tuple[int, int]], **labels: str) -> nx.DiGraph:
    made = nx.DiGraph(edges)
    for node in made:
        made.nodes[node]["op_name"] = labels.get(f"n{node}", "conv")
    return made


def test_contract_keeps_chains_connected_and_crosses_all_neighbours():
    chain = graph([(0, 1), (1, 2), (2, 3), (3, 4)], n1="skip", n2="skip", n3="skip")
    contract(chain, "skip")
    assert set(chain.edges) == {(0, 4)}
    crossing = graph([(0, 2), (1, 2), (2, 3), (2, 4)], n2="skip")
    contract(crossing, "skip")
    assert set(crossing.edges) == {(0, 3), (0, 4), (1, 3), (1, 4)}


def test_contract_makes_no_connection_where_there_was_none():
    dangling = graph([(0, 1), (2, 3)], n1="skip", n2="skip")
    contract(dangling, "skip")
    assert set(dangling) == {0, 3}
    assert not dangling.edges


def test_remove_loses_what_the_node_joined():
    path = graph([(0, 1), (1, 2)], n1="none")
    remove(path, "none")
    assert set(path) == {0, 2}
    assert not path.edges


def test_prune_keeps_paths_and_both_ends():
    made = graph([(0, 1), (1, 9), (0, 2), (2, 3), (4, 9)])
    assert set(prune(made, 0, 9)) == {0, 1, 9}
    made.remove_edge(1, 9)
    assert set(prune(made, 0, 9)) == {0, 9}
    assert set(made) == {0, 1, 2, 3, 4, 9}


def test_isomorphic_looks_at_labels_and_directions():
    first = graph([(0, 1), (1, 2)], n1="pool")
    assert isomorphic(first, nx.relabel_nodes(first, {0: "a", 1: "b", 2: "c"}))
    assert not isomorphic(first, graph([(0, 1), (1, 2)], n2="pool"))
    assert not isomorphic(graph([(0, 1), (0, 2)]), graph([(1, 0), (2, 0)]))


def test_unfold_ignores_sharing_and_nothing_else():
    shared = graph([(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)], n2="pool", n3="dense")
    twice = graph([(0, 1), (0, 5), (1, 2), (5, 3), (2, 4), (3, 4)], n2="pool", n3="dense")
    assert not isomorphic(shared, twice)
    assert unfold(shared, 4) == unfold(twice, 4)
    other = graph([(0, 1), (0, 5), (1, 2), (5, 3), (2, 4), (3, 4)], n2="pool", n3="dense", n5="pool")
    assert unfold(other, 4) != unfold(twice, 4)


def test_a_chain_joins_each_label_to_the_next():
    made = chain(["input", "conv", "conv", "output"])
    assert [label for _, label in made.nodes(data=OP_NAME)] == ["input", "conv", "conv", "output"]
    assert list(made.edges) == [(0, 1), (1, 2), (2, 3)]
    assert list(chain([]).nodes) == []
