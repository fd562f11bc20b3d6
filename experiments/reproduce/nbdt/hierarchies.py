"""Which hierarchy a trained network decides along best (Table 5.2 of the thesis), without any further training.

``XNAS_DATA=data python experiments/reproduce/nbdt/hierarchies.py`` reads a ResNet-20, 5,000 training and 2,000 test
images of CIFAR-10 and the ids of the classes in WordNet. Trees of features are grown on the training images; accuracies
are those on the test images. ``lost`` and ``won`` count the images that the network or the tree alone gets right by
soft inference: their difference is the gap, and the root of their sum its standard error, in images. ``beside induced``
counts likewise the images that the induced tree or this one alone gets right. ``triples`` and ``RF`` compare the tree
with WordNet's: the share of triples of classes resolved alike, and the Robinson-Foulds distance.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import torch
from resnet20 import Images, class_names, seen, trained_network
from trainings import spread

from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.explain.induced_hierarchy import induced_hierarchy, random_hierarchy
from xnas_ray.explain.split_hierarchy import information_gain_hierarchy, oblique_hierarchy
from xnas_ray.explain.tree_agreement import robinson_foulds, triples_agreement
from xnas_ray.explain.wordnet_hierarchy import named_by_wordnet, wordnet_hierarchy
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.networks.final_layer import final_layer
from xnas_ray.objectives.tree_outcome import TreeOutcome

HEADER = (
    "| hierarchy | depth | soft, % | lost / won | beside induced | hard, % | path entropy | triples | RF |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def hierarchies(
    weights: torch.Tensor, train: Images, names: tuple[str, ...], wnids: tuple[str, ...], seed: int
) -> dict[str, Hierarchy]:
    """Every tree that is compared, by what it is called in the table; random ones apart."""
    features, labels = train.features.numpy(), train.labels.numpy()
    return {
        "induced": induced_hierarchy(weights.numpy(), names),
        "induced, rows as they are": induced_hierarchy(weights.numpy(), names, normalize=False),
        "WordNet": wordnet_hierarchy(wnids, names),
        "information gain": information_gain_hierarchy(features, labels, names),
        "oblique": oblique_hierarchy(features, labels, names, seed=seed),
    }


def right_by(tree: Hierarchy, images: Images) -> torch.Tensor:
    """Which images a tree predicts by soft inference, bool ``n``."""
    return DecisionRules(tree).soft(images.logits) == images.labels


def alone(first: torch.Tensor, second: torch.Tensor) -> str:
    """How many images only the first gets right, and how many only the second."""
    return f"{int((first & ~second).sum())} / {int((second & ~first).sum())}"


def line(name: str, tree: Hierarchy, trees: Mapping[str, Hierarchy], test: Images) -> str:
    """A line of the table."""
    found, right = TreeOutcome(tree, test.logits, test.labels), right_by(tree, test)
    cells = (
        f"{tree.depth}",
        f"{found.soft_accuracy:.2f}",
        alone(test.logits.argmax(dim=1) == test.labels, right),
        alone(right_by(trees["induced"], test), right),
        f"{found.hard_accuracy:.2f}",
        f"{found.path_entropy():.3f}",
        f"{triples_agreement(tree, trees['WordNet']):.3f}",
        f"{robinson_foulds(tree, trees['WordNet']):.2f}",
    )
    return f"| {name} | {' | '.join(cells)} |"


def random_line(trees: Mapping[str, Hierarchy], test: Images, count: int) -> str:
    """Mean and standard deviation of trees without any reason."""
    names = trees["WordNet"].class_names
    drawn = [random_hierarchy(names, seed=seed) for seed in range(count)]
    found = [TreeOutcome(tree, test.logits, test.labels) for tree in drawn]

    cells = (
        str(max(tree.depth for tree in drawn)),
        spread([one.soft_accuracy for one in found], 2),
        "",
        "",
        spread([one.hard_accuracy for one in found], 2),
        spread([one.path_entropy() for one in found], 3),
        spread([triples_agreement(tree, trees["WordNet"]) for tree in drawn], 3),
        spread([robinson_foulds(tree, trees["WordNet"]) for tree in drawn], 2),
    )
    return f"| random, {count} seeds | {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the oblique tree's random hyperplanes")
    parser.add_argument("--random", type=int, default=10, help="random trees")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network = trained_network()
    names, wnids = class_names()
    train, test = seen(network, "train"), seen(network, "test")
    trees = hierarchies(final_layer(network, classes=len(names)).weight, train, names, wnids, given.seed)
    right = int((test.logits.argmax(dim=1) == test.labels).sum())
    print(
        f"The network is right on {right} of {len(test.labels)} test images, {100 * right / len(test.labels):.2f} %.\n"
    )
    print(HEADER)
    for name, tree in trees.items():
        print(line(name, tree, trees, test))
    print(random_line(trees, test, given.random))
    for name in ("induced", "information gain", "oblique"):
        print(f"\n{name}:\n\n{named_by_wordnet(trees[name], wnids)}")


if __name__ == "__main__":
    main()
