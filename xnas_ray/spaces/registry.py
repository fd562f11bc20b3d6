"""Names of spaces: ``@register_space("mine")``, ``list_spaces("nas*")``."""

from __future__ import annotations

from xnas_ray.registry import Registry
from xnas_ray.spaces.base import Space

SPACES: Registry[Space] = Registry(
    "space",
    {
        "darts": "xnas_ray.spaces.darts",
        "fbnet": "xnas_ray.spaces.fbnet",
        "fbnetv2": "xnas_ray.spaces.fbnetv2",
        "fbnetv3": "xnas_ray.spaces.fbnetv3",
        "fixed": "xnas_ray.spaces.fixed",
        "joint": "xnas_ray.spaces.joint",
        "nasbench101": "xnas_ray.spaces.nasbench101",
        "nasbench1shot1": "xnas_ray.spaces.nasbench1shot1",
        "nasbench201": "xnas_ray.spaces.nasbench201",
        "torchvision": "xnas_ray.spaces.torchvision_classifiers",
    },
)
register_space = SPACES.register
list_spaces = SPACES.names
