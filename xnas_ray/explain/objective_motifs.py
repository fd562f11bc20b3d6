"""What motifs are worth for every objective of a search, whoever proposed its candidates, and whether they agree.

A Gaussian process with a Weisfeiler–Lehman kernel of its own is fitted to each objective, as NAS-BOWL fits one while it
searches; all have the same depth and architectures, so that their motifs are the same and can be set against each
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata, t

from xnas_ray.explain.measured_architectures import MeasuredArchitectures
from xnas_ray.explain.metric_motifs import metric_per_target, posterior_means, wl_part
from xnas_ray.explain.motifs import Motif, least_support, motif_table, read_motifs
from xnas_ray.explain.occurrences import presence
from xnas_ray.explain.wl_gradients import Bootstrap, average_gradients
from xnas_ray.randomness import Domain, rng
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.metric_model import MetricModel, ModelOptions
from xnas_ray.surrogates.model_selection import KernelGrid

if TYPE_CHECKING:
    import pandas as pd

EFFECTS, DIFFERENCES, AGREEMENTS, SCORES = (
    "objective_motifs",
    "motif_differences",
    "motif_agreements",
    "motif_scores",
)
"""Kinds of explanations."""

LEAST = 20
"""Architectures that are needed to say anything."""
MOST = 500
"""More are not looked at: the time grows with their cube."""
DEPTH = 2
"""Steps that motifs look ahead."""
PERMUTATIONS = 1_999
LEVEL = 0.95
"""Probability of the intervals of differences."""

Key = tuple[int, str, int]
"""What tells motifs of one layer apart: id, cell, occurrence."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The model of an objective.

    Attributes:
        model: of its outcomes.
        table: its motifs.
        effects: by motif.
        slopes: by motif, what a target of each architecture adds to the effect, n values.
    """

    model: MetricModel
    table: pd.DataFrame
    effects: Mapping[Key, float]
    slopes: Mapping[Key, np.ndarray]


def objective_motifs(measured: MeasuredArchitectures, *, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Tables by kind; none where there are fewer than ``LEAST`` architectures.

    An objective that all architectures have equally much of has no motifs.

    Args:
        measured: architectures and objectives.
        seed: of bootstrap intervals and permutations.

    Returns:
        ``objective_motifs``: see ``explain.motifs.COLUMNS``, objective after objective. ``motif_differences``: see
        ``_differences``. ``motif_agreements``: see ``_agreements``. ``motif_scores``: what each model makes of each
        architecture, with ``first_trial``, ``metric`` and ``score`` (a posterior mean; its unit is the model's, more
        is better); a column ``trial`` would keep scores of earlier models beside these, of a search that was extended.
    """
    import pandas as pd

    chosen = measured.spread(MOST)
    if len(chosen) < LEAST:
        return {}
    encodings = Encodings(chosen.space, depth=DEPTH)
    rows = encodings.add_all(chosen.genotypes)
    varied = [name for name in chosen.values if np.ptp(chosen.values[name]) > 0]
    fitted = {name: _fit(encodings, rows, chosen, name, seed) for name in varied}
    if not any(len(one.table) for one in fitted.values()):
        return {}
    motifs = {_key(motif): motif for one in fitted.values() for motif in read_motifs(one.table)}
    scores = [
        pd.DataFrame({"first_trial": chosen.trials, "metric": name, "score": posterior_means(one.model)})
        for name, one in fitted.items()
    ]
    return {
        EFFECTS: pd.concat([one.table for one in fitted.values()], ignore_index=True),
        DIFFERENCES: _differences(list(motifs.values()), encodings, rows, chosen),
        AGREEMENTS: _agreements(fitted, rng(seed, Domain.EXPLAIN, 1)),
        SCORES: pd.concat(scores, ignore_index=True),
    }


def _fit(encodings: Encodings, rows: np.ndarray, measured: MeasuredArchitectures, name: str, seed: int) -> _Fitted:
    grid = KernelGrid(depths=(DEPTH,), wl_shares=(1.0,), hamming_lengths=(1.0,))
    options = ModelOptions(grid=grid, refit_growth=0.0)
    model = MetricModel(encodings, name, maximize=measured.maximize[name], epochs=1, options=options)
    for row, value in zip(rows, measured.values[name], strict=True):
        model.add(int(row), float(value), 1)
    part = wl_part(model)
    table = motif_table(
        encodings.features,
        part,
        metric=name,
        scale=metric_per_target(model),
        mean=posterior_means(model),
        seed=seed,
    )
    effects = {_key(motif): motif.effect for motif in read_motifs(table)}
    return _Fitted(model, table, effects, _slopes(encodings, model, effects))


def _slopes(encodings: Encodings, model: MetricModel, wanted: Mapping[Key, float]) -> dict[Key, np.ndarray]:
    """Effects are linear in the targets: what each target adds to each."""
    part = wl_part(model)
    found: dict[Key, np.ndarray] = {}
    terms = average_gradients(
        encodings.features,
        part,
        rng(0, Domain.EXPLAIN),
        min_support=least_support(len(part.rows)),
        bootstrap=Bootstrap(resamples=1),  # nobody reads the intervals
    )
    for term in terms:
        for (motif, occurrence), weights in zip(term.columns, term.whole.weights.T, strict=True):
            found[motif, term.cell, occurrence] = weights
    precision = model.members[0].gp.precision()
    return {key: found[key] @ precision for key in wanted}


def _key(motif: Motif) -> Key:
    return motif.id, motif.cell, motif.occurrence


# ---- objectives beside each other ------------------------------------------------------------------------------------


def _agreements(fitted: Mapping[str, _Fitted], generator: np.random.Generator) -> pd.DataFrame:
    """Whether motifs that are good for one objective are good for another.

    Effects of motifs depend on each other, since they are of the same architectures, so that no test may shuffle them.
    The outcomes of one objective are shuffled over the architectures instead, and its effects are computed again under
    its kernel; p is the larger one of shuffling either objective.

    Returns:
        A row a pair of objectives: ``first``, ``second``, ``motifs`` and ``architectures`` (their numbers),
        ``spearman`` (of the effects), ``p`` (two-sided); NaN where there are fewer than three motifs.
    """
    import pandas as pd

    rows = []
    for (first, a), (second, b) in combinations(fitted.items(), 2):
        keys = [key for key in a.effects if key in b.effects]
        value, p = np.nan, np.nan
        if len(keys) >= 3:
            value = _spearman(np.array([a.effects[key] for key in keys]), np.array([[b.effects[key] for key in keys]]))[
                0
            ]
            p = max(_shuffled_p(a, b, keys, value, generator), _shuffled_p(b, a, keys, value, generator))
        rows.append((first, second, len(keys), len(a.model), value, p))
    return pd.DataFrame(rows, columns=["first", "second", "motifs", "architectures", "spearman", "p"])


def _shuffled_p(
    held: _Fitted, shuffled: _Fitted, keys: list[Key], value: float, generator: np.random.Generator
) -> float:
    """How often outcomes that mean nothing agree as well: the share of permutations, the one that was met included."""
    targets = shuffled.model.members[0].gp.targets
    orders = generator.permuted(np.tile(targets, (PERMUTATIONS, 1)), axis=1)
    effects = orders @ np.stack([shuffled.slopes[key] for key in keys], axis=1)
    met = np.abs(_spearman(np.array([held.effects[key] for key in keys]), effects))
    return float((1 + (met >= abs(value) - 1e-12).sum()) / (1 + PERMUTATIONS))


def _spearman(effects: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rank correlation of effects with each row of others; 0 where all are equal."""
    a, b = rankdata(effects), rankdata(others, axis=1)
    a, b = a - a.mean(), b - b.mean(axis=1, keepdims=True)
    lengths = np.sqrt((a @ a) * (b * b).sum(axis=1))
    return np.asarray(np.divide(b @ a, lengths, out=np.zeros(len(b)), where=lengths > 0))


def _differences(
    motifs: list[Motif], encodings: Encodings, rows: np.ndarray, measured: MeasuredArchitectures
) -> pd.DataFrame:
    """Every objective with each motif and without it.

    Architectures are not drawn at random, so a difference is an association: what usually comes with the motif counts.

    Returns:
        A row a motif and objective: ``motif``, ``cell``, ``occurrence``, ``layer``, ``text``, ``metric``, ``with`` and
        ``without`` (numbers of architectures), ``mean_with``, ``mean_without`` (in the metric's unit), ``difference``
        (positive is good, also where the metric is minimised), ``low`` and ``high`` (its 95 % interval by Welch's t)
        and ``p`` (two-sided, Welch); NaN where either group has fewer than two.
    """
    import pandas as pd

    has = presence(encodings.features, rows, motifs)
    found = []
    for j, motif in enumerate(motifs):
        names = {name: getattr(motif, name) for name in ("cell", "occurrence", "layer", "text")}
        for metric, values in measured.values.items():
            own, others = values[has[:, j]], values[~has[:, j]]
            better = 1.0 if measured.maximize[metric] else -1.0
            counts = {"with": len(own), "without": len(others)}
            found.append({"motif": motif.id, **names, "metric": metric, **counts, **_welch(own, others, better)})
    return pd.DataFrame(found)


def _welch(own: np.ndarray, others: np.ndarray, better: float) -> dict[str, float]:
    """Welch's comparison of two means (Biometrika 34, 1947), with Satterthwaite's degrees of freedom."""
    names = ("mean_with", "mean_without", "difference", "low", "high", "p")
    if min(len(own), len(others)) < 2:
        return dict.fromkeys(names, np.nan)
    parts = np.array([own.var(ddof=1) / len(own), others.var(ddof=1) / len(others)])
    difference, error = better * (own.mean() - others.mean()), float(np.sqrt(parts.sum()))
    if error == 0:
        return dict(zip(names, (own.mean(), others.mean(), *[difference] * 3, np.nan), strict=True))
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([len(own), len(others)]) - 1)).sum()
    reach = t.ppf(0.5 + LEVEL / 2, freedom) * error
    p = 2 * float(t.sf(abs(difference) / error, freedom))
    values = (own.mean(), others.mean(), difference, difference - reach, difference + reach, p)
    return {name: float(value) for name, value in zip(names, values, strict=True)}
