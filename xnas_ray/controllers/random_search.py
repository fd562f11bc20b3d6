"""Random search: the baseline that every other controller must beat (Li & Talwalkar, UAI 2019)."""

from __future__ import annotations

import numpy as np

from xnas_ray.controllers.base import Controller
from xnas_ray.controllers.registry import register_controller
from xnas_ray.messages import Candidate


@register_controller("random_search")
class RandomSearch(Controller):
    """Genotypes drawn uniformly, each architecture at most once, until none is left."""

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        genotype = self.draw_new(rng)
        return None if genotype is None else self.candidate(genotype)
