"""One architecture of a space, as a space: what stays to be searched is its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.joint import registered_space
from xnas_ray.spaces.operators import Operator
from xnas_ray.spaces.registry import register_space

if TYPE_CHECKING:
    import networkx as nx
    from torch import nn

ONLY: Genotype = (0,)


@register_space("fixed")
class FixedSpace(Space):
    """A single architecture; the architecture of a ``joint`` space in which recipes alone are searched.

    ```toml
    [space]
    name = "joint"
    [space.params.recipe]
    preset = "nars_ema"
    [space.params.architecture]
    name = "fixed"
    [space.params.architecture.params]
    architecture = {name = "fbnetv3", params = {preset = "digits"}}
    text = "r8 c8 | k3 e1 c8 n1 | k5 e4/2 c16 n2 | k5 e4/2 c24 n2 | k3 e4/2 c32 n1"
    ```

    Keys, texts, graphs, costs and networks are those of the architecture in its own space; the genotype is ``(0,)``.

    Args:
        architecture: a space, or the name and parameters of a registered one; in a specification also ``"task"``, the
            task's own, which is the default there.
        text: the architecture, as that space writes it.

    Attributes:
        architectures: the space that the architecture is one of.
        genotype: what it is there, canonical.

    Raises:
        SpecError: ``architecture`` names no space, or ``text`` none of its architectures.
    """

    name = "fixed"
    builder = "xnas_ray.spaces.fixed:build"

    def __init__(self, *, architecture: Space | str | Mapping[str, Any], text: str) -> None:
        """Read the architecture."""
        space = architecture if isinstance(architecture, Space) else registered_space(architecture)
        try:
            self.genotype = space.canonical(space.check(space.parse(text)))
        except GenotypeError as error:
            raise SpecError(
                error.message, field="space.params.text", fix=error.fix, valid=error.valid or None, got=error.got
            ) from None
        self.architectures = space
        self.text = space.format(self.genotype)
        self.choices = (Choice("architecture", (self.text,)),)
        self.params = {"architecture": {"name": space.name, "params": dict(space.params)}, "text": self.text}
        self.table_columns = space.table_columns

    @property
    def fingerprint(self) -> str:
        """The name, the architecture's text, and its space's fingerprint."""
        return f"{self.name}:{self.text}:{self.architectures.fingerprint}"

    @property
    def mutation_rates(self) -> tuple[float, ...]:
        """Nothing can change."""
        return (0.0,)

    def perturb(
        self, genotype: Genotype, rng: np.random.Generator, rates: float | Sequence[float] | None = None
    ) -> Genotype:
        """See ``mutate``."""
        return self.mutate(genotype, rng)

    def mutate(self, genotype: Genotype, rng: np.random.Generator, changes: int = 1) -> Genotype:
        """There are no mutants.

        Raises:
            GenotypeError: always.
        """
        raise GenotypeError(f"no valid mutant of {genotype}: it is the only member.", field="genotype")

    def key(self, genotype: Genotype) -> str:
        """As in the architecture's space."""
        return self.architectures.key(self._inner(genotype))

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """As in the architecture's space."""
        return self.architectures.graphs(self._inner(genotype))

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """As in the architecture's space."""
        return self.architectures.cost(self._inner(genotype), shape)

    def costs(self, genotypes: Sequence[Genotype], shape: DataShape) -> tuple[np.ndarray, np.ndarray]:
        """One number, as many times as there are genotypes."""
        for genotype in genotypes:
            self._inner(genotype)
        cost = self.architectures.cost(self.genotype, shape)
        return tuple(np.full(len(genotypes), value, dtype=np.int64) for value in (cost.flops, cost.params))  # type: ignore[return-value]

    def operators(self, genotype: Genotype, shape: DataShape) -> tuple[Operator, ...]:
        """As in the architecture's space."""
        return self.architectures.operators(self._inner(genotype), shape)

    def recipe(self, genotype: Genotype) -> dict[str, Any]:
        """As in the architecture's space."""
        return self.architectures.recipe(self._inner(genotype))

    def format(self, genotype: Genotype) -> str:
        """As in the architecture's space."""
        return self.architectures.format(self._inner(genotype))

    def parse(self, text: str) -> Genotype:
        """The genotype of the one architecture, however its space writes it.

        Raises:
            GenotypeError: the text is of another one, or of none.
        """
        found = self.architectures.parse(text)
        if self.architectures.canonical(found) != self.genotype:
            raise GenotypeError(f"{text!r} is not the architecture {self.text!r}.", field="architecture")
        return ONLY

    def _inner(self, genotype: Genotype) -> Genotype:
        self.check(genotype)
        return self.genotype


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of the one architecture.

    Raises:
        SpecError: the space is another one.
    """
    whole = space.unwrapped
    if not isinstance(whole, FixedSpace):
        raise SpecError(f"builds the architecture of 'fixed' spaces, not of {whole.name!r}.", field="space.name")
    space.check(genotype)
    return whole.architectures.build(whole.genotype, shape)
