"""How NSGA-II makes a child of two parents."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space


class Operators(ABC):
    """Crossover and mutation in a space; children may be invalid or equal to their parents."""

    @abstractmethod
    def cross(self, space: Space, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """A child of two parents."""

    @abstractmethod
    def mutate(self, space: Space, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """Every choice changes with a probability of its own, maybe none does."""


class Categorical(Operators):
    """For options without an order: the space's uniform crossover, another option at random at its rates."""

    def cross(self, space: Space, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """Every choice from either parent."""
        return space.crossover(first, second, rng)

    def mutate(self, space: Space, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """The genotype itself as often as all rates leave it alone, and where it has no mutant."""
        if rng.random() < float(np.prod(1 - np.asarray(space.mutation_rates))):
            return genotype
        try:
            return space.perturb(genotype, rng)
        except GenotypeError:  # such as the only member of a restricted space
            return genotype


class Ordinal(Operators):
    """XNAS' operators: simulated binary crossover and polynomial mutation of the options' numbers, rounded.

    They take options for points on a line, so which ones are near depends on the order in which they are listed. As in
    DeepHyper 0.2.5 with pymoo 0.4.2 a choice is crossed with probability 1/2 and mutated with one over their number,
    and bounds lie half an option outside.

    Args:
        eta: distribution index of both, 3 there; larger stays nearer to the parents.
    """

    def __init__(self, eta: float = 3.0) -> None:
        """Remember the index."""
        self.eta = eta

    def cross(self, space: Space, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """Either child of the crossover."""
        from pymoo.operators.crossover.sbx import cross_sbx

        low, high = _bounds(space)
        eta, half = np.full((1, 1), self.eta), np.full((1, 1), 0.5)
        pair = np.array([[first], [second]], dtype=float)
        children = cross_sbx(pair, low, high, eta, half, half.copy(), random_state=rng)
        return _rounded(children[int(rng.random() < 0.5), 0], high)

    def mutate(self, space: Space, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """Small steps are likelier than large ones; half of them round to no step at all."""
        from pymoo.operators.mutation.pm import mut_pm

        low, high = _bounds(space)
        rate = np.full(1, 1 / len(space.choices))
        parent = np.array([genotype], dtype=float)
        mutant = mut_pm(parent, low, high, np.full(1, self.eta), rate, False, random_state=rng)
        return _rounded(mutant[0], high)


def _bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(space.choices), -0.5), np.array([len(choice.options) - 0.5 for choice in space.choices])


def _rounded(options: np.ndarray, high: np.ndarray) -> Genotype:
    """Whole numbers of options; a bound itself rounds outwards and is taken back."""
    return tuple(int(option) for option in np.clip(np.rint(options), 0, high - 0.5))
