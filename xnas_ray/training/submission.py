"""What is checked of a recipe where a search is submitted, before anything is trained."""

from __future__ import annotations

import numpy as np

from xnas_ray.networks.regularisation import SETTINGS, regularise
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.training.build import build_network
from xnas_ray.training.distillation import pinned
from xnas_ray.training.recipe import Recipe


def submitted(recipe: Recipe, space: Space, shape: DataShape) -> Recipe:
    """The recipe as it is to be stored: what it needs is there, and its teacher is followed by a hash.

    One network is built where a rate is above 0, and the teacher is loaded where there is one.

    Args:
        recipe: resolved settings.
        space: of the search.
        shape: what the task's networks take in and give out.

    Raises:
        SpecError: the space's networks have no place for ``dropout`` or ``drop_path``, or the teacher cannot be used.
    """
    rates = {name: getattr(recipe, name) for name in SETTINGS}
    if any(rates.values()):
        genotype = space.canonical(space.sample(np.random.default_rng(0)))
        regularise(build_network(space, genotype, shape), rates, space.unwrapped.name)
    return pinned(recipe, shape)
