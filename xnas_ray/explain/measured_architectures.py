"""The architectures of a search, each once, with what was measured on them: what explanations of trials start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space


class Trial(NamedTuple):
    """A completed trial.

    Attributes:
        number: in its search.
        genotype: of its architecture.
        fidelity: epochs.
        metrics: by name; one may lack some.
    """

    number: int
    genotype: Genotype
    fidelity: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class MeasuredArchitectures:
    """Architectures that were trained equally long.

    Attributes:
        space: theirs.
        trials: number of the first trial of each, n values.
        genotypes: n of them, no two with the same key.
        values: by metric n values, means where an architecture was trained several times.
        maximize: by metric, whether more of it is better.
    """

    space: Space
    trials: np.ndarray
    genotypes: tuple[Genotype, ...]
    values: Mapping[str, np.ndarray]
    maximize: Mapping[str, bool]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.genotypes)

    def signed(self, metric: str) -> np.ndarray:
        """The values of a metric with the sign that makes larger better."""
        return self.values[metric] if self.maximize[metric] else -self.values[metric]

    def spread(self, most: int) -> MeasuredArchitectures:
        """At most so many of them, evenly spread over the search."""
        if len(self) <= most:
            return self
        kept = np.linspace(0, len(self) - 1, most).round().astype(int)
        values = {name: column[kept] for name, column in self.values.items()}
        genotypes = tuple(self.genotypes[i] for i in kept)
        return MeasuredArchitectures(self.space, self.trials[kept], genotypes, values, self.maximize)


def measured_architectures(
    space: Space, trials: Iterable[Trial], maximize: Mapping[str, bool]
) -> MeasuredArchitectures:
    """Those that have every metric, in the order of their first trials.

    Metrics of different fidelities do not compare: the fidelity at which most trials were measured counts, the higher
    one of two.

    Args:
        space: of the genotypes.
        trials: that completed.
        maximize: the metrics, and whether more of each is better.
    """
    whole = [trial for trial in trials if all(np.isfinite(trial.metrics.get(name, np.nan)) for name in maximize)]
    counts = Counter(trial.fidelity for trial in whole)
    fidelity = max(counts, key=lambda epochs: (counts[epochs], epochs), default=0)
    groups: dict[str, list[Trial]] = {}
    for trial in whole:
        if trial.fidelity == fidelity:
            groups.setdefault(space.key(trial.genotype), []).append(trial)
    first = [group[0] for group in groups.values()]
    values = {
        name: np.array([np.mean([trial.metrics[name] for trial in group]) for group in groups.values()], dtype=float)
        for name in maximize
    }
    numbers = np.array([trial.number for trial in first], dtype=np.int64)
    return MeasuredArchitectures(space, numbers, tuple(trial.genotype for trial in first), values, dict(maximize))
