"""The weighted objectives against the plain one's pairs, and where their weights come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas_ray.errors import DataMissingError, ObjectiveError, TaskError
from xnas_ray.explain import wordnet
from xnas_ray.explain.similarities import write_matrix
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.introspectability import Introspectability, IntrospectabilityObjective
from xnas_ray.objectives.weighted_introspectability import (
    WeightedIntrospectability,
    WeightedMeanIntrospectability,
    task_weights,
)
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.testing.objective_case import ObjectiveTestCase
from xnas_ray.testing.tiny import tiny_trained
from xnas_ray.training.trained import TrainedCandidate

SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"
WEIGHTS = np.array([[1.0, 0.25], [0.25, 1.0]])


def weighted(trained: TrainedCandidate, similarities=WEIGHTS) -> TrainedCandidate:
    trained.problem = dataclasses.replace(trained.problem, class_similarities=similarities)
    return trained


class TestWeighted(ObjectiveTestCase):
    def make_objective(self) -> Objective:
        return WeightedIntrospectability(group_by="label")

    def make_trained(self, kind: str) -> TrainedCandidate:
        return weighted(tiny_trained(kind))


class TestWeightedMean(TestWeighted):
    def make_objective(self) -> Objective:
        return WeightedMeanIntrospectability(group_by="label")


def test_both_are_the_plain_one_of_two_classes():
    trained = weighted(tiny_trained())
    plain = IntrospectabilityObjective(group_by="label").measure(trained)
    assert WeightedIntrospectability(group_by="label").measure(trained) == pytest.approx(0.25 * plain)
    assert WeightedMeanIntrospectability(group_by="label").measure(trained) == pytest.approx(plain)


def test_both_equal_their_definitions():
    generator = np.random.default_rng(0)
    sums, weights = generator.random((6, 40)), generator.random((6, 6))
    weights += weights.T
    numbers = (0, 1, 2, 4)  # classes 3 and 5 are not predicted
    kept = sums[list(numbers)]
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    distance = {(a, b): 1 - kept[a] @ kept[b] / np.linalg.norm(kept[a]) / np.linalg.norm(kept[b]) for a, b in pairs}
    weight = {(a, b): weights[numbers[a], numbers[b]] for a, b in pairs}
    total = sum(weight[p] * distance[p] for p in pairs)
    found = Introspectability(numbers, {"layer": kept @ kept.T}, weights[np.ix_(numbers, numbers)])
    assert found.score == pytest.approx(total / len(pairs))
    normalised = dataclasses.replace(found, normalised=True)
    assert normalised.score == pytest.approx(total / sum(weight.values()))


def test_equal_weights_give_the_plain_mean():
    gram = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 3.0]])
    plain = Introspectability((0, 1, 2), {"layer": gram})
    same = Introspectability((0, 1, 2), {"layer": gram}, np.full((3, 3), 0.2), normalised=True)
    assert same.score == pytest.approx(plain.score)


def test_weights_that_are_all_zero_give_zero():
    gram = np.array([[2.0, 1.0], [1.0, 2.0]])
    for normalised in (False, True):
        assert Introspectability((0, 1), {"layer": gram}, np.zeros((2, 2)), normalised=normalised).score == 0.0


def test_tables_have_the_weights():
    trained, objective = weighted(tiny_trained()), WeightedIntrospectability(group_by="label")
    value = objective.measure(trained)
    tables = objective.tables(trained)
    assert set(tables) == {"introspectability_layers", "introspectability_pairs"}
    pairs = tables["introspectability_pairs"]
    assert pairs["weight"].tolist() == [0.25]
    assert (pairs["weight"] * pairs["distance"]).mean() == pytest.approx(value)


# ---- where weights come from -----------------------------------------------------------------------------------------


@pytest.fixture
def small_wordnet(monkeypatch):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))


def data(*classes: str, wnids: tuple[str, ...] | None = None) -> Data:
    split = Split(torch.zeros(len(classes), 2), torch.arange(len(classes)))
    return Data(split, split, split, classes=classes, wnids=wnids)


def test_wordnet_by_the_names_of_the_classes(small_wordnet):
    found = task_weights(Problem(), data("dog", "cat", "car"))
    assert found[0].tolist() == pytest.approx([1, 1 / 3, 1 / 5])
    assert task_weights(Problem(class_similarities="wup"), data("dog", "cat"))[0, 1] == pytest.approx(2 / 3)


def test_wnids_come_before_names(small_wordnet):
    found = task_weights(Problem(), data("crane", "chat", wnids=("n00000007", "n00000005")))
    assert found[0, 1] == pytest.approx(1 / 4)


def test_names_with_several_meanings_are_refused_before_anything_is_trained(small_wordnet):
    with pytest.raises(ObjectiveError, match=r"'crane' has 2 meanings.*n00000007.*Data\(wnids=\.\.\.\)"):
        WeightedIntrospectability().check_data(Problem(), data("crane", "cat"))


def test_a_search_may_name_another_measure_than_the_task(small_wordnet):
    animals = data("dog", "cat", "car")
    objective = WeightedIntrospectability(measure="wup")
    objective.check_data(Problem(class_similarities=np.eye(3)), animals)
    assert objective._weights[animals][0].tolist() == pytest.approx([1, 2 / 3, 1 / 3])
    with pytest.raises(ObjectiveError, match="Did you mean 'wup'") as caught:
        WeightedMeanIntrospectability(measure="wupp")
    assert caught.value.field == "introspectability_weighted_mean.measure"


def test_numbers_are_no_words(small_wordnet):
    with pytest.raises(ObjectiveError, match=r"called by numbers.*Data\(wnids=\.\.\.\)"):
        task_weights(Problem(), data("1", "2", "3"))
    assert task_weights(Problem(), data("1", "2", wnids=("n00000004", "n00000005"))).shape == (2, 2)


def test_a_file_is_put_into_the_order_of_the_classes(tmp_path):
    names = ("cat", "dog", "car")
    matrix = np.array([[1, 0.5, 0.1], [0.5, 1, 0.2], [0.1, 0.2, 1]])
    write_matrix(tmp_path / "w.csv", matrix, names)
    problem = Problem(class_similarities=tmp_path / "w.csv")
    assert task_weights(problem, data("dog", "car", "cat"))[0].tolist() == pytest.approx([1, 0.2, 0.5])
    with pytest.raises(ObjectiveError, match="about other classes"):
        task_weights(problem, data("dog", "car", "bird"))


def test_a_matrix_must_fit_the_classes():
    with pytest.raises(ObjectiveError, match="weights of 2 classes, and 3 classes") as caught:
        task_weights(Problem(class_similarities=WEIGHTS), data("a", "b", "c"))
    assert caught.value.field == "Problem.class_similarities"
    with pytest.raises(ObjectiveError, match="one way and"):
        task_weights(Problem(class_similarities=[[1, 2], [3, 1]]), data("a", "b"))


def test_without_wordnet_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    for name in ("XNAS_DATA", "WNSEARCHDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    with pytest.raises(DataMissingError, match="wordnet-base"):
        task_weights(Problem(), data("dog", "cat"))


def test_wrong_settings_are_refused_where_the_problem_is_made(tmp_path):
    with pytest.raises(TaskError, match="Did you mean 'path'"):
        Problem(class_similarities="paths")
    with pytest.raises(TaskError, match="there is no file"):
        Problem(class_similarities=tmp_path / "absent.csv")


def test_wnids_must_fit_the_classes():
    with pytest.raises(TaskError, match="1 wnids do not fit"):
        data("dog", "cat", wnids=("n00000004",))
