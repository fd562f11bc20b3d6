"""Images that could be either of two classes: picked by path entropy and by entropies of the network (Figure 5.6).

``XNAS_DATA=data python experiments/reproduce/nbdt/ambiguous.py`` looks at 2,000 test images of CIFAR-10 with a trained
ResNet-20 and its tree. What picks an image:

- path entropy: the largest less the smallest entropy of the decisions on its way by hard inference;
- entropy: of the network's classes;
- top two: the entropy between the two most probable classes, less that between all where these two are averaged to one
  (the thesis' choice for the network).

Of the images that are picked first the table says how many path entropy picks too, how many the network and the tree
get wrong, of how many the label is one of the network's two most probable classes, and how many lie between two: these
two have a share of at least SHARE each, and TOGETHER of all. AUROC is the probability that a wrong prediction of the
network is picked before a right one, from all images.

Then where the tree errs: at which decision its way leaves that of the label, by its depth and by how far above the
classes it is, beside a prediction that is any wrong class at random; and where soft and hard inference differ. All of
it is shown for the network as it was published and after some epochs of tree supervision (``--epochs``) along the same
tree. ``--picture FILE`` draws the ten images that each way picks with the last of these networks.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from resnet20 import class_names, pictures, trained_network
from scipy import stats
from torch import Tensor
from trainings import FINE_TUNING, images, logits_of, percent, train, tree_of

from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.training.tree_supervision import TreeSupervision

SHARE, TOGETHER = 0.25, 0.9
PICKED = (10, 50, 200)
SHOWN = 10
WAYS = ("path entropy", "entropy", "top two")


def entropy(p: Tensor) -> Tensor:
    """Of distributions in the rows, in nats."""
    return -torch.xlogy(p, p).sum(dim=1)


def scores(logits: Tensor, tree: Hierarchy) -> dict[str, Tensor]:
    """How much every image is to be picked, by way."""
    p, _ = logits.softmax(dim=1).sort(dim=1, descending=True)
    two = p[:, :2] / p[:, :2].sum(dim=1, keepdim=True)
    averaged = torch.cat([p[:, :2].mean(dim=1, keepdim=True), p[:, 2:]], dim=1)
    rest = entropy(averaged / averaged.sum(dim=1, keepdim=True))
    path = DecisionRules(tree).decisions(logits, hard=True).path_entropy
    return dict(zip(WAYS, (path, entropy(p), entropy(two) - rest), strict=True))


def auroc(score: Tensor, wrong: Tensor) -> float:
    """Probability that a wrong prediction has a larger score than a right one (Mann & Whitney's U)."""
    bad, good = score[wrong].numpy(), score[~wrong].numpy()
    return float(stats.mannwhitneyu(bad, good).statistic / (len(bad) * len(good)))


def picks(score: Tensor, count: int) -> Tensor:
    """Numbers of the images that are picked first; of equals the first."""
    return score.sort(descending=True, stable=True).indices[:count]


def pick_table(logits: Tensor, labels: Tensor, tree: Hierarchy) -> None:
    """A line a way and number of picks."""
    found = scores(logits, tree)
    p, order = logits.softmax(dim=1).sort(dim=1, descending=True)
    facts = {
        "NN wrong": order[:, 0] != labels,
        "NBDT-S wrong": DecisionRules(tree).soft(logits) != labels,
        "label in top two": (order[:, :2] == labels[:, None]).any(dim=1),
        "between two": (p[:, 1] >= SHARE) & (p[:, :2].sum(dim=1) >= TOGETHER),
    }
    print(f"| picked by | images | by path entropy too | {' | '.join(f'{name}, %' for name in facts)} | AUROC |")
    print("|---|---|---|---|---|---|---|---|")
    for way, score in found.items():
        for count in PICKED:
            chosen = picks(score, count)
            too = int(torch.isin(chosen, picks(found[WAYS[0]], count)).sum())
            cells = [f"{percent(which[chosen]):.1f}" for which in facts.values()]
            area = f"{auroc(score, facts['NN wrong']):.3f}" if count == PICKED[0] else ""
            print(f"| {way} | {count} | {too} | {' | '.join(cells)} | {area} |")
    print(f"| all | {len(labels)} |  | {' | '.join(f'{percent(which):.1f}' for which in facts.values())} |  |")


# ---- where the tree errs ---------------------------------------------------------------------------------------------


class Turns:
    """For any two classes the node at which their ways part: its depth, and its height above the classes."""

    def __init__(self, tree: Hierarchy) -> None:
        """Find them."""
        names = tree.class_names
        depths = {id(node): depth for node, depth in tree.walk()}
        parting = [[tree.smallest(one, other) for other in names] for one in names]
        self.depth = torch.tensor([[depths[id(node)] for node in row] for row in parting])
        self.height = torch.tensor([[height(node) for node in row] for row in parting])


def height(node: Node) -> int:
    """Decisions on the longest way down from a node; 1 where it decides between two classes, 0 of a class."""
    return 1 + max(map(height, node.children)) if node.children else 0


def error_table(logits: Tensor, labels: Tensor, tree: Hierarchy) -> None:
    """Shares of the errors by where the way of the prediction leaves that of the label."""
    rules, turns = DecisionRules(tree), Turns(tree)
    predicted = {"NBDT-S": rules.soft(logits), "NBDT-H": rules.hard(logits)}
    print("| first wrong turn | NBDT-S, % | NBDT-H, % | at random, % |\n|---|---|---|---|")
    for title, measure, first in (("after {} decisions", turns.depth, 0), ("{} above the classes", turns.height, 1)):
        columns = [measure[labels[classes != labels], classes[classes != labels]] for classes in predicted.values()]
        other = ~torch.eye(len(measure), dtype=torch.bool)
        columns.append(measure[labels][other[labels]])
        for value in range(first, int(columns[-1].max()) + 1):
            cells = [f"{percent(column == value):.1f}" for column in columns]
            print(f"| {title.format(value)} | {' | '.join(cells)} |")
    wrong = ", ".join(f"{name} {int((classes != labels).sum())}" for name, classes in predicted.items())
    soft, hard = predicted.values()
    differ = soft != hard
    right = [int((differ & (classes == labels)).sum()) for classes in (soft, hard)]
    print(
        f"\nErrors: {wrong}. Soft and hard inference differ on {int(differ.sum())} images: soft is right on "
        f"{right[0]}, hard on {right[1]}, neither on {int(differ.sum()) - sum(right)}."
    )


# ---- the picture -----------------------------------------------------------------------------------------------------


def draw(split: str, logits: Tensor, chosen: Mapping[str, Sequence[int]], names: Sequence[str], to: Path) -> None:
    """The picked images, a row a way: above each the network's two most probable classes, below it the label."""
    import matplotlib.pyplot as plt
    from PIL import Image

    pixels, labels = pictures(split)
    p, order = logits.softmax(dim=1).sort(dim=1, descending=True)
    figure, axes = plt.subplots(len(chosen), SHOWN, figsize=(SHOWN * 0.9, len(chosen) * 1.35), squeeze=False)
    for row, (way, numbers) in zip(axes, chosen.items(), strict=True):
        row[0].set_ylabel(way, fontsize=7)
        for axis, number in zip(row, numbers, strict=True):
            axis.imshow(pixels[number].numpy())
            two = [f"{names[k]} {100 * share:.0f}" for k, share in zip(order[number, :2], p[number, :2], strict=True)]
            axis.set_title("\n".join(two), fontsize=6)
            axis.set_xlabel(names[labels[number]], fontsize=6, labelpad=2)
            axis.set_xticks([])
            axis.set_yticks([])
    figure.tight_layout(pad=0.4)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=80)
    plt.close(figure)
    Image.open(whole).convert("RGB").quantize(128).save(to, optimize=True)  # a third of the bytes


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=1, help="of tree supervision, 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="of that training")
    parser.add_argument("--picture", type=Path, help="file of the images that are picked first")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network, (names, _) = trained_network().to(memory_format=torch.channels_last), class_names()
    tree, (x, labels) = tree_of(network, names), images("test")
    logits = {"as published": logits_of(network, x)}
    if given.epochs:
        loss = TreeSupervision(tree)
        train(network, loss, *images("train"), FINE_TUNING, epochs=given.epochs, seed=given.seed, mixed=True)
        logits["after tree supervision"] = logits_of(network, x)
    for title, found in logits.items():
        print(f"\n{title}:\n")
        pick_table(found, labels, tree)
        print()
        error_table(found, labels, tree)
    if given.picture is not None:
        last = list(logits.values())[-1]
        chosen = {way: picks(score, SHOWN).tolist() for way, score in scores(last, tree).items()}
        draw("test", last, chosen, names, given.picture)


if __name__ == "__main__":
    main()
