"""Superclasses of unseen classes, told by a network and by the nodes of its tree (Table 5.6 of the thesis).

``XNAS_DATA=data python experiments/reproduce/nbdt/unseen.py --out unseen.jsonl`` leaves an animal and a vehicle of
CIFAR-10 out of the training of a small network, for several such pairs and seeds. The network's tree is named by
WordNet; an unseen image belongs to the child of a node whose synset is the deepest that its class is a kind of. Nodes
whose children do not tell a class's place, as two that are called alike, are not asked about it. All 700 images of an
unseen class are looked at: nobody has learned from them.

An image counts as right at a node:

- network: where the network predicts a class below the right child (the thesis' baseline; any other class is wrong);
- among: where the most probable of the node's own classes is below it, which is the same question without the others;
- tree: where the class that the tree predicts by soft inference is below it;
- node: where the node itself, given the image, goes to it (the thesis' NBDT).

The network is looked at as it was trained, and after some more epochs with the labels alone or with tree supervision.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from resnet20 import class_names
from torch import Tensor, nn
from trainings import (
    NO_TREE,
    SCRATCH,
    SMALL_FINE_TUNING,
    SMALL_SIDE,
    Rows,
    images,
    logits_of,
    new_network,
    percent,
    right,
    spread,
    train,
    tree_of,
)

from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.wordnet import WordNet, find_wordnet
from xnas_ray.explain.wordnet_hierarchy import named_by_wordnet
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.training.tree_supervision import TreeSupervision

SPLITS = (("cat", "truck"), ("horse", "automobile"), ("deer", "ship"))
"""Classes that are left out: an animal and a vehicle each, so that guessing is right on half of them."""

STAGES: Mapping[str, Mapping[str, Any] | None] = {"trained": None, "labels": NO_TREE, "tree": {}}
"""Losses of the further epochs."""

WAYS = ("network", "among", "tree", "node")


def hypotheses(tree: Hierarchy, wnid: str, wordnet: WordNet) -> Iterator[tuple[int, Node]]:
    """Nodes at which WordNet tells where a class belongs, and the child to which it does.

    Args:
        tree: named by WordNet.
        wnid: of the class, which is not in the tree.
        wordnet: that named it.
    """
    above = wordnet.ancestors(wnid)
    for number, node in enumerate(tree.nodes):
        fitting = [child for child in node.children if child.wnid in above]
        depths = [wordnet.max_depth(str(child.wnid)) for child in fitting]
        if fitting and depths.count(max(depths)) == 1:
            yield number, fitting[depths.index(max(depths))]


def judged(tree: Hierarchy, number: int, child: Node, logits: Tensor) -> dict[str, float]:
    """Percentages of images that are right at a node, see the module.

    Args:
        tree: over the seen classes.
        number: of the node.
        child: of it, the right one.
        logits: of images of one unseen class.
    """
    place = {name: k for k, name in enumerate(tree.class_names)}
    node = tree.nodes[number]
    below = torch.tensor([place[leaf] for leaf in node.leaves])
    good = torch.tensor([place[leaf] for leaf in child.leaves])
    scores = torch.stack([logits[:, [place[leaf] for leaf in one.leaves]].mean(dim=1) for one in node.children], dim=1)
    found = {
        "network": torch.isin(logits.argmax(dim=1), good),
        "among": torch.isin(below[logits[:, below].argmax(dim=1)], good),
        "tree": torch.isin(DecisionRules(tree).soft(logits), good),
        "node": scores.argmax(dim=1) == node.children.index(child),
    }
    return {way: percent(which) for way, which in found.items()}


class Division:
    """Images of the classes that a network learns, and of those that it does not."""

    def __init__(self, left_out: Sequence[str]) -> None:
        """Read and divide them."""
        names, wnids = class_names()
        kept = [k for k, name in enumerate(names) if name not in left_out]
        self.names, self.wnids = tuple(names[k] for k in kept), tuple(wnids[k] for k in kept)
        both = {split: images(split, SMALL_SIDE) for split in ("train", "test")}
        label = torch.full((len(names),), -1)
        label[kept] = torch.arange(len(kept))
        self.seen = {split: (x[label[y] >= 0], label[y][label[y] >= 0]) for split, (x, y) in both.items()}
        self.unseen = {
            wnids[names.index(name)]: torch.cat([x[y == names.index(name)] for x, y in both.values()])
            for name in left_out
        }

    def looked_at(self, network: nn.Module, tree: Hierarchy) -> dict[str, Any]:
        """Accuracies on the seen classes, and what is right at every node that has a hypothesis."""
        x, labels = self.seen["test"]
        found = {way: percent(which) for way, which in right(tree, logits_of(network, x), labels).items()}
        wordnet = find_wordnet()
        judgements = []
        for wnid, x in self.unseen.items():
            logits = logits_of(network, x)
            for number, child in hypotheses(tree, wnid, wordnet):
                pair = " / ".join(one.name for one in tree.nodes[number].children)
                judgements.append(
                    {"class": wnid, "root": number == 0, "pair": pair, **judged(tree, number, child, logits)}
                )
        return {"seen": found, "unseen": judgements}


def run(division: Division, seed: int, epochs: int, further: int) -> dict[str, Any]:
    """What is right at every stage of one network."""
    network = new_network(seed, len(division.names))
    x, labels = division.seen["train"]
    first = TreeSupervision(tree_of(network, division.names), **NO_TREE)
    train(network, first, x, labels, SCRATCH, epochs=epochs, seed=seed)
    tree = named_by_wordnet(tree_of(network, division.names), division.wnids)
    found = {}
    for stage, loss in STAGES.items():
        tuned = copy.deepcopy(network)
        if loss is not None:
            supervision = TreeSupervision(tree, **loss)
            train(tuned, supervision, x, labels, SMALL_FINE_TUNING, epochs=further, seed=seed)
        found[stage] = division.looked_at(tuned, tree)
    return {"stages": found, "root": " / ".join(one.name for one in tree.root.children)}


def at_the_root(found: Mapping[str, Any]) -> Mapping[str, float] | None:
    """The mean of both unseen classes, None where the root does not part them."""
    rows = [row for row in found["unseen"] if row["root"]]
    return {way: mean(row[way] for row in rows) for way in WAYS} if len(rows) == 2 else None


def below_it(found: Mapping[str, Any]) -> Mapping[str, float] | None:
    """The mean of all other nodes with a hypothesis, and classes, None without any."""
    rows = [row for row in found["unseen"] if not row["root"]]
    return {way: mean(row[way] for row in rows) for way in WAYS} if rows else None


def report(rows: Rows, **what: Any) -> None:
    """A table a kind of node: a line a pair that is left out and a stage, and all pairs together."""
    done = sorted(rows.where(**what), key=lambda row: row["left_out"])
    parts = {name: list(part) for name, part in groupby(done, key=lambda row: row["left_out"])} | {"all": done}
    for title, measure in (("the root", at_the_root), ("the other nodes", below_it)):
        print(f"\n{title}:\n\n| left out | stage | trees | {' | '.join(WAYS)} | node - network | node - among |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, part in parts.items():
            for stage in STAGES:
                found = [one for row in part if (one := measure(row["stages"][stage]))]
                cells = [spread([one[way] for one in found], 1) for way in WAYS] if found else [""] * len(WAYS)
                gaps = [[one["node"] - one[way] for one in found] for way in ("network", "among")]
                cells += [spread(gap, 1) if gap else "" for gap in gaps]
                print(f"| {name} | {stage} | {len(found)} of {len(part)} | {' | '.join(cells)} |")
    print("\nseen classes:\n\n| stage | NN, % | NBDT-S, % | NBDT-H, % |\n|---|---|---|---|")
    for stage in STAGES:
        cells = [spread([row["stages"][stage]["seen"][way] for row in done]) for way in ("network", "soft", "hard")]
        print(f"| {stage} | {' | '.join(cells)} |")
    print(f"\nroots: {', '.join(sorted({row['root'] for row in done}))}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12, help="of the first training")
    parser.add_argument("--further", type=int, default=4, help="epochs after it")
    parser.add_argument("--out", type=Path, help="file of JSON lines that an interrupted run goes on with")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, settings = Rows(given.out), {"epochs": given.epochs, "further": given.further}
    divisions = {" and ".join(split): Division(split) for split in SPLITS}
    for seed in range(given.seeds):
        for name, division in divisions.items():
            what = {"left_out": name, "seed": seed, **settings}
            rows.add(what, partial(run, division, seed, given.epochs, given.further))
    report(rows, **settings)


if __name__ == "__main__":
    main()
