"""Not a search: given architectures, each to be trained with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.parameters import FIELD, whole
from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Candidate, Genotype
from xnas_ray.spaces.base import Space


class Finalists(Controller):
    """Proposes the finalists of another search, once a seed: first all with the first seed, then with the next.

    Seeds are replicates from 1 on. Replicate 0 is what searches train, so that no finalist is measured with the very
    seed that made it look good. It is named by its path in specifications and is in no list of controllers, for it
    searches nothing; ``xnas finalize`` writes the specification.

    Origins say ``finalist``: the trial's number in the search that it comes from.

    Args:
        space: of the search that the finalists come from.
        objectives: what is measured; nothing is selected by it.
        seed: of nothing: there are no random numbers here.
        horizon: fidelity and shapes of the candidates.
        candidates: of each finalist the ``trial`` and its ``genotype``.
        seeds: trainings of each finalist.

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
        seeds: int = 3,
    ) -> None:
        """Check the parameters."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        self.seeds = whole("seeds", seeds)
        self.finalists = tuple(_checked(space, number, each) for number, each in enumerate(candidates))

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        for replicate in range(1, self.seeds + 1):
            for trial, genotype in self.finalists:
                if not self.known(genotype, replicate=replicate):
                    return replace(self.candidate(genotype, finalist=trial), replicate=replicate)
        return None


def _checked(space: Space, number: int, given: Mapping[str, Any]) -> tuple[int, Genotype]:
    field = f"{FIELD}.candidates.{number}"
    if not isinstance(given, Mapping) or set(given) != {"trial", "genotype"}:
        raise SpecError(f"must have a trial and a genotype, got {given!r}.", field=field, valid=("trial", "genotype"))
    genotype = given_genotype(space, given["genotype"], f"{field}.genotype")
    return whole(f"candidates.{number}.trial", given["trial"], 0), genotype


def given_genotype(space: Space, value: Any, field: str) -> Genotype:
    """The canonical form of a genotype that a specification gives.

    Raises:
        SpecError: it is no architecture of the space; ``field`` is named.
    """
    try:
        return space.canonical(space.check(tuple(value)))
    except (GenotypeError, TypeError) as error:
        raise SpecError(f"is no architecture of the space: {error}", field=field) from None
