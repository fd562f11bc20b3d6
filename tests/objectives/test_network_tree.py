"""Trees of networks and tasks: read off weights, looked up in WordNet, and through a checkpoint and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas_ray.errors import DataMissingError, HierarchyError, SpecError
from xnas_ray.explain import wordnet
from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.explain.wordnet_hierarchy import wordnet_hierarchy
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.objectives.network_tree import TaskTrees, induced_tree
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.splits import split_tensors
from xnas_ray.testing.tiny import TinySpace, tiny_data
from xnas_ray.training.build import build_network
from xnas_ray.training.recipe import Recipe

SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"
ANIMALS = ("dog", "cat", "car", "derrick")
WNIDS = ("n00000004", "n00000005", "n00000006", "n00000008")
CPU, SOFT, BY_WORDNET = (
    torch.device("cpu"),
    Recipe(tree_loss="soft"),
    Recipe(tree_loss="soft", tree_hierarchy="wordnet"),
)


@pytest.fixture(autouse=True)
def small_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))


def data_of(classes: tuple[str, ...] = ANIMALS, wnids: tuple[str, ...] | None = WNIDS) -> Data:
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return Data(*split_tensors([x], torch.arange(60) % len(classes), seed=0), classes=classes, wnids=wnids)


def network(data: Data) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(TinySpace(), (1, 1, 0), data.data_shape)


def groups(tree: Hierarchy) -> list[tuple[str, ...]]:
    return [node.leaves for node in tree.nodes]


@pytest.mark.parametrize("training", [True, False])
def test_a_tree_is_that_of_the_last_layer_and_leaves_the_network_alone(training):
    data = data_of()
    model = network(data).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    tree = TaskTrees(data, SOFT, CPU).tree(model)
    rows = model.head.weight.detach().numpy()
    assert groups(tree) == groups(induced_hierarchy(rows, ANIMALS))
    assert tree.smallest("dog").wnid == "n00000004", "named where the task has wnids"
    assert torch.equal(torch.get_rng_state(), state) and all(m.training is training for m in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        model.head.weight.copy_(model.head.weight.flip(0))
    assert groups(TaskTrees(data, SOFT, CPU).tree(model)) != groups(tree)


def test_parameters_of_the_clustering_reach_it():
    data = data_of(tuple("abcdefghij"), None)
    model = network(data)
    with torch.no_grad():
        model.head.weight.mul_(torch.linspace(0.1, 9, 10)[:, None])
    trees = {
        str(induced_tree(model, data, SOFT, CPU, linkage=linkage, normalize=normalize))
        for linkage in ("ward", "single")
        for normalize in (True, False)
    }
    assert len(trees) == 4
    with pytest.raises(HierarchyError, match="'body'"):
        induced_tree(model, data, SOFT, CPU, layer="body")


@pytest.mark.parametrize("named", [True, False])
def test_json_gives_the_same_decisions_bit_for_bit(random_tree, named):
    for seed in range(20):
        tree = random_tree(9, seed)
        if named:
            tree = tree.mapped(lambda node: ("one name", "n00000001"))
        trees = TaskTrees(data_of(tree.class_names, None), SOFT, CPU)
        back = trees.from_json(json.loads(json.dumps(trees.to_json(tree))))
        assert str(back) == str(tree) and back.class_names == tree.class_names and groups(back) == groups(tree)
        logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(DecisionRules(back)(logits), DecisionRules(tree)(logits))
        assert [node.wnid for node in back.nodes] == [node.wnid for node in tree.nodes]


def test_the_tree_of_wordnet_is_the_same_for_all_networks():
    data = data_of()
    trees = TaskTrees(data, BY_WORDNET, CPU)
    assert str(trees.tree(network(data))) == str(wordnet_hierarchy(WNIDS, ANIMALS))
    by_name = TaskTrees(data_of(wnids=None), BY_WORDNET, CPU)
    assert str(by_name.tree(torch.nn.Identity())) == str(wordnet_hierarchy(WNIDS, ANIMALS))


def test_without_tree_loss_there_are_none():
    assert TaskTrees.of(Recipe(), data_of()) is None and TaskTrees.of(SOFT, data_of()) is not None


@pytest.mark.parametrize(
    ("data", "recipe", "told"),
    [
        (data_of(("dog",), None), SOFT, r"recipe\.tree_loss: .*1 classes"),
        (data_of(("dog", "cat", "dog"), None), SOFT, r"recipe\.tree_loss: .*called 'dog'"),
        (tiny_data("regression"), SOFT, r"recipe\.tree_loss: .*this task has none"),
        (data_of(tuple("01234"), None), BY_WORDNET, r"recipe\.tree_hierarchy: .*called by numbers.*wnids"),
        (data_of(("dog", "crane", "car", "cat"), None), BY_WORDNET, r"recipe\.tree_hierarchy: .*2 meanings"),
        (data_of(wnids=(*WNIDS[:3], "n99999999")), BY_WORDNET, r"recipe\.tree_hierarchy: .*n99999999"),
    ],
)
def test_what_has_no_tree_is_told(data, recipe, told):
    with pytest.raises(SpecError, match=told):
        TaskTrees.of(recipe, data)


def test_wordnet_must_be_there(monkeypatch, tmp_path):
    monkeypatch.delenv("WNSEARCHDIR")
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    with pytest.raises(DataMissingError, match="wordnet-base"):
        TaskTrees.of(BY_WORDNET, data_of())
    tree = TaskTrees(data_of(), SOFT, CPU).tree(network(data_of()))
    assert tree.root.wnid is None, "an induced one costs its names alone"


def test_a_dead_class_is_told():
    data = data_of()
    model = network(data)
    with torch.no_grad():
        model.head.weight[1] = 0
    with pytest.raises(HierarchyError, match="row of 'cat' is zero"):
        TaskTrees(data, SOFT, CPU).tree(model)
    assert isinstance(induced_tree(model, data, SOFT, CPU, normalize=False), Hierarchy)
    assert np.isfinite(model.head.weight.detach().numpy()).all()
