"""A queue of neural-architecture searches that explain themselves, on Ray and Slurm.

Names are imported when first used: ``import xnas_ray`` itself loads neither torch, ray, pandas nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Client": "xnas_ray.client",
    "SearchSpec": "xnas_ray.spec",
    "XnasError": "xnas_ray.errors",
    "list_controllers": "xnas_ray.controllers.registry",
    "list_searches": "xnas_ray.store",
    "list_spaces": "xnas_ray.spaces.registry",
    "load_activations": "xnas_ray.store",
    "load_curves": "xnas_ray.store",
    "load_tree_samples": "xnas_ray.store",
    "load_trials": "xnas_ray.store",
    "run_local": "xnas_ray.client",
    "register_controller": "xnas_ray.controllers.registry",
    "register_objective": "xnas_ray.objectives.registry",
    "register_space": "xnas_ray.spaces.registry",
}
__all__ = sorted([*_EXPORTS, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'xnas_ray' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
