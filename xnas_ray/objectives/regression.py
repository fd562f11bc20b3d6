"""How well values are predicted on the validation split."""

from __future__ import annotations

from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.registry import register_objective


@register_objective("val_mse")
class ValidationMSE(Objective):
    """Mean squared error; the problem's metrics must hold ``mse``."""

    name = "val_mse"
    direction = "min"
    unit = ""
    requires = "regression"


@register_objective("val_r2")
class ValidationR2(Objective):
    """Coefficient of determination; the problem's metrics must hold ``r2``."""

    name = "val_r2"
    direction = "max"
    unit = ""
    requires = "regression"
