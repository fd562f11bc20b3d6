"""What the trials of a search say by themselves, whoever proposed them: tables beside the controller's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from xnas_ray.spaces.base import Space

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.explain.measured_architectures import MeasuredArchitectures, Trial

log = logging.getLogger(__name__)


def trial_explanations(
    space: Space, trials: Iterable[Trial], maximize: Mapping[str, bool], *, seed: int
) -> dict[str, pd.DataFrame]:
    """Motifs of every objective and effects of options, by kind.

    A table that cannot be made is missing, and the log says why: no search fails because it cannot be explained.

    Args:
        space: of the genotypes.
        trials: that completed.
        maximize: by objective, whether more of it is better.
        seed: of intervals and permutations.
    """
    from xnas_ray.explain.measured_architectures import measured_architectures

    found: dict[str, pd.DataFrame] = {}
    try:
        measured = measured_architectures(space, trials, maximize)
    except Exception:  # a plug-in's space may be anything
        log.warning("the trials of a search cannot be explained", exc_info=True)
        return found
    ways: tuple[Callable[[MeasuredArchitectures, int], dict[str, pd.DataFrame]], ...] = (_motifs, _operations)
    for way in ways:
        try:
            found |= {kind: table for kind, table in way(measured, seed).items() if len(table)}
        except Exception:
            log.warning("a search has no %s of its trials", way.__name__.lstrip("_"), exc_info=True)
    return found


def _motifs(measured: MeasuredArchitectures, seed: int) -> dict[str, pd.DataFrame]:
    from xnas_ray.explain.objective_motifs import objective_motifs

    return objective_motifs(measured, seed=seed)


def _operations(measured: MeasuredArchitectures, seed: int) -> dict[str, pd.DataFrame]:
    from xnas_ray.explain.operation_effects import KIND, operation_effects

    return {KIND: operation_effects(measured)}
