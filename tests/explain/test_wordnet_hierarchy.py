"""Trees of hypernyms, and names by the deepest common ancestor."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from xnas_ray.errors import HierarchyError, UnknownNameError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.explain.wordnet import DEBIAN, NOUNS, WordNet
from xnas_ray.explain.wordnet_hierarchy import deepest_common, named_by_wordnet, wordnet_hierarchy

SMALL = Path(__file__).parent / "small_wordnet"
needs_wordnet = pytest.mark.skipif(not (DEBIAN / NOUNS).is_file(), reason="Debian's wordnet-base is not installed")
CIFAR10 = {
    "airplane": "n02691156",
    "automobile": "n02958343",
    "bird": "n01503061",
    "cat": "n02121620",
    "deer": "n02430045",
    "dog": "n02084071",
    "frog": "n01639765",
    "horse": "n02374451",
    "ship": "n04194289",
    "truck": "n04490091",
}


@pytest.fixture(scope="module")
def small() -> WordNet:
    return WordNet(SMALL / NOUNS)


def test_the_tree_of_hypernyms_without_nodes_that_decide_nothing(small):
    # crane:2 is below bird, which decides nothing; the vehicles hang at one node.
    found = wordnet_hierarchy(["dog", "n00000007", "car", "crane:1"], wordnet=small)
    assert str(found).split("\n") == [
        "entity",
        "  animal",
        "    dog",
        "    crane",
        "  vehicle",
        "    car",
        "    Crane",
    ]
    assert found.class_names == ("dog", "crane", "car", "Crane")
    assert [node.wnid for node in found.nodes[:3]] == ["n00000001", "n00000002", "n00000004"]


def test_a_class_may_be_a_kind_of_another(small):
    found = wordnet_hierarchy(["n00000004", "n00000011", "n00000006"], ["any dog", "rex", "car"], wordnet=small)
    dogs = found.smallest("any dog", "rex")
    assert (dogs.name, dogs.wnid, dogs.leaves) == ("dog", "n00000004", ("any dog", "rex"))
    assert found.root.name == "entity"


def test_equal_words_are_told_apart(small):
    both = WordNet(SMALL / NOUNS)
    both.synsets["n00000008"] = both.synsets["n00000007"].__class__("n00000008", ("crane",), ("n00000003",), "lifts")
    found = wordnet_hierarchy(["n00000007", "n00000008", "n00000004"], wordnet=both)
    assert found.class_names == ("crane n00000007", "crane n00000008", "dog")


def test_bad_classes_are_named(small):
    with pytest.raises(UnknownNameError, match="crane"):
        wordnet_hierarchy(["dog", "crane"], wordnet=small)
    with pytest.raises(HierarchyError, match="called 'n00000004'"):
        wordnet_hierarchy(["dog", "n00000004"], wordnet=small)
    with pytest.raises(HierarchyError, match="3 names do not fit 2 wnids"):
        wordnet_hierarchy(["dog", "cat"], ["a", "b", "c"], wordnet=small)


def test_roots_must_be_shared(tmp_path):
    lines = ["00000001 03 n 01 one 0 000 | a", "00000002 03 n 01 two 0 000 | b"]
    (tmp_path / NOUNS).write_text("\n".join(lines))
    with pytest.raises(HierarchyError, match="share no hypernym"):
        wordnet_hierarchy(["one", "two"], wordnet=WordNet(tmp_path / NOUNS))


def pair_tree() -> Hierarchy:
    pairs = [Node.over([Node.leaf(a), Node.leaf(b)]) for a, b in (("dog", "cat"), ("car", "robot"))]
    return Hierarchy(Node.over(pairs), ("car", "cat", "dog", "robot"))


def test_nodes_are_called_by_the_deepest_common_ancestor(small):
    wnids = ["n00000006", "n00000005", "n00000004", "n00000012"]
    found = named_by_wordnet(pair_tree(), wnids, wordnet=small)
    names = [(node.name, node.wnid) for node in found.nodes if not node.is_leaf]
    everything = ("dog / cat / … (4 classes)", None)  # they are entities, which names nothing
    assert names == [everything, ("animal", "n00000002"), ("vehicle", "n00000003")]
    assert found.smallest("dog").wnid == "n00000004" and found.smallest("dog").name == "dog"
    assert str(named_by_wordnet(found, wnids, wordnet=small)) == str(found)


def test_users_names_stay_where_wordnet_has_none(small):
    wnids = [None, "n00000005", "n00000004", "n00000012"]
    own = pair_tree().renamed({("car", "robot"): "machine", ("dog", "cat"): "pet"})
    found = named_by_wordnet(own, wnids, wordnet=small)
    assert found.smallest("car", "robot").name == "machine"
    assert found.smallest("dog", "cat").name == "animal"
    with pytest.raises(HierarchyError, match="2 wnids do not fit 4 classes"):
        named_by_wordnet(own, wnids[:2], wordnet=small)


def test_the_deepest_of_several_common_ancestors(small):
    # Rex and the robot are dogs; the dog is a pet and an animal, and pet is the deeper one, by the longest way.
    assert deepest_common(small, ["n00000011", "n00000012"]) == "n00000004"
    assert deepest_common(small, ["n00000011", "n00000010"]) == "n00000010"
    assert deepest_common(small, ["n00000005", "n00000006"]) is None
    assert deepest_common(small, ["n00000005", None]) is None
    assert deepest_common(small, []) is None


@needs_wordnet
def test_cifar10_of_the_real_wordnet():
    found = wordnet_hierarchy(list(CIFAR10.values()), list(CIFAR10))
    assert found.root.name == "whole" and len(found.nodes) == 18  # as the graph that nbdt ships
    assert found.smallest("cat", "dog").name == "carnivore"
    assert found.smallest("deer", "horse").name == "ungulate"
    assert found.smallest("airplane", "ship").name == "craft"
    assert set(found.smallest("bird", "dog").leaves) == {"bird", "cat", "deer", "dog", "frog", "horse"}
    assert found.smallest("automobile", "truck").name == "motor vehicle"


@needs_wordnet
@pytest.mark.skipif(not os.environ.get("XNAS_DATA"), reason="XNAS_DATA names no folder with resnet20_cifar10.th")
def test_a_real_network_parts_vehicles_from_animals():
    import torch

    path = Path(os.environ["XNAS_DATA"]) / "resnet20_cifar10.th"
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    state = torch.load(path, weights_only=True, map_location="cpu")
    weights = state.get("state_dict", state)["module.linear.weight"].numpy()
    tree = induced_hierarchy(np.asarray(weights), list(CIFAR10))
    found = named_by_wordnet(tree, list(CIFAR10.values()))
    first, second = found.root.children
    assert {first.name, second.name} == {"vehicle", "vertebrate"}
    assert set(found.smallest("airplane", "truck").leaves) == {"airplane", "automobile", "ship", "truck"}
    assert all(node.wnid for node in found.nodes), "WordNet names every node"
