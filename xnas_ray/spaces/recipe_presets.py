"""Recipe spaces by name: ``recipe = "nars"`` in a specification.

NARS (Dai et al. 2021, Table 1; Table 4.2 of the thesis) searches the learning rate, the optimizer, dropout (p),
stochastic depth (d), mixup (m) and weight decay: 9,452,520 recipes, and twice as many where the moving average of the
weights (EMA) is searched too. The table's exponents are illegible in part: p, d and m are read as hundredths, since
tenths of up to 41 are no shares, and so the size is the 10^7 that the text gives. The recipe that the authors found has
a d of 0.09 and stands just outside of that table, which begins at 0.10.

Two things are a rule where the table has a range:

* The learning rate is 4 times that of the table with SGD: the gene ``lr`` has the table's levels and ``times``.
* ``mixup_alpha`` cannot be 0. Its first level is 1e-6, with which every draw keeps an image as it is.

What is not searched is the search's own ``recipe``. The authors train with ``augment = ["autoaugment", "mixup"]``
(without ``"mixup"`` its gene has no effect), label smoothing, ``decay_norm_and_bias = false``, the schedule
``exponential`` with ``lr_decay = 0.963`` (0.9875 for final trainings) and ``ema_decay = 0.99985``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MIXUP_OFF = 1e-6
"""The smallest parameter of mixup's Beta distribution that a recipe takes."""

EMA_DECAY = 0.99985


def _range(low: int, high: int, unit: float) -> dict[str, list[float]]:
    """Whole multiples of a unit, rounded to the digits that they have."""
    return {"choice": [float(f"{i * unit:.3g}") for i in range(low, high + 1)]}


_NARS: Mapping[str, Any] = {
    "lr": {**_range(20, 30, 1e-3), "times": {"optimizer": {"sgd": 4}}},
    "optimizer": ["rmsprop", "sgd"],
    "dropout": _range(1, 31, 1e-2),
    "drop_path": _range(10, 31, 1e-2),
    "mixup_alpha": {"choice": [MIXUP_OFF, *_range(1, 41, 1e-2)["choice"]]},
    "weight_decay": _range(7, 21, 1e-6),
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "nars": _NARS,
    "nars_ema": {**_NARS, "ema_decay": [0.0, EMA_DECAY]},
}
"""``nars`` is the joint search's, which always has EMA; ``nars_ema`` the recipe-only search's."""
