"""Table look-ups as trials, and official benchmark files as such tables.

``from xnas_ray.benchmarks import TabularTask, simulate`` is all that a comparison of controllers needs.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "SimulationCost": "xnas_ray.benchmarks.simulator",
    "TabularTask": "xnas_ray.benchmarks.table",
    "simulate": "xnas_ray.benchmarks.simulator",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
