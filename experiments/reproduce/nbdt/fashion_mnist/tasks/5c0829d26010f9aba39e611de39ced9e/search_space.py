"""Cells of NAS-Bench-201 in a network of a size that suits the images."""

from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench201 import NASBench201


def create_search_space(*, channels: int = 16, cells_per_stage: int = 1, stages: int = 3) -> Space:
    """The space; the parameters are ``space.params`` of a search."""
    return NASBench201(channels=channels, cells_per_stage=cells_per_stage, stages=stages)
