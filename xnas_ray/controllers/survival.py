"""Who survives in NSGA-II: feasible before infeasible, front before front, lonely before crowded."""

from __future__ import annotations

import numpy as np


def rank_and_crowding(targets: np.ndarray, violations: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Number of the front, from 0, and crowding distance within it (Deb et al., IEEE TEVC 2002), by pymoo.

    Infeasible rows come after all feasible ones, in the order of their violation, rows of one violation together
    (Deb's constrained domination). The ends of a front are infinitely far away. Of rows with equal targets one keeps
    its distance and the others get 0: repeats crowd each other out whatever lies beside them.

    Args:
        targets: n x m, larger is better.
        violations: by how much each of the n rows violates the constraints, 0 where it does not.

    Returns:
        n ranks and n distances.
    """
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    targets = np.asarray(targets, dtype=float)
    count = len(targets)
    ranks, distances = np.zeros(count, dtype=np.int64), np.zeros(count)
    violated = np.zeros(count) if violations is None else violations
    feasible = np.flatnonzero(violated <= 0)
    last = -1
    if feasible.size:
        fronts = NonDominatedSorting().do(-targets[feasible])
        for last, front in enumerate(fronts):
            rows = feasible[front]
            ranks[rows] = last
            distances[rows] = _distances(targets[rows])
    levels = np.unique(violated[violated > 0])
    for level, violation in enumerate(levels):
        ranks[violated == violation] = last + 1 + level
    return ranks, distances


def survivors(targets: np.ndarray, size: int, violations: np.ndarray | None = None) -> np.ndarray:
    """The ``size`` rows that live on, ascending; of equals the earlier ones."""
    ranks, distances = rank_and_crowding(targets, violations)
    return np.sort(np.lexsort((-distances, ranks))[:size])


def _distances(targets: np.ndarray) -> np.ndarray:
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    _, first = np.unique(targets, axis=0, return_index=True)
    alone = np.sort(first)
    found = np.zeros(len(targets))
    # With one or two different points there is nothing between them.
    found[alone] = np.inf if len(alone) <= 2 else calc_crowding_distance(-targets[alone])
    return found
