"""The network of a NAS-Bench-1Shot1 genotype: NAS-Bench-101's of the same cell (Zela et al., ICLR 2020)."""

from __future__ import annotations

from torch import nn

from xnas_ray.messages import Genotype
from xnas_ray.networks.nasbench101 import NASBench101Network
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.spaces.nasbench1shot1 import NASBench1Shot1


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype, without its loose ends.

    Args:
        space: a ``NASBench1Shot1``, or a part of one.
        genotype: a valid genotype of it.
        shape: one image input, and the number of outputs.

    Raises:
        SpecError: the space is another one, or the task's input is not one image.
        GenotypeError: the genotype does not belong to the space.
    """
    whole = whole_space(space, NASBench1Shot1)
    return NASBench101Network(whole.cell(space.check(genotype)), shape, whole.network)
