"""Objectives of the induced tree against loops over samples, and on networks that know their classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xnas_ray.errors import DataMissingError, ObjectiveError
from xnas_ray.explain import wordnet
from xnas_ray.explain.induced_hierarchy import induced_hierarchy, random_hierarchy
from xnas_ray.explain.tree_agreement import robinson_foulds, triples_agreement
from xnas_ray.explain.wordnet_hierarchy import wordnet_hierarchy
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.decision_tree import (
    DecisionTreeObjective,
    HardTreeAccuracy,
    PathEntropy,
    TreeAccuracy,
    TreeGap,
    WordNetAgreement,
)
from xnas_ray.objectives.tree_outcome import TreeOutcome
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.splits import split_tensors
from xnas_ray.testing.objective_case import ObjectiveTestCase
from xnas_ray.testing.tiny import tiny_problem, tiny_trained
from xnas_ray.training.trained import TrainedCandidate

SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"
ANIMALS = ("dog", "cat", "car", "derrick")
WNIDS = ("n00000004", "n00000005", "n00000006", "n00000008")


class TestTreeAccuracy(ObjectiveTestCase):
    def make_objective(self) -> Objective:
        return TreeAccuracy()


class TestHardTreeAccuracy(ObjectiveTestCase):
    def make_objective(self) -> Objective:
        return HardTreeAccuracy()


class TestTreeGap(ObjectiveTestCase):
    def make_objective(self) -> Objective:
        return TreeGap()


class TestPathEntropy(ObjectiveTestCase):
    def make_objective(self) -> Objective:
        return PathEntropy(of="mean")


class TestWordNetAgreement(ObjectiveTestCase):
    @pytest.fixture(autouse=True)
    def small(self, small_wordnet: None) -> None:
        pass

    def make_objective(self) -> Objective:
        return WordNetAgreement()

    def make_trained(self, kind: str) -> TrainedCandidate:
        return four_classes() if kind == "classification" else tiny_trained(kind)


@pytest.fixture
def small_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))


def data_of(classes: tuple[str, ...], wnids: tuple[str, ...] | None = None) -> Data:
    """Clouds of six features: the first two classes lie near each other, the others near each other."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 4
    centres = rng.normal(size=(4, 6)) + np.array([3.0, 3.0, -3.0, -3.0])[:, None] * rng.normal(size=6)
    x = torch.from_numpy((centres[labels] + rng.normal(size=(240, 6))).astype(np.float32))
    return Data(*split_tensors([x], torch.from_numpy(labels % len(classes)), seed=0), classes=classes, wnids=wnids)


def four_classes(classes: tuple[str, ...] = ANIMALS, wnids: tuple[str, ...] | None = WNIDS) -> TrainedCandidate:
    """The tiny network of two classes, given four and another last layer by hand."""
    trained, data = tiny_trained(), data_of(classes, wnids)
    generator = torch.Generator().manual_seed(3)
    head = torch.nn.Linear(trained.model.head.in_features, 4)
    with torch.no_grad():
        features = trained.model.body(data.train.inputs[0])
        means = torch.stack([features[data.train.targets == k].mean(0) for k in range(4)])
        centred = means - means.mean(0)
        head.weight.copy_(centred + 0.01 * torch.randn(centred.shape, generator=generator))
        head.bias.copy_(-(centred * means).sum(1) / 2)
        trained.model.head = head
        outputs = trained.model(*data.validation.inputs)
    return replace(trained, data=data, outputs=outputs, targets=data.validation.targets)


def outcome(trained: TrainedCandidate) -> TreeOutcome:
    return TreeAccuracy().outcome(trained)


def test_accuracies_are_counted_over_the_validation_split():
    trained = four_classes()
    tree = induced_hierarchy(trained.model.head.weight.detach().numpy(), ANIMALS)
    found = outcome(trained)
    assert str(found.hierarchy.mapped(lambda n: ("x", None))) == str(tree.mapped(lambda n: ("x", None)))
    soft, hard, network = [], [], []
    for row, target in zip(trained.outputs, trained.targets.tolist(), strict=True):
        soft.append(int(found.rules.soft(row[None])) == target)
        hard.append(int(found.rules.hard(row[None])) == target)
        network.append(int(row.argmax()) == target)
    assert TreeAccuracy().measure(trained) == pytest.approx(100 * np.mean(soft))
    assert HardTreeAccuracy().measure(trained) == pytest.approx(100 * np.mean(hard))
    assert TreeGap().measure(trained) == pytest.approx(100 * (np.mean(network) - np.mean(soft)))
    assert np.mean(soft) > 0.6, "the made-up head knows its classes"


def test_path_entropies_are_means_over_samples():
    trained = four_classes()
    ranges, means = [], []
    for row in trained.outputs:
        steps = outcome(trained).rules.decisions(row[None], hard=True).of(0)
        entropies = [step.entropy for step in steps[:-1]]
        ranges.append(max(entropies) - min(entropies))
        means.append(np.mean(entropies))
    assert PathEntropy().measure(trained) == pytest.approx(np.mean(ranges), abs=1e-6)
    assert PathEntropy(of="mean").measure(trained) == pytest.approx(np.mean(means), abs=1e-6)


def test_entropies_and_visits_are_those_of_the_hard_paths(random_tree):
    tree, generator = random_tree(8, 3), torch.Generator().manual_seed(0)
    found = TreeOutcome(tree, torch.randn(60, 8, generator=generator), torch.arange(60) % 8)
    soft, hard = found.rules.soft(found.logits), found.rules.hard(found.logits)
    assert not torch.equal(soft, hard), "else this tells nothing"
    steps = found.rules.decisions(found.logits, hard=True)
    assert found.path_entropy() == pytest.approx(steps.path_entropy.double().mean().item())
    assert found.path_entropy("mean") == pytest.approx(steps.mean_entropy.double().mean().item())
    table = found.per_node()
    leaves = table[table["classes"] == 1].set_index("leaves")["visits"]
    assert [leaves[name] for name in tree.class_names] == torch.bincount(hard, minlength=8).tolist()
    assert found.hard_accuracy == pytest.approx(100 * (hard == found.targets).double().mean().item())
    assert found.soft_accuracy == pytest.approx(100 * (soft == found.targets).double().mean().item())


def test_two_classes_decide_as_the_network_does():
    trained = tiny_trained()
    assert TreeGap().measure(trained) == 0.0
    assert TreeAccuracy().measure(trained) == pytest.approx(trained.metrics["val_accuracy"])
    assert PathEntropy().measure(trained) == 0.0


def test_the_table_of_nodes(small_wordnet, monkeypatch):
    trained = four_classes()
    monkeypatch.setattr("xnas_ray.objectives.tree_outcome._BATCH", 7)
    found = outcome(trained)
    table = TreeAccuracy().tables(trained)["decision_tree"]
    assert table["node"].tolist() == list(range(len(found.hierarchy.nodes))) and table["parent"][0] == -1
    assert set(table["name"]) >= {"animal", "vehicle"} and table.loc[0, "wnid"] == ""
    assert table.loc[0, "visits"] == len(trained.targets) and table.loc[0, "right"] == 1.0
    assert table.loc[table["name"] == "animal", "leaves"].item() in ("dog, cat", "cat, dog")
    inner = table[table["classes"] > 1]
    below = table.groupby("parent")["visits"].sum()
    assert [below[node] for node in inner["node"]] == inner["visits"].tolist(), "who goes on is counted below"
    leaves = table[table["classes"] == 1]
    hits = (leaves["right"] * [int((trained.targets == ANIMALS.index(name)).sum()) for name in leaves["name"]]).sum()
    assert 100 * hits / len(trained.targets) == pytest.approx(found.hard_accuracy)
    assert (leaves["entropy"].fillna(0) == 0).all()
    every = found.rules.decisions(trained.outputs, hard=True)
    assert table.loc[0, "entropy"] == pytest.approx(every.entropies[:, 0].mean().item(), rel=1e-5)


def test_agreement_with_wordnet(small_wordnet):
    trained = four_classes()
    objective = WordNetAgreement()
    reference = wordnet_hierarchy(WNIDS, ANIMALS)
    tree = objective.outcome(trained).hierarchy
    assert objective.measure(trained) == triples_agreement(tree, reference) == 1.0
    tables = objective.tables(trained)
    assert dict(tables["wordnet_agreement"].itertuples(index=False)) == {
        "triples": 1.0,
        "robinson_foulds": robinson_foulds(tree, reference),
    }
    assert isinstance(tables["decision_tree"], pd.DataFrame)
    crossed = four_classes(classes=("dog", "car", "cat", "derrick"), wnids=None)
    assert objective.measure(crossed) < 1.0


def test_classes_that_wordnet_cannot_place_are_refused_before_anything_is_trained(small_wordnet):
    problem = tiny_problem()
    for classes, message in (
        (("dog", "crane", "car", "cat"), "2 meanings"),
        (("0", "1", "2", "3"), "called by numbers"),
    ):
        with pytest.raises(ObjectiveError, match=message) as error:
            WordNetAgreement().check_data(problem, data_of(classes))
        assert error.value.field == "wordnet_agreement.classes"


@pytest.mark.parametrize("objective", [TreeAccuracy, TreeGap, PathEntropy, WordNetAgreement])
@pytest.mark.parametrize(("classes", "message"), [(("dog",), "1 classes"), (("dog", "cat", "dog"), "called 'dog'")])
def test_classes_that_make_no_tree_are_refused_before_anything_is_trained(small_wordnet, objective, classes, message):
    with pytest.raises(ObjectiveError, match=message) as error:
        objective().check_data(tiny_problem(), data_of(classes))
    assert error.value.field == f"{objective.name}.classes"


def test_without_wordnet_trees_have_no_names_and_agree_with_nothing(monkeypatch, tmp_path):
    for name in ("XNAS_DATA", "WNSEARCHDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    trained = four_classes()
    assert outcome(trained).hierarchy.root.name.endswith("(4 classes)")
    with pytest.raises(DataMissingError, match="wordnet-base"):
        WordNetAgreement().measure(trained)


def test_unknown_wnids_cost_names_only(small_wordnet):
    trained = four_classes(wnids=("n00000004", "n00000005", "n00000006", "n99999999"))
    assert outcome(trained).hierarchy.root.wnid is None
    assert TreeAccuracy().measure(trained) > 0


def test_objectives_of_one_candidate_share_a_tree():
    trained = four_classes()
    assert TreeGap().outcome(trained) is TreeAccuracy().outcome(trained)
    assert TreeGap(linkage="average").outcome(trained) is not TreeAccuracy().outcome(trained)
    assert TreeGap(layer="head").outcome(trained).hierarchy.class_names == ANIMALS


def test_the_tree_that_was_trained_along_is_measured():
    """Unless a parameter asks for the one that the weights hold."""
    induced, along = four_classes(), random_hierarchy(ANIMALS, seed=1)
    trained = replace(four_classes(), tree=along)
    assert outcome(trained).hierarchy is along and PathEntropy().outcome(trained) is outcome(trained)
    assert TreeGap().measure(trained) != TreeGap().measure(induced)
    held = str(outcome(induced).hierarchy)
    for asked in ({"tree": "induced"}, {"layer": "head"}, {"linkage": "average"}, {"normalize": False}):
        assert str(TreeGap(**asked).outcome(trained).hierarchy) == str(TreeGap(**asked).outcome(induced).hierarchy)
    assert str(PathEntropy(tree="induced").outcome(trained).hierarchy) == held
    assert TreeGap(tree="induced").outcome(trained) is TreeAccuracy(tree="induced").outcome(trained)


def test_agreement_of_the_tree_that_was_trained_along(small_wordnet):
    along = random_hierarchy(ANIMALS, seed=1)
    trained = replace(four_classes(), tree=along)
    assert WordNetAgreement().measure(trained) == triples_agreement(along, wordnet_hierarchy(WNIDS, ANIMALS)) < 1
    assert WordNetAgreement(tree="induced").measure(trained) == 1.0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: TreeGap(linkage="wards"), "nbdt_gap.linkage"),
        (lambda: WordNetAgreement(tree="wordnet"), "wordnet_agreement.tree"),
        (lambda: PathEntropy(of="sum"), "nbdt_path_entropy.of"),
        (lambda: TreeGap(layer="body").measure(tiny_trained()), "nbdt_gap.layer"),
    ],
)
def test_bad_parameters_are_named(make, field):
    with pytest.raises(ObjectiveError) as error:
        make()
    assert error.value.field == field


def test_a_dead_class_makes_no_tree():
    trained = four_classes()
    with torch.no_grad():
        trained.model.head.weight[1] = 0
    with pytest.raises(ObjectiveError, match="row of 'cat' is zero"):
        TreeGap().measure(trained)
    assert isinstance(TreeGap(normalize=False).measure(trained), float)


def test_the_base_is_no_objective_by_itself():
    assert issubclass(TreeGap, DecisionTreeObjective) and not hasattr(DecisionTreeObjective, "direction")
