"""Spaces whose architectures are networks with names."""

from __future__ import annotations

from collections.abc import Sequence

from xnas_ray.errors import GenotypeError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Choice, Space


class NamedNetworks(Space):
    """A space with one choice, a network's name, which is also its key and its text.

    Attributes:
        names: in the order of the options.
    """

    names: tuple[str, ...]

    def keep_names(self, names: Sequence[str]) -> None:
        """Make the choice of names that were checked."""
        self.names = tuple(names)
        self.params = {"names": list(names)}
        self.choices = (Choice("network", self.names),)

    def key(self, genotype: Genotype) -> str:
        """The network's name."""
        return self.format(genotype)

    def format(self, genotype: Genotype) -> str:
        """The network's name."""
        return self.names[self.check(genotype)[0]]

    def parse(self, text: str) -> Genotype:
        """The genotype of a name.

        Raises:
            GenotypeError: the space does not have it.
        """
        if text not in self.names:
            raise GenotypeError(f"{text!r} is not in the space.", field="architecture", got=text, valid=self.names)
        return (self.names.index(text),)
