"""Spaces whose genotypes stand for networks of inverted residuals."""

from __future__ import annotations

from abc import abstractmethod

from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.inverted_residuals import Definition, Size, count, subsampled


class DefinedSpace(Space):
    """A space that gives the ``Definition`` of every genotype; its cost and its network follow from that."""

    builder = "xnas_ray.networks.inverted_residual:build"

    @abstractmethod
    def definition(self, genotype: Genotype) -> Definition:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to the space.
        """

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
