"""Not a search: designs of another search (``controllers.design``), each to be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.finalists import given_genotype
from xnas_ray.controllers.parameters import FIELD, whole
from xnas_ray.errors import SpecError
from xnas_ray.messages import Candidate, Genotype
from xnas_ray.spaces.base import Space

PARTS = ("genotype", "budget", "predicted")


class Designed(Controller):
    """Proposes given designs in their order, first all with the first seed, then with the next.

    Seeds are replicates from 0 on: the first one is what searches train, so that what the search that designed them has
    trained in the same way need not be trained again. A design that is there twice, for two budgets, is proposed once.
    The controller is named by its path in specifications and is in no list of controllers, for it searches nothing;
    ``xnas design --submit`` writes the specification.

    Origins say ``stage`` (``"designed"``), ``budget`` and ``predicted``, as the design has them.

    Args:
        space: of the search that the designs come from.
        objectives: what is measured; nothing is selected by it.
        seed: of nothing: there are no random numbers here.
        horizon: fidelity and shapes of the candidates.
        candidates: of each design its ``genotype``, ``budget`` (``flops``, ``params``) and ``predicted`` (``mean``,
            ``std`` and the ``epoch`` of what is predicted).
        seeds: trainings of each design.

    Raises:
        SpecError: a parameter is malformed.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Goal],
        *,
        seed: int,
        horizon: Horizon | None = None,
        candidates: Sequence[Mapping[str, Any]] = (),
        seeds: int = 1,
    ) -> None:
        """Check the parameters."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        self.seeds = whole("seeds", seeds)
        self.designs = tuple(_checked(space, number, each) for number, each in enumerate(candidates))

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        for replicate in range(self.seeds):
            for genotype, said in self.designs:
                if not self.known(genotype, replicate=replicate):
                    return replace(self.candidate(genotype, stage="designed", **said), replicate=replicate)
        return None


def _checked(space: Space, number: int, given: Mapping[str, Any]) -> tuple[Genotype, dict[str, Any]]:
    """A design's canonical genotype, and what its origin says of it."""
    field = f"{FIELD}.candidates.{number}"
    if not isinstance(given, Mapping) or set(given) != set(PARTS):
        raise SpecError(f"must have {', '.join(PARTS)}, got {given!r}.", field=field, valid=PARTS)
    genotype = given_genotype(space, given["genotype"], f"{field}.genotype")
    said = {name: given[name] for name in PARTS[1:]}
    for name, value in said.items():
        if not isinstance(value, Mapping):
            raise SpecError(f"must be a table, got {value!r}.", field=f"{field}.{name}")
    return genotype, {name: dict(value) for name, value in said.items()}
