"""What is known of a trial's decision tree: its tables, its samples, and what another task says of its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas_ray.commands.application import parse_assignment
from xnas_ray.errors import ExplanationError, ServiceError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle
    from xnas_ray.service.unseen import Unseen
    from xnas_ray.store.tree_samples import TreeSamples

TREES = "decision_tree"
"""Kind of the tables that are shown, and name of what is written."""

TRAVERSALS = "unseen_traversals"


@dataclass(frozen=True, slots=True)
class About:
    """What is tested besides: another task, what its data are asked for, and hypotheses about nodes."""

    task: str | None = None
    data: tuple[str, ...] = ()
    hypotheses: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.task or self.data or self.hypotheses)


@dataclass(frozen=True, slots=True)
class TreeKnown:
    """Everything that is known of a tree; tables that are not known are None.

    Attributes:
        tree: a row a node.
        samples: on their ways through it, None where they are not kept.
        missing: why they are not.
        tables: by name, in the order in which they are shown.
        source: where the data of the other task come from.
        untested: why no hypothesis was tested on them.
    """

    tree: pd.DataFrame
    samples: TreeSamples | None
    missing: str
    tables: dict[str, pd.DataFrame | None]
    source: str = ""
    untested: str = ""


def trials_with_trees(handle: SearchHandle) -> frozenset[int]:
    """Trials of a search whose trees are stored."""
    try:
        return frozenset(int(trial) for trial in handle.explanations(TREES)["trial"].unique())
    except (ExplanationError, StoreError):
        return frozenset()


def known_tree(handle: SearchHandle, trial: int, about: About) -> TreeKnown:
    """Look up everything that is known of a trial's tree, and test it on another task where one is named.

    Args:
        handle: the search.
        trial: which one.
        about: what is tested.

    Raises:
        ExplanationError: the search has no trees, or hypotheses are no such.
        StoreError: the trial has none.
    """
    from xnas_ray.explain.tree_table import ambiguous_table, similar_table, tree_of_trial

    tree = tree_of_trial(handle.explanations(TREES), trial)
    samples, missing = _samples(handle, trial)
    tables: dict[str, pd.DataFrame | None] = {
        TREES: tree,
        "ambiguous": None if samples is None else ambiguous_table(tree, samples),
        "similar": None if samples is None else similar_table(tree, samples),
    }
    if about.task is None:
        return TreeKnown(tree, samples, missing, tables)
    unseen, untested = _add_unseen(tables, handle, trial, about)
    return TreeKnown(tree, samples, missing, tables, unseen.source, untested)


def _samples(handle: SearchHandle, trial: int) -> tuple[TreeSamples | None, str]:
    from xnas_ray.store.tree_samples import load_tree_samples

    try:
        return load_tree_samples(handle.client.folder, handle.id, trial), ""
    except (StoreError, ServiceError) as error:
        return None, str(error)


def _add_unseen(
    tables: dict[str, pd.DataFrame | None], handle: SearchHandle, trial: int, about: About
) -> tuple[Unseen, str]:
    """Add what is found on the other task; where WordNet has no hypothesis this says why."""
    from xnas_ray.explain.traversals import traversals
    from xnas_ray.service.unseen import named_hierarchy, unseen_meanings, unseen_outputs

    tree = tables[TREES]
    assert tree is not None
    asked = dict(parse_assignment(text, "--data") for text in about.data)
    unseen = unseen_outputs(handle.client.folder, handle.id, trial, str(about.task), asked)
    hierarchy, _ = named_hierarchy(tree, unseen)
    tables[TRAVERSALS] = traversals(hierarchy, unseen.logits, unseen.targets, unseen.classes)
    try:
        found = unseen_meanings(tree, unseen, about.hypotheses)
    except ExplanationError as error:
        if about.hypotheses:
            raise
        return unseen, str(error)
    tables |= {"superclasses": found.superclasses, "node_meaning": found.children, "unseen_classes": found.classes}
    return unseen, ""
