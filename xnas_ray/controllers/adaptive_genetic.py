"""Adaptive genetic search (Srinivas & Patnaik, IEEE TSMC 24(4), 1994) over genotypes whose scores cost little."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.errors import ControllerError, GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space

CROSSOVER = (1.0, 1.0)
"""k1 and k3: probability of a crossover, of the average and of those below it."""
MUTATION = (0.5, 0.5)
"""k2 and k4: probability of another draw a gene, of the average and of those below it."""
LEAST_MUTATION = 0.005
"""The best individuals still change: the formula alone would give them 0."""
TRIES = 5
"""How often a child is bred that is not allowed, or was there before. Under tight constraints that is most of the work:
children of poor members are nearly random."""

Score = Callable[[Sequence[Genotype]], np.ndarray]
Allowed = Callable[[Sequence[Genotype]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Evolution:
    """What an evolution arrived at.

    Attributes:
        genotypes: the last population, the best first, at most ``keep``; canonical, no two of one key.
        scores: of each, float64.
        generations: that were bred.
        best_per_generation: the best score of the start, then after each generation; it never falls.
    """

    genotypes: tuple[Genotype, ...]
    scores: np.ndarray
    generations: int
    best_per_generation: tuple[float, ...]


def evolve(
    space: Space,
    score: Score,
    start: Sequence[Genotype],
    *,
    allowed: Allowed,
    rng: np.random.Generator,
    children: int = 24,
    keep: int = 40,
    epsilon: float = 1e-6,
    max_generations: int = 100,
) -> Evolution:
    """Breed genotypes with high scores among those that are allowed.

    The second half of Algorithm 1 of FBNetV3 (Dai et al., CVPR 2021). Every member of the population has ``children``
    children; the best ``keep`` of all, members and children, are the next population; the first generation without a
    gain of more than ``epsilon`` is the last one. The best member stays, so the best score never falls.

    A child takes its parent's genes, with probability p_c each of them from either of the parent and a random mate;
    then each gene is drawn again from its options with probability p_m (Srinivas & Patnaik, equations 3 to 6)::

        p_c = k1 (f_max - f') / (f_max - f_avg)  if f' >= f_avg, else k3      f': of the fitter one of the two parents
        p_m = k2 (f_max - f)  / (f_max - f_avg)  if f  >= f_avg, else k4      f: of the parent, the child has none yet

    Good members are kept nearly as they are, poor ones are broken up. A population of equals (f_max = f_avg) is broken
    up too: nothing in it is worth more than anything else.

    A child that is invalid, not allowed or the same architecture as one that was looked at before is bred again, up to
    ``TRIES`` times in all; then there are fewer. Where all of a parent's children are refused, as in spaces where few
    genotypes are valid, the space's own crossover and mutation get one try a child.

    Args:
        space: where genotypes come from.
        score: what is maximised: genotypes to float64 [n], finite.
        start: the first population, of any size; what is not allowed or repeated is left out.
        allowed: which of some valid, canonical genotypes may live: to bool [n].
        rng: decides everything that is random.
        children: of every member in every generation.
        keep: members after a generation.
        epsilon: least gain of the best score.
        max_generations: most generations.

    Raises:
        SpecError: a number is out of range.
        ControllerError: no genotype of the start is valid and allowed, or a score is not finite.
    """
    for name, value in (("children", children), ("keep", keep), ("max_generations", max_generations)):
        if value < 1:
            raise SpecError(f"must be at least 1, got {value!r}.", field=name)
    gate = _Gate(space, allowed)
    members = [child for _, child in gate.pass_through(enumerate(start))]
    if not members:
        raise ControllerError(
            f"none of {len(start)} genotypes to start from is allowed.", fix="Loosen the constraints."
        )
    values = _scored(score, members)
    best, generations, before = [float(values.max())], 0, -np.inf
    while best[-1] - before > epsilon and generations < max_generations:
        before = best[-1]
        brood = _brood(space, members, values, gate, children, rng)
        if brood:
            members, values = [*members, *brood], np.concatenate([values, _scored(score, brood)])
        order = np.argsort(-values, kind="stable")[:keep]
        members, values = [members[i] for i in order], values[order]
        generations += 1
        best.append(float(values[0]))
    return Evolution(tuple(members), values, generations, tuple(best))


def adaptive_rate(fitness: np.ndarray, population: np.ndarray, factors: tuple[float, float]) -> np.ndarray:
    """Probability of an operator for individuals of some fitness, [n] in [0, max(factors)].

    Args:
        fitness: [n], each at most the population's best.
        population: fitness of all members.
        factors: at the average, and below it (k1 and k3, or k2 and k4).
    """
    above, below = factors
    best, average = float(population.max()), float(population.mean())
    # The mean of equal numbers may differ from them by rounding, on either side.
    if best - average <= 1e-12 * max(1.0, abs(best)):
        return np.full(fitness.shape, below)
    return np.where(fitness >= average, above * (best - fitness) / (best - average), below)


class _Gate:
    """Lets every architecture through once, canonical, and only where it is allowed.

    All members of a key's class have the same canonical form, which is cheaper to have than the key: it is needed
    anyway, and thousands of children come by.
    """

    def __init__(self, space: Space, allowed: Allowed) -> None:
        self.space = space
        self.allowed = allowed
        self._met: set[Genotype] = set()  # as they came: copies of the best, which hardly mutate, are many
        self._seen: set[Genotype] = set()  # canonical

    def pass_through(self, offered: Iterable[tuple[int, Genotype]]) -> list[tuple[int, Genotype]]:
        """The genotypes that may live, each with the number that it came with; what was refused stays refused."""
        new: list[tuple[int, Genotype]] = []
        for number, genotype in offered:
            if genotype in self._met:
                continue
            self._met.add(genotype)
            if not self.space.is_valid(genotype):
                continue
            canonical = self.space.canonical(genotype)
            if canonical not in self._seen:
                self._seen.add(canonical)
                new.append((number, canonical))
        if not new:
            return []
        mask = np.asarray(self.allowed([genotype for _, genotype in new]), dtype=bool)
        return [pair for pair, may in zip(new, mask.tolist(), strict=True) if may]


def _brood(
    space: Space,
    members: Sequence[Genotype],
    values: np.ndarray,
    gate: _Gate,
    children: int,
    rng: np.random.Generator,
) -> list[Genotype]:
    """Up to ``children`` new genotypes of every member."""
    genes = np.array(members)
    options = np.array([len(choice.options) for choice in space.choices])
    missing = np.full(len(members), children)
    brood: list[Genotype] = []
    for _ in range(TRIES):
        parents = np.repeat(np.arange(len(members)), missing)
        if not parents.size:
            break
        bred = _bred(genes, values, parents, options, rng)
        for parent, child in gate.pass_through(zip(parents.tolist(), map(tuple, bred.tolist()), strict=True)):
            missing[parent] -= 1
            brood.append(child)
    barren = np.flatnonzero(missing == children).tolist()
    offered = (pair for parent in barren for pair in _by_the_space(space, members, parent, children, rng))
    return [*brood, *(child for _, child in gate.pass_through(offered))]


def _bred(
    genes: np.ndarray, values: np.ndarray, parents: np.ndarray, options: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One child a row of ``parents``, int [n, choices]: crossover with a random mate, then mutation."""
    count, shape = len(genes), (len(parents), genes.shape[1])
    mates = (parents + rng.integers(1, count, size=len(parents))) % count if count > 1 else parents
    fitter = np.maximum(values[parents], values[mates])
    crossed = rng.random(len(parents)) < adaptive_rate(fitter, values, CROSSOVER)
    taken = crossed[:, None] & (rng.random(shape) < 0.5)
    child = np.where(taken, genes[mates], genes[parents])
    rate = np.maximum(adaptive_rate(values[parents], values, MUTATION), LEAST_MUTATION)
    drawn = rng.integers(0, options, size=shape)
    return np.where(rng.random(shape) < rate[:, None], drawn, child)


def _by_the_space(
    space: Space, members: Sequence[Genotype], parent: int, count: int, rng: np.random.Generator
) -> list[tuple[int, Genotype]]:
    """Children in the space's own way; fewer where it finds no mutant."""
    made: list[tuple[int, Genotype]] = []
    try:
        for _ in range(count):
            mate = members[int(rng.integers(len(members)))]
            made.append((parent, space.mutate(space.crossover(members[parent], mate, rng), rng)))
    except GenotypeError:  # such as the only member of a restricted space
        pass
    return made


def _scored(score: Score, genotypes: Sequence[Genotype]) -> np.ndarray:
    """Scores, float64 [n].

    Raises:
        ControllerError: one is not finite, or there are more or fewer.
    """
    values = np.asarray(score(genotypes), dtype=np.float64)
    if values.shape != (len(genotypes),) or not np.isfinite(values).all():
        raise ControllerError(f"scores of {len(genotypes)} genotypes must be as many finite numbers, got {values!r}.")
    return values
