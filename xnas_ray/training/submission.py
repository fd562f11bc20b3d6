"""What is checked of a recipe where a search is submitted, before anything is trained."""

from __future__ import annotations

import numpy as np
import torch

from xnas_ray.networks.final_layer import final_layer
from xnas_ray.networks.regularisation import rates_in, regularise
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.training.batch_loss import check_has_classes, typed_tree_errors
from xnas_ray.training.build import build_network
from xnas_ray.training.distillation import pinned
from xnas_ray.training.recipe import Recipe


def submitted(recipe: Recipe, space: Space, shape: DataShape) -> Recipe:
    """The recipe as it is to be stored: what it needs is there, and its teacher is followed by a hash.

    One network is built where a rate is above 0 or a tree will be induced; the teacher is loaded where there is one.

    Args:
        recipe: resolved settings.
        space: of the search.
        shape: what the task's networks take in and give out.

    Raises:
        SpecError: the space's networks have no place for ``dropout`` or ``drop_path``, they have no last layer for a
            tree or the task has no classes, or the teacher cannot be used.
    """
    rates = rates_in(recipe)
    if recipe.tree_loss:
        check_has_classes(shape)
    induced = bool(recipe.tree_loss) and recipe.tree_hierarchy == "induced"
    if induced or any(rates.values()):
        genotype = space.canonical(space.sample(np.random.default_rng(0)))
        network = build_network(space, genotype, shape)
        regularise(network, rates, space.unwrapped.name)
        if induced:
            probes = tuple(torch.zeros(1, *one) for one in shape.inputs)
            with typed_tree_errors():
                final_layer(network, classes=shape.outputs, inputs=probes)
    return pinned(recipe, shape)
