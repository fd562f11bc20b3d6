"""The NBDT experiments, on made-up images of a network that knows its classes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.explain.wordnet import DEBIAN, NOUNS
from xnas_ray.messages import Candidate
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.spaces.base import Space
from xnas_ray.tasks.loading import LoadedTask, load_task
from xnas_ray.tasks.shown_images import shown_images
from xnas_ray.testing.space_case import SpaceTestCase
from xnas_ray.training.context import LocalContext

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nbdt"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WNIDS = (
    "n02691156",
    "n02958343",
    "n01503061",
    "n02121620",
    "n02430045",
    "n02084071",
    "n01639765",
    "n02374451",
    "n04194289",
    "n04490091",
)
needs_wordnet = pytest.mark.skipif(not (DEBIAN / NOUNS).is_file(), reason="Debian's wordnet-base is not installed")


def images(script, noise: float, count: int = 300):
    """Features around ten centres, and the logits of the centres as weights."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(10, 16, generator=generator), dim=1)
    labels = torch.arange(count) % 10
    features = centres[labels] + noise * torch.randn(count, 16, generator=generator)
    return centres, script("resnet20_cifar10.resnet20").Images(features, 10 * features @ centres.T, labels)


def test_the_network_has_the_published_size(script):
    network = script("resnet20_cifar10.resnet20").ResNet()
    assert sum(p.numel() for p in network.parameters()) == 269_722
    x = torch.randn(2, 3, 32, 32)
    assert network.eval()(x).shape == (2, 10)
    assert torch.allclose(network.linear(network.features(x)), network(x))


def test_the_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros(script):
    block = script("resnet20_cifar10.resnet20").Block(16, 32).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 16, 8, 8)
    found = block(x)
    assert torch.equal(found[:, 8:24], x[:, :, ::2, ::2]) and found[:, :8].abs().sum() == found[:, 24:].abs().sum() == 0


@needs_wordnet
def test_every_hierarchy_has_a_line(script):
    module = script("hierarchies")
    centres, seen = images(script, noise=0.1)
    trees = module.hierarchies(centres, seen, NAMES, WNIDS, seed=0)
    columns = module.HEADER.splitlines()[0].count("|")
    for name, tree in trees.items():
        found = module.line(name, tree, trees, seen)
        assert found.count("|") == columns and found.startswith(f"| {name} | ")
    assert "| 1.000 | 0.00 |" in module.line("WordNet", trees["WordNet"], trees, seen)
    assert " | 0 / 0 | " in module.line("induced", trees["induced"], trees, seen), "beside itself"
    assert module.random_line(trees, seen, 3).count("|") == columns


def test_images_that_one_alone_gets_right_are_counted(script):
    first, second = torch.tensor([[1, 1, 0, 0, 1], [1, 0, 1, 0, 0]], dtype=torch.bool)
    assert script("hierarchies").alone(first, second) == "2 / 1"


def test_a_tree_is_judged_by_its_soft_inference(script):
    module = script("hierarchies")
    centres, seen = images(script, noise=0.3)
    tree = induced_hierarchy(centres.numpy(), NAMES)
    probabilities = module.DecisionRules(tree)(seen.logits).exp()
    assert torch.equal(module.right_by(tree, seen), probabilities.argmax(dim=1) == seen.labels)
    assert 0.3 < module.right_by(tree, seen).float().mean() < 1


@pytest.fixture
def published(tmp_path, monkeypatch, script):
    """Files of a network with random weights, and a few images of noise, in the folder of the data."""
    resnet20 = script("resnet20_cifar10.resnet20")
    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in resnet20.ResNet().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / resnet20.WEIGHTS)
    rng = np.random.default_rng(0)
    splits = {f"X_{split}": rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(40) % 10 for split in ("train", "test")}
    np.savez(tmp_path / resnet20.IMAGES, classes=np.array(NAMES), **splits, **labels)
    (tmp_path / resnet20.WNIDS).write_text("\n".join(WNIDS))
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    return load_task(FOLDER / "resnet20_cifar10")


class TestWays(SpaceTestCase):
    task: LoadedTask

    @pytest.fixture(autouse=True)
    def _data(self, published):
        self.task = published

    def make_space(self) -> Space:
        return self.task.create_search_space()


def trained(task, way: str):
    space = task.create_search_space()
    genotype = space.parse(way)
    candidate = Candidate(0, genotype, space.recipe(genotype), 1, 1)
    return evaluate_candidate(
        problem=task.problem,
        space=space,
        candidate=candidate,
        objectives=create_objectives(["val_nbdt_accuracy"]),
        seed=1,
        context=LocalContext(),
        data=task.load_data(),
    ).trained


def test_as_published_is_as_published(published, script):
    network = script("resnet20_cifar10.resnet20").trained_network()
    found = trained(published, "as published").model
    assert all(
        torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(network.parameters(), found.parameters(), strict=True)
    )
    buffers = dict(network.named_buffers())
    assert all(torch.equal(b, buffers[name]) for name, b in found.named_buffers() if "running" in name)


def test_trees_are_those_of_the_published_weights(published, script):
    network = script("resnet20_cifar10.resnet20").trained_network()
    tree = induced_hierarchy(network.linear.weight.detach().numpy(), NAMES)
    assert trained(published, "labels alone").tree is None
    found = trained(published, "soft")
    assert [set(node.leaves) for node in found.tree.nodes] == [set(node.leaves) for node in tree.nodes]
    assert not torch.equal(found.model.linear.weight, network.linear.weight)


def test_images_come_back_as_they_were(published):
    data = published.load_data()
    with np.load(Path(os.environ["XNAS_DATA"]) / "cifar10_subset.npz") as arrays:
        assert np.array_equal(shown_images(data, data.validation, torch.arange(40)), arrays["X_test"])
