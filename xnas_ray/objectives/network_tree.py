"""The decision tree of a network: read off its last layer, or WordNet's of its task, while it is trained and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from xnas_ray.errors import HierarchyError, SpecError, UnknownNameError
from xnas_ray.explain.hierarchy import Hierarchy, check_classes
from xnas_ray.explain.hierarchy_files import hierarchy_from_json, hierarchy_to_json
from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.explain.wordnet_hierarchy import named_where_known, wordnet_hierarchy
from xnas_ray.networks.decision_rules import Tree
from xnas_ray.networks.final_layer import final_layer
from xnas_ray.tasks.base import Data
from xnas_ray.training.batch_loss import check_has_classes
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.trained import autocast, place

_PROBES = 2  # samples that show which layer is called last
_FIX = "Let load_data() give Data(wnids=...), name the classes by words with one meaning, or set it to 'induced'."


def induced_tree(
    network: nn.Module,
    data: Data,
    recipe: Recipe,
    device: torch.device,
    *,
    layer: str | None = None,
    linkage: str = "ward",
    normalize: bool = True,
) -> Hierarchy:
    """The tree that the weights of a network's last layer hold, named by WordNet where the task has wnids.

    Args:
        network: on ``device``; it is left as it was.
        data: of the task, which has classes.
        recipe: gives mixed precision and memory format.
        device: where two samples run.
        layer: name of the last layer; by default the last linear layer or convolution of one pixel that is called and
            has an output a class.
        linkage: of the clustering, see ``induced_hierarchy``.
        normalize: whether weights are normalized first.

    Raises:
        HierarchyError: the network has no last layer of a row a class, or its weights make no tree.
    """
    names = data.classes or ()
    probes = tuple(place(x[:_PROBES], recipe, device) for x in data.validation.inputs)
    with autocast(recipe, device):
        found = final_layer(network, layer=layer, classes=len(names), inputs=probes)
    tree = induced_hierarchy(found.weight.float().cpu().numpy(), names, linkage=linkage, normalize=normalize)
    return named_where_known(tree, data.wnids)  # no measure depends on the names


def wordnet_tree(data: Data) -> Hierarchy:
    """WordNet's tree of a task's classes, by their wnids, else by their names.

    Raises:
        UnknownNameError: WordNet does not know a class, or knows several.
        HierarchyError: the classes are called by numbers, or are kinds of nothing in common.
        DataMissingError: there is no WordNet on this machine.
    """
    names = data.classes or ()
    if data.wnids is None and all(name.isdigit() for name in names):
        raise HierarchyError("the classes are called by numbers.", field="classes")
    return wordnet_hierarchy(data.wnids or names, names)


def as_hierarchy(tree: Tree) -> Hierarchy:
    """A tree of this module, of which trainings know only what a tree is."""
    assert isinstance(tree, Hierarchy), f"{type(tree).__name__} is no tree of a TaskTrees"
    return tree


class TaskTrees:
    """Where trainings on a task have their trees from (``training.batch_loss.TreeSource``).

    Args:
        data: of the task.
        recipe: says which tree.
        device: where networks are.

    Raises:
        SpecError: there is no tree of the classes, as of one class or of two with the same name, or WordNet has none.
        DataMissingError: there is no WordNet on this machine.
    """

    def __init__(self, data: Data, recipe: Recipe, device: torch.device) -> None:
        """Look a tree of WordNet up, which is the same for all networks."""
        check_has_classes(data.data_shape)
        _check_names(data)
        self.data, self.recipe, self.device = data, recipe, device
        self.fixed = _of_wordnet(data) if recipe.tree_hierarchy == "wordnet" else None

    @classmethod
    def of(cls, recipe: Recipe, data: Data, device: torch.device | str = "cpu") -> TaskTrees | None:
        """What a recipe needs; None where it has no ``tree_loss``.

        Raises:
            SpecError: see the class.
            DataMissingError: see the class.
        """
        return cls(data, recipe, torch.device(device)) if recipe.tree_loss else None

    def tree(self, network: nn.Module) -> Hierarchy:
        """See ``TreeSource.tree``."""
        return self.fixed or induced_tree(network, self.data, self.recipe, self.device)

    def to_json(self, tree: Tree) -> dict[str, Any]:
        """See ``TreeSource.to_json``."""
        return hierarchy_to_json(as_hierarchy(tree))

    def from_json(self, graph: Mapping[str, Any]) -> Hierarchy:
        """See ``TreeSource.from_json``."""
        return hierarchy_from_json(graph)


def _check_names(data: Data) -> None:
    try:
        check_classes(data.classes or ())
    except HierarchyError as error:
        raise SpecError(
            f"there is no tree of the classes: {error.message}", field="recipe.tree_loss", fix=error.fix
        ) from None


def _of_wordnet(data: Data) -> Hierarchy:
    try:
        return wordnet_tree(data)
    except (UnknownNameError, HierarchyError) as error:
        raise SpecError(
            f"WordNet has no tree of the classes: {error.message}",
            field="recipe.tree_hierarchy",
            valid=error.valid or None,
            fix=_FIX,
        ) from None
