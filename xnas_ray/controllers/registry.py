"""Names of controllers."""

from __future__ import annotations

from xnas_ray.controllers.base import Controller
from xnas_ray.registry import Registry

CONTROLLERS: Registry[Controller] = Registry(
    "controller",
    {
        "bananas": "xnas_ray.controllers.bananas",
        "darts": "xnas_ray.controllers.supernet",
        "dmasking": "xnas_ray.controllers.supernet",
        "nars": "xnas_ray.controllers.nars",
        "nasbowl": "xnas_ray.controllers.nasbowl",
        "nsga2": "xnas_ray.controllers.nsga2",
        "pc_darts": "xnas_ray.controllers.supernet",
        "random_search": "xnas_ray.controllers.random_search",
        "regularized_evolution": "xnas_ray.controllers.regularized_evolution",
    },
)
register_controller = CONTROLLERS.register
list_controllers = CONTROLLERS.names
