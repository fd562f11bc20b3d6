"""The NBDT experiments, on made-up images of a network that knows its classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.explain.wordnet import DEBIAN, NOUNS

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
    return centres, script("resnet20").Images(features, 10 * features @ centres.T, labels)


def test_the_network_has_the_published_size(script):
    network = script("resnet20").ResNet()
    assert sum(p.numel() for p in network.parameters()) == 269_722
    x = torch.randn(2, 3, 32, 32)
    assert network.eval()(x).shape == (2, 10)
    assert torch.allclose(network.linear(network.features(x)), network(x))


def test_the_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros(script):
    block = script("resnet20").Block(16, 32).eval()
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
