"""Trees as a search stores them, samples on their ways, and a tree of things in the small WordNet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.objectives.tree_outcome import TreeOutcome
from xnas_ray.objectives.tree_samples import most_similar, path_entropies, reach
from xnas_ray.store.tree_samples import TreeSamples


def made(tree, samples: int = 30, seed: int = 0) -> TreeOutcome:
    generator = torch.Generator().manual_seed(seed)
    count = len(tree.class_names)
    return TreeOutcome(tree, 2 * torch.randn(samples, count, generator=generator), torch.arange(samples) % count)


def stored(outcome: TreeOutcome, trial: int = 4) -> pd.DataFrame:
    """As a search stores it: with other trials, in another order."""
    table = outcome.per_node()
    return pd.concat([table.assign(trial=trial)[::-1], table.assign(trial=trial + 1, name="other")])


def samples_of(outcome: TreeOutcome, ambiguous: int = 5) -> TreeSamples:
    entropies = path_entropies(outcome)
    first, found = torch.argsort(entropies, descending=True)[:ambiguous], most_similar(outcome, 2)
    rows = torch.cat([first, *found.values()])
    nodes = [-1] * len(first) + [node for node, some in found.items() for _ in some]
    logits = outcome.logits[rows]
    return TreeSamples(
        classes=outcome.hierarchy.class_names,
        group=np.array(["similar" if node >= 0 else "ambiguous" for node in nodes]),
        node=np.array(nodes),
        sample=rows.numpy(),
        target=outcome.targets[rows].numpy(),
        network=logits.argmax(dim=1).numpy(),
        soft=outcome.rules.soft(logits).numpy(),
        hard=outcome.rules.hard(logits).numpy(),
        path_entropy=entropies[rows].numpy(),
        reach=reach(outcome.rules, logits).float().numpy(),
        images=np.random.default_rng(0).integers(0, 256, (len(rows), 4, 4, 1), dtype=np.uint8),
    )


# ---- animals and vehicles ------------------------------------------------------------------------------------------

CLASSES = ("dog", "cat", "car", "derrick")
ENTITY, ANIMAL, VEHICLE, DOG, CAT, CAR, CRANE, DERRICK, BIRD, PET, REX, ROBOT = (f"n{n:08d}" for n in range(1, 13))


def leaf(name: str) -> Node:
    return Node.leaf(name, dict(zip(CLASSES, (DOG, CAT, CAR, DERRICK), strict=True))[name])


def by_kind() -> Hierarchy:
    animals = Node.over([leaf("dog"), leaf("cat")], "animal", ANIMAL)
    return Hierarchy(Node.over([animals, Node.over([leaf("car"), leaf("derrick")], "vehicle", VEHICLE)]), CLASSES)
