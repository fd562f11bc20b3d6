"""Where motifs occur: against subtree matching node by node, and groups whose difference is planted."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from xnas_ray.errors import SpecError
from xnas_ray.explain.motifs import Motif, Tree, motif_table, read_motifs, tree_id
from xnas_ray.explain.occurrences import explain_architecture, presence, validate
from xnas_ray.explain.wl_part import WLPart
from xnas_ray.surrogates.wl_features import WLFeatures

OUTPUT: Tree = ("output", ())


def motif(tree: Tree, layer: int, *, cell: str = "cell", occurrence: int = 1, effect: float = 1.0) -> Motif:
    return Motif(tree_id(tree, layer), cell, layer, occurrence, tree, effect, mark="good" if effect > 0 else "bad")


def graph_of(labels: str, *edges: tuple[int, int]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from((i, {"op_name": label}) for i, label in enumerate(labels.split()))
    graph.add_edges_from(edges)
    return graph


def unfolded(graph: nx.DiGraph, node: int, layer: int) -> Tree:
    """The tree below a node, written by hand."""
    below = [unfolded(graph, n, layer - 1) for n in graph.successors(node)] if layer else []
    return graph.nodes[node]["op_name"], tuple(sorted(below))


def of(planted, by="whole") -> list[Motif]:
    part = WLPart.by_cell(planted.features, range(len(planted.graphs)), planted.alpha, planted.depth)
    return read_motifs(motif_table(planted.features, part, min_support=5, by=by))


# ---- one architecture ------------------------------------------------------------------------------------------------


def test_motifs_are_found_where_they_unfold(make_planted):
    planted = make_planted(depth=2)
    motifs = of(planted)
    for graph in planted.graphs[:40]:
        found = {o.motif: o for o in explain_architecture({"cell": graph}, motifs)}
        for one in motifs:
            roots = [n for n in graph if unfolded(graph, n, one.layer) == _sorted(one.tree)]
            assert (one in found) == bool(roots)
            if roots:
                assert list(found[one].roots) == roots
                for root, nodes in zip(roots, found[one].nodes, strict=True):
                    assert nodes == set(nx.single_source_shortest_path_length(graph, root, cutoff=one.layer))
                inner = [set(nx.single_source_shortest_path_length(graph, r, cutoff=one.layer - 1)) for r in roots]
                followed = {edge for edge in graph.edges if one.layer and any(edge[0] in nodes for nodes in inner)}
                assert found[one].edges == followed


def _sorted(tree: Tree) -> Tree:
    return tree[0], tuple(sorted(map(_sorted, tree[1])))


def test_motifs_come_in_the_given_order_and_of_their_cell():
    graph = graph_of("input conv conv output", (0, 1), (1, 2), (2, 3))
    last, first = motif(("conv", (OUTPUT,)), 1, cell="reduction"), motif(("conv", (("conv", ()),)), 1)
    found = explain_architecture({"cell": graph, "reduction": graph}, [last, first])
    assert [o.motif for o in found] == [last, first]
    assert [o.roots for o in found] == [(2,), (1,)] and [o.nodes for o in found] == [({2, 3},), ({1, 2},)]
    assert explain_architecture({"normal": graph}, [last, first]) == []


def test_reach_is_the_union_of_paths_not_the_shortest_alone():
    """The tree of layer 2 unfolds to node 3 by two steps and by one."""
    graph = graph_of("input a b output", (0, 1), (1, 2), (1, 3), (2, 3))
    found = explain_architecture({"cell": graph}, [motif(unfolded(graph, 1, 2), 2)])
    assert found[0].nodes == ({1, 2, 3},)


def test_a_second_occurrence_needs_two():
    graph = graph_of("input conv conv output", (0, 1), (0, 2), (1, 3), (2, 3))
    tree: Tree = ("conv", (OUTPUT,))
    found = explain_architecture({"cell": graph}, [motif(tree, 1, occurrence=t) for t in (1, 2, 3)])
    assert [o.motif.occurrence for o in found] == [1, 2]
    assert found[1].roots == (1, 2) and found[1].motif.text == "conv > (output), 2 times"


# ---- many architectures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["subtree", "oa"])
def test_presence_agrees_with_single_architectures(make_planted, kind):
    planted = make_planted(kind=kind, depth=2)
    motifs = of(planted)
    assert kind == "subtree" or any(m.occurrence > 1 for m in motifs)
    rows = np.array([5, 0, 17, 5])
    found = presence(planted.features, rows, motifs)
    assert found.shape == (4, len(motifs))
    for i, row in enumerate(rows):
        has = {o.motif for o in explain_architecture({"cell": planted.graphs[row]}, motifs)}
        assert [one in has for one in motifs] == found[i].tolist()


def test_both_kinds_of_features_tell_the_same(make_planted):
    planted = make_planted(kind="oa")
    motifs = of(planted)
    counts = WLFeatures(1)
    for i, graph in enumerate(planted.graphs):
        counts.add(str(i), {"cell": graph})
    rows = range(len(planted.graphs))
    assert np.array_equal(presence(counts, rows, motifs), presence(planted.features, rows, motifs))


def test_what_no_architecture_has_is_in_none(make_planted):
    features = make_planted().features
    strange = [motif(("transformer", ()), 0), motif(("conv1x1", ()), 0, cell="reduction")]
    assert not presence(features, range(50), strange).any()
    assert presence(features, range(3), []).shape == (3, 0)
    with pytest.raises(SpecError, match="is 1, the motifs need 4"):
        presence(features, [0], [motif(("conv1x1", ()), 4)])


# ---- promises --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs() -> WLFeatures:
    """Twenty architectures with a convolution, thirty with a pool, all else equal."""
    features = WLFeatures(1)
    for i in range(50):
        graph = graph_of(f"input {'conv' if i < 20 else 'pool'} output", (0, 1), (1, 2))
        features.add(str(i), {"cell": graph})
    return features


@pytest.mark.parametrize("maximize", [True, False])
def test_differences_are_measured(pairs, maximize):
    outcomes = np.concatenate([np.linspace(1, 3, 20), np.linspace(0, 2, 30)])
    good = motif(("conv", ()), 0, effect=1.0 if maximize else -1.0)
    row = validate([good], pairs, range(50), outcomes, maximize=maximize).iloc[0]
    test = mannwhitneyu(outcomes[:20], outcomes[20:])
    wins = (outcomes[:20, None] > outcomes[20:]).mean() - (outcomes[:20, None] < outcomes[20:]).mean()
    assert (row["with"], row["without"]) == (20, 30) and row["kept"]
    assert (row["median_with"], row["median_without"]) == (pytest.approx(2.0), pytest.approx(1.0))
    assert row["superiority"] == pytest.approx(wins if maximize else -wins)
    assert row["p"] == row["p_adjusted"] == pytest.approx(test.pvalue) and row["p"] < 1e-4


def test_broken_promises_show(pairs):
    outcomes = np.concatenate([np.zeros(20), np.ones(30)])
    found = validate([motif(("conv", ()), 0), motif(("pool", ()), 0)], pairs, range(50), outcomes)
    assert found["kept"].tolist() == [False, True] and found["superiority"].tolist() == [-1.0, 1.0]


def test_many_motifs_are_corrected_for(make_planted):
    """Outcomes are noise: about one in twenty has a small p, none survives the correction."""
    planted = make_planted()
    noise = np.random.default_rng(5).normal(size=len(planted.graphs))
    found = validate(of(planted), planted.features, range(len(noise)), noise)
    assert (found["p_adjusted"] >= found["p"]).all() and (found["p_adjusted"] > 0.05).all()


def test_new_architectures_keep_the_promise(make_planted):
    """Motifs of one sample, outcomes of another with the same planted effects: all strong ones hold."""
    planted, other = make_planted(), make_planted(seed=7)
    effects = {column: j for j, column in enumerate(planted.effects)}
    columns = other.features.columns(1, "cell")
    counts = other.features.matrix(1, "cell").toarray()
    outcomes = sum(
        planted.effects[column] * counts[:, columns.index(column)] for column in effects if column in columns
    )
    strong = [m for m in of(planted, "ag") if abs(planted.effects.get((m.id, m.occurrence), 0)) >= 0.6]
    found = validate(strong, other.features, range(len(outcomes)), outcomes)
    assert len(found) == 6 and found["kept"].all() and (found["p_adjusted"] < 0.05).all()


def test_a_group_without_members_has_no_difference(pairs):
    found = validate([motif(("lstm", ()), 0), motif(("input", ()), 0)], pairs, range(50), np.arange(50.0))
    assert found["with"].tolist() == [0, 50] and found["without"].tolist() == [50, 0]
    assert found[["median_with", "superiority", "p", "p_adjusted"]].isna().all().all() and not found["kept"].any()


def test_equal_outcomes_differ_by_chance(pairs):
    row = validate([motif(("conv", ()), 0)], pairs, range(50), np.ones(50)).iloc[0]
    assert row["superiority"] == 0 and row["p"] == 1 and not row["kept"]


def test_lengths_must_agree(pairs):
    assert len(validate([], pairs, [0, 1], [1.0, 2.0])) == 0
    with pytest.raises(SpecError, match="3 outcomes are given for 2 rows"):
        validate([], pairs, [0, 1], [1.0, 2.0, 3.0])
