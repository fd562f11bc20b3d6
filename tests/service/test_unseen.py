"""Stored networks on the data of another task."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas_ray.errors import ExplanationError, StoreError, TaskError
from xnas_ray.explain import wordnet
from xnas_ray.explain.tree_table import tree_of_trial
from xnas_ray.service.archive import stored_card, trial_records
from xnas_ray.service.resolve import open_search
from xnas_ray.service.unseen import unseen_meanings, unseen_outputs
from xnas_ray.store import load_explanations
from xnas_ray.store.tree_samples import load_tree_samples
from xnas_ray.tasks.loading import load_task
from xnas_ray.training.checkpoint import CheckpointError

SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"


@pytest.fixture
def with_wordnet(monkeypatch):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))


def outputs(tree_store, task: str = "other", trial: int = 1, **asked):
    return unseen_outputs(tree_store.root, tree_store.search_id, trial, str(tree_store.folder / task), asked)


def test_the_stored_network_sees_the_test_split_of_the_other_task(tree_store):
    found = outputs(tree_store)
    search = open_search(tree_store.root, stored_card(tree_store.root, tree_store.search_id))
    (record,) = (r for r in trial_records(tree_store.root, tree_store.search_id) if r["trial"] == 1)
    model = search.space.build(tuple(record["genotype"]), search.shape)
    model.load_state_dict(torch.load(tree_store.root / record["artifacts"] / "weights.pt", weights_only=True))
    data = load_task(str(tree_store.folder / "other")).load_data()
    with torch.no_grad():
        expected = model.eval()(*data.test.inputs)
    assert np.allclose(found.logits, expected.numpy(), atol=1e-6)
    assert found.targets.tolist() == data.test.targets.tolist()
    assert found.classes == ("crane", "wagon", "Rex") and found.own_classes[:3] == ("dog", "cat", "car")


def test_on_its_own_task_it_says_what_the_samples_say(tree_store):
    """The samples of the tree are of the validation split: there the network's class is known."""
    search = open_search(tree_store.root, stored_card(tree_store.root, tree_store.search_id))
    samples = load_tree_samples(tree_store.root, tree_store.search_id, 1)
    data = search.task.load_data()
    assert samples.target.tolist() == data.validation.targets[samples.sample].tolist()
    own = outputs(tree_store, "own")
    accuracy = (own.logits.argmax(axis=1) == own.targets).mean()
    assert accuracy > 0.7, "rows of pixels are easy"


def test_what_nodes_stand_for(tree_store, with_wordnet):
    unseen = outputs(tree_store)
    table = load_explanations(tree_store.root, "decision_tree", tree_store.search_id)
    found = unseen_meanings(tree_of_trial(table, 1), unseen)
    rows = found.superclasses.set_index("hypothesis")
    assert {"animal", "vehicle"} == set(rows.index[0].split(" / ")) and len(rows) == 1
    assert rows["classes"].item() == 2, "a dog called Rex is not unseen"
    assert rows["samples"].item() == int((unseen.targets < 2).sum())
    assert rows["tree"].item() > 0.8 and set(found.children["child"]) == {"animal", "vehicle"}


def test_a_users_words_and_none(tree_store, with_wordnet, monkeypatch, tmp_path):
    unseen = outputs(tree_store)
    tree = tree_of_trial(load_explanations(tree_store.root, "decision_tree", tree_store.search_id), 1)
    names = tree["name"][tree["parent"] == 0].tolist()
    sides = {"animal": "crane+Rex", "vehicle": "wagon"}
    text = "0=" + ",".join(sides[name] for name in names)
    given = unseen_meanings(tree, unseen, [text])
    assert given.superclasses["samples"].item() == len(unseen.targets), "named classes count, seen or not"
    monkeypatch.delenv("WNSEARCHDIR")
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    assert unseen_meanings(tree, unseen, [text]).classes["class"].tolist() == ["crane", "wagon", "Rex"]
    with pytest.raises(ExplanationError, match=r"no WordNet.*--hypothesis"):
        unseen_meanings(tree, unseen)


def test_a_class_that_wordnet_has_not_costs_names_only(tree_store, with_wordnet):
    """A task may have its wnids from a later WordNet: the tree was stored without names, and is tested without."""
    unseen = dataclasses.replace(outputs(tree_store), own_wnids=("n00000004", "n00000005", "n00000006", "n99999999"))
    tree = tree_of_trial(load_explanations(tree_store.root, "decision_tree", tree_store.search_id), 1)
    found = unseen_meanings(tree, unseen, ["0=crane,wagon"])
    assert found.classes["class"].tolist() == ["crane", "wagon"]


def test_what_cannot_be_asked(tree_store, tmp_path):
    with pytest.raises(TaskError, match="are 1 x 5 x 5, those of the network 1 x 4 x 4"):
        outputs(tree_store, side=5)
    with pytest.raises(TaskError, match="regression"):
        unseen_outputs(tree_store.root, tree_store.search_id, 1, "diabetes")
    with pytest.raises(StoreError, match="no finished trial 99"):
        outputs(tree_store, trial=99)
    copy = tmp_path / "copy"
    shutil.copytree(tree_store.folder, copy)
    (weights,) = (copy / "store" / "artifacts").glob(f"{tree_store.search_id}/1/*/weights.pt")
    weights.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot read the weights"):
        unseen_outputs(copy / "store", tree_store.search_id, 1, str(copy / "other"))
    weights.unlink()
    with pytest.raises(StoreError, match=r"no weights are kept.*keep_weights"):
        unseen_outputs(copy / "store", tree_store.search_id, 1, str(copy / "other"))
