"""Files of hierarchies: ours come back, and those of the package ``nbdt`` load."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.hierarchy_files import hierarchy_from_json, hierarchy_to_json, read_hierarchy, write_hierarchy

TOY = Path(__file__).parent / "graphs" / "graph-induced-toy.json"
WNIDS = ["n00000006", "n00000005", "n00000008", "n00000004"]


@given(classes=st.integers(2, 20), seed=st.integers(0, 1000))
def test_every_tree_comes_back(random_tree, classes, seed):
    tree = random_tree(classes, seed)
    text = json.dumps(hierarchy_to_json(tree))
    again = hierarchy_from_json(json.loads(text))
    assert str(again) == str(tree) and again.class_names == tree.class_names
    assert json.dumps(hierarchy_to_json(again)) == text


def test_files(tmp_path, random_tree):
    write_hierarchy(tmp_path / "tree.json", random_tree(7))
    assert str(read_hierarchy(tmp_path / "tree.json")) == str(random_tree(7))
    with pytest.raises(HierarchyError, match="cannot write"):
        write_hierarchy(tmp_path / "absent" / "tree.json", random_tree(7))
    with pytest.raises(HierarchyError, match="cannot read"):
        read_hierarchy(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(HierarchyError, match="cannot read"):
        read_hierarchy(tmp_path / "broken.json")


def test_networkx_reads_ours_as_a_tree(random_tree):
    graph = nx.node_link_graph(hierarchy_to_json(random_tree(9)), edges="links")
    assert nx.is_arborescence(graph)
    assert sum(degree == 0 for _, degree in graph.out_degree()) == 9


def test_graphs_of_the_public_package_load():
    found = read_hierarchy(TOY, wnids=WNIDS)
    assert found.class_names == ("car", "cat", "crane", "dog")
    assert [(node.name, node.wnid) for node in found.nodes if not node.is_leaf] == [
        ("entity", "n00000001"),
        ("dog / cat", None),  # f00000004 has no label
        ("vehicle", "n00000003"),
    ]
    assert found.smallest("dog").wnid == "n00000004"
    assert read_hierarchy(TOY).class_names == ("dog", "cat", "car", "crane"), "without wnids as the file has them"


def test_classes_may_be_called_otherwise():
    called = read_hierarchy(TOY, wnids=WNIDS, class_names=["automobile", "cat", "crane", "hound"])
    assert called.class_names == ("automobile", "cat", "crane", "hound")
    assert called.smallest("hound", "cat").leaves == ("hound", "cat")
    by_label = read_hierarchy(TOY, class_names=["crane", "car", "dog", "cat"])
    assert by_label.class_names == ("crane", "car", "dog", "cat")


def test_nodes_that_share_a_wnid_keep_it():
    pair = Node.over([Node.leaf("a"), Node.leaf("b")], "animal", "n00000002")
    tree = Hierarchy(Node.over([pair, Node.leaf("c", "n00000005")], "animal", "n00000002"), ("a", "b", "c"))
    again = hierarchy_from_json(hierarchy_to_json(tree))
    assert [node.wnid for node in again.nodes] == ["n00000002", "n00000002", None, None, "n00000005"]


def test_classes_that_share_a_wnid_or_are_called_by_one_are_told_apart():
    leaves = [Node.leaf("hen", "n00000009"), Node.leaf("cock", "n00000009"), Node.leaf("n00000009")]
    tree = Hierarchy(Node.over(leaves), ("cock", "hen", "n00000009"))
    graph = hierarchy_to_json(tree)
    assert [node["id"] for node in graph["nodes"]] == ["f00000000", "n00000009", "cock", "n00000009_"]
    again = hierarchy_from_json(graph)
    assert again.class_names == tree.class_names
    assert [node.wnid for node in again.nodes] == [None, "n00000009", "n00000009", None]


def test_nodes_with_a_single_child_are_left_out():
    graph = {
        "nodes": [{"id": name} for name in ("root", "only", "inner", "a", "b", "above_c", "c")],
        "edges": [
            {"source": a, "target": b}
            for a, b in (
                ("root", "only"),
                ("only", "inner"),
                ("inner", "a"),
                ("inner", "b"),
                ("only", "above_c"),
                ("above_c", "c"),
            )
        ],
    }
    found = hierarchy_from_json(graph)
    assert str(found).split("\n") == ["a / b / c", "  a / b", "    a", "    b", "  c"]


def broken(change):
    graph = copy.deepcopy(json.loads(TOY.read_text()))
    change(graph)
    return graph


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.pop("links"), "no node-link graph"),
        (lambda g: g.update(nodes=[1]), "no node-link graph"),
        (lambda g: g["links"].append({"source": "n00000001", "target": "x"}), "'x', which is no node"),
        (lambda g: g["links"].append({"source": "n00000003", "target": "n00000005"}), "two parents"),
        (lambda g: g["links"].pop(), "2 roots"),
        (lambda g: g["nodes"].append({"id": "alone"}), "2 roots"),
        (
            lambda g: (
                g["nodes"].extend([{"id": "x"}, {"id": "y"}]),
                g["links"].extend([{"source": "x", "target": "y"}, {"source": "y", "target": "x"}]),
            ),
            "'x' is part of a circle",
        ),
    ],
)
def test_what_is_no_tree_is_refused(change, message):
    with pytest.raises(HierarchyError, match=message):
        hierarchy_from_json(broken(change))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wnids": WNIDS[:3]}, "leaf 'n00000004' is no class"),
        ({"wnids": [*WNIDS[:3], "n00000007"]}, "'n00000007' is at no leaf"),
        ({"wnids": WNIDS, "class_names": ["a"]}, "1 names do not fit 4 classes"),
        ({"class_names": ["dog", "cat", "car", "lorry"]}, "'lorry' is at no leaf"),
    ],
)
def test_other_classes_are_refused(given, message):
    with pytest.raises(HierarchyError, match=message):
        read_hierarchy(TOY, **given)
