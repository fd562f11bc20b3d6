"""Among which architectures a model-based controller chooses: a listed space, or a pool that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache

import numpy as np

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.wl_features import Backend, Kind

Allows = Callable[[Sequence[Genotype]], np.ndarray]

LIST_UP_TO = 20_000
DRAWS_PER_CANDIDATE = 5
DRAWS_PER_ALLOWED = 25


class Listing:
    """Every architecture of a space, one canonical genotype a key, with its features.

    Args:
        space: ``space.enumerate()`` must not refuse.
        encodings: without rows; row i becomes architecture i.

    Attributes:
        genotypes: in the order of ``space.enumerate()``.
        index: place of every key among the genotypes.
        encodings: as given; further rows may be appended.
        rows: of the architectures.
    """

    def __init__(self, space: Space, encodings: Encodings) -> None:
        """List and encode (1.5 s for the 6,466 classes of NAS-Bench-201)."""
        self.genotypes = tuple(space.enumerate())
        self.encodings = encodings
        self.rows = encodings.add_all(self.genotypes)
        self.index = {space.key(genotype): i for i, genotype in enumerate(self.genotypes)}


@lru_cache(maxsize=4)
def listing(space: Space, depth: int, kind: Kind, backend: Backend) -> Listing:
    """The listing of a space, made once for all controllers that search the same object.

    Sharing leaves no trace: what is listed is a function of the space, and rows that others append change nothing.
    """
    return Listing(space, Encodings(space, depth=depth, kind=kind, backend=backend))


class PoolMaker:
    """Draws pools of new architectures, as NAS-BOWL does: mutants of good ones, and random ones.

    Args:
        space: where to draw.
        size: architectures of a pool.
        mutants: share of them that are mutants (the paper's ``m`` pool; 0 is its ``r``).
        allows: says of some architectures which may be members; by default all.
    """

    def __init__(self, space: Space, *, size: int, mutants: float, allows: Allows | None = None) -> None:
        """Keep the settings."""
        self.space = space
        self.size = size
        self.mutants = mutants
        self._allows = allows
        self._draws = DRAWS_PER_CANDIDATE if allows is None else DRAWS_PER_ALLOWED

    def draw(self, parents: Sequence[Genotype], evaluated: Collection[str], rng: np.random.Generator) -> list[Genotype]:
        """Canonical genotypes, each key once, none of them evaluated; fewer than ``size`` where so many are not found.

        Args:
            parents: mutated in turn.
            evaluated: keys that are of no use.
            rng: of all draws.
        """
        wanted = round(self.mutants * self.size) if parents else 0
        mutants = self.extend([], wanted, parents, evaluated, rng)
        pool = {self.space.key(genotype): genotype for genotype in mutants}
        self._fill(pool, self.size, self._sample(rng, self._draws * (self.size - len(pool))), evaluated)
        return list(pool.values())

    def extend(
        self,
        pool: Sequence[Genotype],
        size: int,
        parents: Sequence[Genotype],
        evaluated: Collection[str],
        rng: np.random.Generator,
    ) -> list[Genotype]:
        """The pool with mutants of some parents appended, up to ``size`` members."""
        members = {self.space.key(genotype): genotype for genotype in pool}
        draws = self._draws * max(size - len(members), 0)
        self._fill(members, size, self._mutate(parents, rng, draws), evaluated)
        return list(members.values())

    def _mutate(self, parents: Sequence[Genotype], rng: np.random.Generator, draws: int) -> Iterator[Genotype]:
        """Mutants, one of every parent, then again; each choice changes with the space's own rate."""
        fertile = list(parents)
        for draw in range(draws):
            if not fertile:
                return
            parent = fertile[draw % len(fertile)]
            try:
                yield self.space.perturb(parent, rng)
            except GenotypeError:  # it has no valid mutant
                fertile.remove(parent)

    def _sample(self, rng: np.random.Generator, draws: int) -> Iterator[Genotype]:
        for _ in range(draws):
            try:
                yield self.space.sample(rng)
            except GenotypeError:  # valid genotypes are too rare for the space's sampler
                return

    def _fill(
        self, pool: dict[str, Genotype], size: int, drawn: Iterator[Genotype], evaluated: Collection[str]
    ) -> None:
        for genotype in drawn if len(pool) < size else ():
            key = self.space.key(genotype)
            if key not in pool and key not in evaluated and (self._allows is None or self._allows([genotype])[0]):
                pool[key] = self.space.canonical(genotype)
                if len(pool) >= size:
                    return
