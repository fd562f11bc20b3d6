"""A trial's stored network on the data of another task: what it says of classes that it was not taught."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import ExplanationError, TaskError
from xnas_ray.explain.tree_table import hierarchy_of
from xnas_ray.service.archive import stored_card, trial_record, weights_of
from xnas_ray.service.kept_files import load_network, no_weights
from xnas_ray.service.resolve import Search, open_search
from xnas_ray.store.layout import Layout

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from xnas_ray.explain.hierarchy import Hierarchy
    from xnas_ray.explain.node_meaning import Meanings
    from xnas_ray.explain.wordnet import WordNet
    from xnas_ray.tasks.base import Data


@dataclass(frozen=True, eq=False)
class Unseen:
    """What a network says of another task's test split.

    Attributes:
        logits: float32 ``n x K``, K being the classes of the network.
        targets: int64 ``n``: labels of the other task.
        classes: names of the other task's classes, in label order.
        wnids: of these, None where they are not known.
        own_classes: names of the network's classes, in label order.
        own_wnids: of these, None where they are not known.
        source: where the other task's data come from.
    """

    logits: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...]
    wnids: tuple[str, ...] | None
    own_classes: tuple[str, ...]
    own_wnids: tuple[str, ...] | None
    source: str


def unseen_outputs(root: Path, search_id: str, trial: int, task: str, asked: Mapping[str, Any] | None = None) -> Unseen:
    """Run a trial's stored network on the test split of another task, whose inputs have the same shape.

    Args:
        root: folder of the store.
        search_id: whole id.
        trial: number of a finished trial.
        task: name or path of the other task.
        asked: what its ``load_data`` is asked for.

    Raises:
        StoreError: no such trial, or its weights are not kept.
        TaskError: the other task has no classes, or inputs of another shape.
        DataMissingError: its data are not on this machine.
    """
    from xnas_ray.tasks.loading import load_task

    record = trial_record(root, search_id, trial)
    weights = weights_of(Layout(root), record)
    if weights is None:
        raise no_weights(search_id, trial)
    search = open_search(root, stored_card(root, search_id))
    data = load_task(task).load_data(**(asked or {}))
    if data.classes is None:
        raise TaskError(f"task {task!r} is a regression.", field="--unseen", fix="Name a task with classes.")
    if data.shape != search.shape.inputs:
        raise TaskError(
            f"inputs of task {task!r} are {_sizes(data.shape)}, those of the network {_sizes(search.shape.inputs)}.",
            field="--unseen",
            fix="Name a task with inputs of the same shape; --data may make them so.",
        )
    own = search.task.load_data(**search.spec.data)
    return Unseen(
        logits=_outputs(search, record, weights, data),
        targets=data.test.targets.numpy(),
        classes=data.classes,
        wnids=data.wnids,
        own_classes=own.classes or (),
        own_wnids=own.wnids,
        source=data.source,
    )


def _outputs(search: Search, record: Mapping[str, Any], weights: Path, data: Data) -> np.ndarray:
    import torch

    recipe = json.loads(record["recipe"])
    network, evaluator = load_network(search, record["genotype"], recipe, weights, torch.device("cpu"))
    return evaluator.predict(network, data.test).numpy()


def unseen_meanings(tree: pd.DataFrame, unseen: Unseen, hypotheses: Sequence[str] = ()) -> Meanings:
    """What the nodes of a trial's tree stand for, tested on classes that it has not seen.

    Args:
        tree: of the trial (see ``tree_table.tree_of_trial``).
        unseen: outputs of its network.
        hypotheses: of a user (see ``superclasses.user_sides``); by default those of WordNet about every node whose
            children it has a word for.

    Raises:
        ExplanationError: no hypothesis has a sample, or one is malformed; there is no WordNet and no hypothesis.
        UnknownNameError: WordNet does not know a user's term.
    """
    from xnas_ray.explain.node_meaning import node_meanings
    from xnas_ray.explain.superclasses import hypothesis, unseen_only, user_sides, wordnet_hypotheses

    hierarchy, wordnet = named_hierarchy(tree, unseen)
    wnids = unseen_only(hierarchy, unseen.classes, unseen.wnids, wordnet)
    if hypotheses:
        given = [user_sides(hierarchy, text, unseen.classes, wordnet) for text in hypotheses]
        chosen = [hypothesis(hierarchy, node, sides, wnids, wordnet) for node, sides in given]
    elif wordnet is not None:
        chosen = wordnet_hypotheses(hierarchy, wnids, wordnet)
    else:
        raise ExplanationError(
            "there is no WordNet on this machine that could say what the nodes stand for.",
            field="--hypothesis",
            fix="Say it yourself, as --hypothesis '0=CLASS+CLASS,CLASS'; `xnas similarities` tells how to get WordNet.",
        )
    return node_meanings(hierarchy, unseen.logits, unseen.targets, unseen.classes, chosen)


def named_hierarchy(tree: pd.DataFrame, unseen: Unseen) -> tuple[Hierarchy, WordNet | None]:
    """The hierarchy of a trial's tree, named by WordNet where it is on this machine: the worker may have had none.

    Args:
        tree: of the trial.
        unseen: gives the network's classes.
    """
    from xnas_ray.explain.wordnet import find_wordnet, wordnet_folder
    from xnas_ray.explain.wordnet_hierarchy import named_where_known

    hierarchy = named_where_known(hierarchy_of(tree, unseen.own_classes), unseen.own_wnids)
    return hierarchy, None if wordnet_folder() is None else find_wordnet()


def _sizes(shapes: Sequence[Sequence[int]]) -> str:
    """``"3 x 32 x 32"``, of several inputs one after the other."""
    return ", ".join(" x ".join(map(str, shape)) for shape in shapes)
