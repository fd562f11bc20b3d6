"""The tree itself: its order, its checks, its names."""

from __future__ import annotations

import pytest

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node, classes_name, grow


def pets() -> Hierarchy:
    """``((cat, dog), (car, truck, ship))``."""
    cat, dog, car, truck, ship = (Node.leaf(name) for name in ("cat", "dog", "car", "truck", "ship"))
    root = Node.over([Node.over([cat, dog]), Node.over([car, truck, ship], "vehicle", "n04524313")])
    return Hierarchy(root, ("car", "cat", "dog", "ship", "truck"))


def test_nodes_come_before_what_is_below_them():
    found = pets()
    assert [node.name for node in found.nodes] == [
        "cat / dog / … (5 classes)",
        "cat / dog",
        "cat",
        "dog",
        "vehicle",
        "car",
        "truck",
        "ship",
    ]
    assert [depth for _, depth in found.walk()] == [0, 1, 2, 2, 1, 2, 2, 2]
    assert found.depth == 2
    assert found.children[0] == [1, 4] and found.children[4] == [5, 6, 7] and found.children[7] == []
    assert found.nodes[4].leaves == ("car", "truck", "ship") and found.nodes[4].wnid == "n04524313"
    assert str(found).splitlines()[4] == "  vehicle"
    assert repr(found) == "<Hierarchy of 5 classes, 8 nodes, depth 2>"


def test_groups_without_a_name_are_called_by_their_classes():
    assert classes_name(["a"]) == "a"
    assert classes_name(["a", "b", "c"]) == "a / b / c"
    assert classes_name(["a", "b", "c", "d"]) == "a / b / … (4 classes)"


def test_the_smallest_node_with_some_classes():
    found = pets()
    assert found.smallest("ship", "car") is found.nodes[4]
    assert found.smallest("ship", "cat") is found.root
    assert found.smallest("dog").is_leaf
    with pytest.raises(HierarchyError, match="Did you mean 'truck'"):
        found.smallest("trucks")


def test_users_name_nodes_by_their_classes():
    found = pets().renamed({("dog", "cat"): "pet", ("car", "cat", "dog", "ship", "truck"): "thing"})
    assert [node.name for node in found.nodes if not node.is_leaf] == ["thing", "pet", "vehicle"]
    assert found.nodes[4].wnid == "n04524313"
    with pytest.raises(HierarchyError, match=r"\['car', 'ship'\].*has also truck"):
        pets().renamed({("car", "ship"): "large"})
    with pytest.raises(HierarchyError, match="no decision"):
        pets().renamed({("car",): "auto"})


@pytest.mark.parametrize(
    ("leaves", "classes", "message"),
    [
        (["a", "b"], ["a"], "1 classes leave nothing to decide"),
        (["a", "b"], ["a", "a"], "two classes are called 'a'"),
        (["a", "b", "a"], ["a", "b"], "'a' is at two leaves"),
        (["a", "b"], ["a", "b", "c"], "'c' is at no leaf"),
        (["a", "b", "c"], ["a", "b"], "leaf 'c' is no class"),
    ],
)
def test_what_is_no_hierarchy_is_refused(leaves, classes, message):
    with pytest.raises(HierarchyError, match=message):
        Hierarchy(Node.over([Node.leaf(name) for name in leaves]), tuple(classes))


def test_a_node_with_one_child_decides_nothing():
    inner = Node("alone", ("a", "b"), (Node.over([Node.leaf("a"), Node.leaf("b")]),))
    with pytest.raises(HierarchyError, match="single child"):
        Hierarchy(inner, ("a", "b"))


def test_a_chain_of_a_thousand_nodes_is_not_too_deep():
    names = tuple(f"c{i}" for i in range(1001))
    children = {i: [f"c{i}", i + 1] for i in range(999)} | {999: ["c999", "c1000"]}
    root = grow(0, children, lambda key, below: Node.over(below) if below else Node.leaf(str(key)))
    found = Hierarchy(root, names)
    assert found.depth == 1000 and len(found.nodes) == 2001
    assert found.mapped(lambda node: ("x", None)).root.name == "x"


def test_many_classes_are_checked_in_time_that_grows_with_them():
    class Counted(str):
        hashed = 0

        def __hash__(self) -> int:
            Counted.hashed += 1
            return str.__hash__(self)

    names = [f"c{i}" for i in range(200)]
    root = Node.over([Node.leaf(Counted(name)) for name in names])
    Hierarchy(root, tuple(names))
    assert Counted.hashed < 10 * len(names), "ten thousand classes took as many sets of ten thousand"
