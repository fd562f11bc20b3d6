"""The choices of a space, and which of them the first objective depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.report.material import Material
from xnas_ray.spaces.base import Choice


@dataclass(frozen=True, slots=True)
class Gene:
    """A choice as a search made it.

    Attributes:
        name: of the choice.
        options: as text.
        picked: of every finished trial the number of the option.
        share: of the variance of the first objective that the option alone tells (eta squared), 0 to 1.
    """

    name: str
    options: tuple[str, ...]
    picked: np.ndarray
    share: float


def genes(material: Material, choices: Sequence[Choice] | None) -> list[Gene]:
    """Choices that were not always made alike, the most telling first.

    Args:
        material: the search.
        choices: of its space; without them options are shown by number.
    """
    if not len(material.trials):
        return []
    picked = np.array([tuple(g) for g in material.trials["genotype"]], dtype=int)
    values = material.signed[:, 0]
    found = []
    for i in range(picked.shape[1]):
        column = picked[:, i]
        if len(np.unique(column)) < 2:
            continue
        if choices is not None and i < len(choices):
            name, options = choices[i].name, tuple(str(option) for option in choices[i].options)
        else:
            name, options = f"choice {i}", tuple(str(n) for n in range(int(column.max()) + 1))
        found.append(Gene(name, options, column, explained_share(column, values)))
    return sorted(found, key=lambda gene: -gene.share)


def explained_share(groups: np.ndarray, values: np.ndarray) -> float:
    """Eta squared: the variance between the means of groups over the whole variance; values that are NaN do not count.

    Source: Fisher, Statistical Methods for Research Workers (1925), on the correlation ratio.
    """
    known = np.isfinite(values)
    values, groups = values[known], groups[known]
    if len(values) < 2 or not (total := float(((values - values.mean()) ** 2).sum())):
        return 0.0
    means = {g: values[groups == g].mean() for g in np.unique(groups)}
    between = sum(float((groups == g).sum()) * (mean - values.mean()) ** 2 for g, mean in means.items())
    return float(min(1.0, between / total))
