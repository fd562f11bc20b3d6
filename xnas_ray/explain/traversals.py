"""How often samples of each class take every branch of a tree (thesis, Figure 5.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.explain.hierarchy import Hierarchy

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("class", "node", "name", "leaf", "samples", "share")


def traversals(tree: Hierarchy, logits: np.ndarray, targets: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Where samples go by hard inference, a row a class and node that some of it reach.

    The classes may be others than the tree's: then it shows for what the network takes things that it does not know.

    Args:
        tree: over the K classes of the network.
        logits: ``n x K``.
        targets: ``n``, labels of the samples.
        class_names: of these labels.

    Returns:
        Columns ``class``, ``node``, ``name`` (of the node), ``leaf`` (whether it is a class of the network),
        ``samples`` that come by, and their ``share`` of the class.
    """
    import pandas as pd

    number = {name: k for k, name in enumerate(tree.class_names)}
    labels, counts = np.unique(targets, return_counts=True)
    rows: list[dict[str, Any]] = []
    waiting = [(0, np.arange(len(targets)))]
    while waiting:
        node, here = waiting.pop()
        passed = np.bincount(targets[here], minlength=int(labels.max()) + 1)[labels]
        below = tree.nodes[node].children
        for label, count, whole in zip(labels.tolist(), passed.tolist(), counts.tolist(), strict=True):
            if count:
                named = {"class": class_names[label], "node": node, "name": tree.nodes[node].name, "leaf": not below}
                rows.append({**named, "samples": count, "share": count / whole, "label": label})
        if below:
            groups = [[number[leaf] for leaf in child.leaves] for child in below]
            means = np.stack([logits[here][:, group].mean(axis=1) for group in groups], axis=1)
            gone = means.argmax(axis=1)
            waiting += [(child, here[gone == i]) for i, child in enumerate(tree.children[node]) if (gone == i).any()]
    found = pd.DataFrame(rows, columns=[*COLUMNS, "label"])
    return found.sort_values(["label", "node"], ignore_index=True)[list(COLUMNS)]
