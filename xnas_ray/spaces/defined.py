"""Spaces whose genotypes stand for networks of inverted residuals."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import MAX_ENUMERATION, DataShape, Space
from xnas_ray.spaces.batch_costs import Batch, count_batch
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.inverted_operators import add_up_batch, operators
from xnas_ray.spaces.inverted_residuals import Definition, Size, count, subsampled
from xnas_ray.spaces.operators import Operator, Value

if TYPE_CHECKING:
    import networkx as nx


class DefinedSpace(Space):
    """A space that gives the ``Definition`` of every genotype; its cost and its network follow from that."""

    builder = "xnas_ray.networks.inverted_residual:build"

    @abstractmethod
    def definition(self, genotype: Genotype) -> Definition:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to the space.
        """

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"network": graph}``: the chain of block types.

        Widths, expansions and the resolution are ordered: kernels get them as ``numeric``, not as labels.
        """
        from xnas_ray.spaces.graphs import INPUT, OUTPUT, chain

        blocks = self.definition(genotype).blocks
        return {"network": chain([INPUT, *(block.label for block in blocks), OUTPUT])}

    def batch(self, genotypes: np.ndarray) -> Batch | None:
        """The definitions of valid genotypes, int64 ``[n, choices]``, as arrays; None where a space has no such form.

        Only what costs depend on: it must cost what ``definition`` of each genotype does.
        """
        return None

    def influences(self) -> Iterable[Collection[int]] | None:
        """Sets of choices, so that every operator depends on those of one set alone; None where that is not known.

        What an operator depends on, and whether it is there: it is in the networks whose other choices all have their
        last option.
        """
        return None

    def image_size(self, genotype: Genotype, shape: DataShape) -> Size:
        """Height and width at which the network looks at the task's images.

        Raises:
            SpecError: the task's input is not one image, or a smaller one.
        """
        _, height, width = image_input(shape, self.name)
        return subsampled((height, width), self.definition(genotype).resolution)

    def cost(self, genotype: Genotype, shape: DataShape) -> Cost:
        """FLOPs (multiply-accumulates of convolutions and linear layers) and parameters of the network as it is built.

        Raises:
            SpecError: the task's input is not one image that is large enough.
        """
        inputs, *_ = image_input(shape, self.name)
        size = self.image_size(genotype, shape)
        return count(self.definition(genotype), inputs=inputs, outputs=shape.outputs, size=size).cost

    def costs(self, genotypes: Sequence[Genotype], shape: DataShape) -> tuple[np.ndarray, np.ndarray]:
        """As ``cost`` of each, in arrays all at once where the space gives ``batch``.

        Raises:
            SpecError: the task's input is not one image that is large enough.
            GenotypeError: a genotype does not belong to the space.
        """
        inputs, height, width = image_input(shape, self.name)
        batch = self.batch(self.table(genotypes))
        if batch is None:
            return super().costs(genotypes, shape)
        return count_batch(batch, inputs=inputs, outputs=shape.outputs, size=(height, width))

    def operators(self, genotype: Genotype, shape: DataShape) -> tuple[Operator, ...]:
        """Stem, blocks, head and classifier.

        Raises:
            SpecError: the task's input is not one image that is large enough.
        """
        inputs, height, width = image_input(shape, self.name)
        size = self.image_size(genotype, shape)
        found = operators(
            self.definition(genotype), inputs=inputs, outputs=shape.outputs, image=(height, width), size=size
        )
        return tuple(found)

    def add_up(self, genotypes: Sequence[Genotype], shape: DataShape, value: Value) -> np.ndarray:
        """As of each, in arrays all at once where the space gives ``batch``.

        Raises:
            SpecError: the task's input is not one image that is large enough.
            GenotypeError: a genotype does not belong to the space.
        """
        inputs, height, width = image_input(shape, self.name)
        batch = self.batch(self.table(genotypes)) if len(genotypes) else None
        if batch is None:
            return super().add_up(genotypes, shape, value)
        return add_up_batch(batch, inputs=inputs, outputs=shape.outputs, size=(height, width), value=value)

    def covering(self) -> Iterator[Genotype] | None:
        """Products of the choices that ``influences`` puts together, where they are not more than a million."""
        influences = self.influences()
        if influences is None:
            return super().covering()
        sets = [frozenset(places) for places in influences]
        if sum(math.prod(len(self.choices[i].options) for i in places) for places in sets) > MAX_ENUMERATION:
            return None
        options = [range(len(choice.options)) for choice in self.choices]
        return (
            genotype
            for places in sets
            for genotype in product(*(some if i in places else some[-1:] for i, some in enumerate(options)))
        )

    def table(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """Genotypes as int64 ``[n, choices]``.

        Raises:
            GenotypeError: one of them does not belong to the space.
        """
        if not len(genotypes):
            return np.zeros((0, len(self.choices)), dtype=np.int64)
        try:
            table = np.array(genotypes)
        except ValueError:  # of different lengths
            table = np.zeros(0)
        options = np.array([len(choice.options) for choice in self.choices])
        fits = table.ndim == 2 and table.shape[1] == len(options) and table.dtype.kind == "i"
        if not fits or not ((table >= 0) & (table < options)).all():
            table = np.array([self.check(genotype) for genotype in genotypes])
        return table.astype(np.int64, copy=False)
