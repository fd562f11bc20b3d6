"""What each option of each choice is worth, from the trials alone: main effects by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import helmert

from xnas_ray.explain.measured_architectures import MeasuredArchitectures

if TYPE_CHECKING:
    import pandas as pd

KIND = "operation_effects"
"""Kind of the table of explanations."""

LEAST = 20
"""Architectures that are needed to say anything."""

_RIDGES = np.geomspace(1e-2, 1e3, 31)
_RANK = 1e-8


@dataclass(frozen=True, eq=False)
class _Design:
    """Choices as columns.

    Attributes:
        matrix: n architectures x columns; columns of a choice are contrasts of its options, so that their effects add
            up to 0; without the mean.
        parts: of every choice that was not always made alike: its position, its options that were met, and their
            contrasts, options x columns.
        columns: where each part is.
    """

    matrix: np.ndarray
    parts: tuple[tuple[int, np.ndarray, np.ndarray], ...]
    columns: tuple[slice, ...]


def operation_effects(measured: MeasuredArchitectures) -> pd.DataFrame:
    """Main effects of the options on every objective.

    The model is ``y = mean + sum over choices of the effect of the option that was taken``, by ordinary least squares;
    the effects of the options of a choice that were met add up to 0. Where the architectures cannot tell all effects
    apart, or are no more than there are effects, ridge regression takes its place, with the penalty of the least
    generalised cross-validation (Golub, Heath & Wahba, Technometrics 21, 1979); it draws effects towards 0.

    Args:
        measured: architectures and objectives.

    Returns:
        A row an objective and option: ``metric``, ``choice``, ``option``, ``effect`` (in the metric's unit, positive
        is good, also where it is minimised), ``std_error``, ``support`` (architectures that have the option),
        ``architectures``, ``explained`` (share of the objective's variance that the effects explain; of the data that
        they were fitted to) and ``ridge`` (the penalty, 0 of ordinary least squares). Without rows where there are
        fewer than ``LEAST`` architectures.
    """
    import pandas as pd

    names = ["metric", "choice", "option", "effect", "std_error", "support", "architectures", "explained", "ridge"]
    rows = []
    design = _design(measured) if len(measured) >= LEAST else None
    for metric in measured.values if design is not None and design.parts else ():
        assert design is not None
        values = measured.signed(metric)
        solution, covariance, ridge = _solve(design.matrix, values)
        left = values - values.mean() - design.matrix @ solution
        whole = float(((values - values.mean()) ** 2).sum())
        explained = 1 - float(left @ left) / whole if whole else np.nan
        for (position, options, contrasts), at in zip(design.parts, design.columns, strict=True):
            choice = measured.space.choices[position]
            errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", contrasts, covariance[at, at], contrasts), 0))
            picked = np.array([genotype[position] for genotype in measured.genotypes])
            for option, effect, error in zip(options, contrasts @ solution[at], errors, strict=True):
                support = int((picked == option).sum())
                facts = (metric, choice.name, str(choice.options[option]), float(effect), float(error), support)
                rows.append((*facts, len(measured), explained, ridge))
    return pd.DataFrame(rows, columns=names)


def _design(measured: MeasuredArchitectures) -> _Design:
    picked = np.array(measured.genotypes, dtype=int)
    blocks, parts, columns, start = [np.zeros((len(picked), 0))], [], [], 0
    for position in range(picked.shape[1]):
        options = np.unique(picked[:, position])
        if len(options) < 2:
            continue
        contrasts = helmert(len(options)).T
        block = contrasts[np.searchsorted(options, picked[:, position])]
        blocks.append(block - block.mean(axis=0))
        parts.append((position, options, contrasts))
        columns.append(slice(start, start + block.shape[1]))
        start += block.shape[1]
    return _Design(np.concatenate(blocks, axis=1), tuple(parts), tuple(columns))


def _solve(matrix: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients, their covariance, and the penalty that was needed."""
    n = len(values)
    centred = values - values.mean()
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    whole = singular[-1] > _RANK * singular[0] and n - 1 - matrix.shape[1] > 0
    along = left.T @ centred
    ridge = 0.0 if whole else min(_RIDGES, key=lambda penalty: _cross_validated(singular, along, centred, penalty))
    shrunk = singular / (singular**2 + ridge)
    kept = singular * shrunk
    residual = centred - left @ (kept * along)
    freedom = max(1.0, n - 1 - float(kept.sum()))
    noise = float(residual @ residual) / freedom
    covariance = noise * (right.T * shrunk**2) @ right
    return right.T @ (shrunk * along), covariance, float(ridge)


def _cross_validated(singular: np.ndarray, along: np.ndarray, centred: np.ndarray, penalty: float) -> float:
    """The generalised cross-validation score of a penalty."""
    kept = singular**2 / (singular**2 + penalty)
    left = float(centred @ centred) - float(along @ along) + float((((1 - kept) * along) ** 2).sum())
    return left / max(1e-12, len(centred) - 1 - float(kept.sum())) ** 2
