"""The pool of architectures that NARS ranks: quasi-random points of the space, counted before any is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from xnas_ray.controllers.nars_region import Region
from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import MAX_ENUMERATION, Space

LONGEST_DRAW = 16
"""Points a genotype that is wanted, before samples of the space take their place."""
SAMPLES = 4
"""Samples of the space a genotype that is wanted, before the pool stays small."""
BLOCK = 4_096


@dataclass(frozen=True)
class Pool:
    """Genotypes of a space that its constraints allow, canonical, one a key, and what they cost.

    Attributes:
        genotypes: n, in the order in which they were drawn.
        index: place of each key.
        flops: int64 [n].
        params: int64 [n].
    """

    genotypes: tuple[Genotype, ...]
    index: dict[str, int]
    flops: np.ndarray
    params: np.ndarray

    def __len__(self) -> int:
        """Number of genotypes."""
        return len(self.genotypes)

    @classmethod
    def draw(cls, region: Region, size: int, rng: np.random.Generator) -> Pool:
        """A pool of ``size``, smaller where the space has not as many.

        A space that is not larger is taken whole. Else a scrambled Sobol sequence is drawn in powers of two, as its
        balance needs, until enough of its points are allowed. (The thesis cites Niederreiter's sequence; the scrambled
        one has no worse discrepancy and no artefacts in 36 dimensions.) Where valid genotypes are rare, as in spaces of
        graphs, samples of the space fill up what is missing.

        Args:
            region: the space and its constraints.
            size: genotypes that are wanted.
            rng: scrambles the sequence, and draws the samples.
        """
        space, found = region.space, dict[Genotype, None]()  # canonical: one a key, without the cost of all keys
        if space.size <= min(size, MAX_ENUMERATION):
            sources = [space.enumerate()]
        else:
            sources = [_sobol(space, size, rng), _samples(space, size, rng)]
        for source in sources:
            while len(found) < size and (block := list(islice(source, min(BLOCK, 2 * size)))):
                _take(found, block, region, size)
        genotypes = tuple(found)
        flops, params = region.costs(genotypes)
        return cls(genotypes, {space.key(genotype): i for i, genotype in enumerate(genotypes)}, flops, params)

    def bins(self, count: int) -> np.ndarray:
        """Number of the bin of each genotype, int [n]: ``count`` equal ones between the lowest and highest FLOPs.

        One bin, number 0, where all have the same FLOPs, as when recipes alone are searched.
        """
        if not len(self) or self.flat:
            return np.zeros(len(self), dtype=np.int64)
        low, high = int(self.flops.min()), int(self.flops.max())
        return np.minimum((self.flops - low) * count // (high - low), count - 1)

    @property
    def flat(self) -> bool:
        """Whether all have the same FLOPs, so that there is nothing to spread over."""
        return bool((self.flops == self.flops[:1]).all())


def _take(found: dict[Genotype, None], drawn: Sequence[Genotype], region: Region, size: int) -> None:
    """Add the canonical forms of those that are valid, allowed and new, up to ``size`` in all."""
    space = region.space
    canonical = dict.fromkeys(space.canonical(genotype) for genotype in drawn if space.is_valid(genotype))
    fresh = [genotype for genotype in canonical if genotype not in found]
    mask = region.allows(fresh)
    allowed = (genotype for genotype, may in zip(fresh, mask.tolist(), strict=True) if may)
    found.update(dict.fromkeys(islice(allowed, size - len(found))))


def _sobol(space: Space, size: int, rng: np.random.Generator) -> Iterator[Genotype]:
    """Points of the sequence as genotypes, valid or not."""
    from scipy.stats import qmc

    sampler = qmc.Sobol(len(space.choices), scramble=True, rng=rng)
    power = max(1, (2 * size - 1).bit_length())  # about half of a space satisfies usual constraints
    drawn = 0
    while drawn < LONGEST_DRAW * size:
        # The sequence stays balanced when its length doubles.
        points = sampler.random_base2(power if not drawn else drawn.bit_length() - 1)
        drawn += len(points)
        yield from map(space.from_unit_cube, points.tolist())


def _samples(space: Space, size: int, rng: np.random.Generator) -> Iterator[Genotype]:
    for _ in range(SAMPLES * size):
        try:
            yield space.sample(rng)
        except GenotypeError:  # valid genotypes are too rare for the space's sampler
            return
