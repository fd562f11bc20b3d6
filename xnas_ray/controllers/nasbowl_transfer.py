"""What NAS-BOWL takes from finished searches: where to begin, what to expect, which motifs to insist on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.controllers.base import Goal, Source
from xnas_ray.controllers.candidate_pools import PoolMaker
from xnas_ray.controllers.nasbowl_settings import Settings
from xnas_ray.messages import Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.calibration import spearman
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.metric_model import MetricModel
from xnas_ray.surrogates.prior_mean import PriorMean, SourceMean
from xnas_ray.surrogates.wl_features import wl_counts

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.explain.motifs import Motif

TRANSFER = "transfer"
"""Kind of the table of explanations."""
SOURCES = "prior"
"""``origin["stage"]`` of candidates that sources alone have chosen."""
MOTIF_DEPTH = 1
MOTIF_PERCENTILE = 30.0
FIRST = 3
"""How many candidates sources choose. Whatever else is asked before there are outcomes is random: set against these, a
source that is wrong is found out after a handful of outcomes, and one that is right has no need of more."""
TRUSTED = 0.5
"""Below this probability that sources count, the initial random candidates are made up for."""
MOTIF_DRAWS = 200
"""Random architectures among which one with a good motif is looked for."""


class Heritage:
    """Finished searches as a source of knowledge, in the form that ``Settings.transfer`` names.

    Args:
        sources: the searches.
        space: of the search that learns.
        goals: its objectives.
        settings: its parameters.
        seed: of its random numbers.
    """

    def __init__(
        self, sources: Sequence[Source], space: Space, goals: Sequence[Goal], settings: Settings, seed: int
    ) -> None:
        """Nothing is fitted yet."""
        self.form = settings.transfer if sources else "none"
        self.sources = tuple(sources)
        self._space = space
        self._goals = tuple(goals)
        self._settings = settings
        self._seed = seed
        self._ranked: list[Genotype] | None = None
        self._allowed: dict[str, bool] = {}

    # ---- prior mean -------------------------------------------------------------------------------------------------

    def priors(self, encodings: Encodings) -> dict[str, PriorMean]:
        """The prior mean of every objective that a source has measured, by name."""
        found = {}
        for goal in self._goals if self.form == "prior" else ():
            means = [mean for source in self.sources if (mean := self._mean(source, goal, encodings)).model.ready]
            if means:
                found[goal.name] = PriorMean(means)
        return found

    def _mean(self, source: Source, goal: Goal, encodings: Encodings) -> SourceMean:
        genotypes, values = self._known(source, goal)
        model = MetricModel(encodings, goal.name, maximize=goal.maximize, epochs=1, options=self._settings.model)
        return SourceMean(source.search_id, genotypes, values, model)

    def _known(self, source: Source, goal: Goal) -> tuple[list[Genotype], list[float]]:
        """Architectures of a source that have this metric, and its values."""
        pairs = zip(source.genotypes, source.metrics, strict=True)
        known = [(self._space.canonical(g), float(m[goal.name])) for g, m in pairs if goal.name in m]
        return [genotype for genotype, _ in known], [value for _, value in known]

    def ranked(self, prior: PriorMean, encodings: Encodings, listed: Sequence[Genotype] | None) -> list[Genotype]:
        """Where to begin: architectures by what the sources expect of them, best first.

        Args:
            prior: of the first objective.
            encodings: of the search.
            listed: all architectures of the space; None where they cannot be listed: then the best of the sources,
                mutants of them and random ones are looked at.
        """
        if self._ranked is None:
            candidates = self._pool(prior) if listed is None else list(listed)
            values = prior.ranking(encodings.add_all(candidates))
            self._ranked = [candidates[i] for i in np.argsort(-values, kind="stable")]
        return self._ranked

    def _pool(self, prior: PriorMean) -> list[Genotype]:
        settings = self._settings
        best = [g for source in prior.sources for g in source.best(settings.parents) if self._space.is_valid(g)]
        maker = PoolMaker(self._space, size=settings.pool, mutants=0.5)
        drawn = maker.draw(best, (), rng(self._seed, Domain.POOL, 0, FIRST))
        pool = {self._space.key(genotype): genotype for genotype in [*best, *drawn]}
        return list(pool.values())

    # ---- motifs -----------------------------------------------------------------------------------------------------

    @cached_property
    def motifs(self) -> dict[str, list[Motif]]:
        """The good motifs of every source, as the paper takes them: h = 1, AG in the upper 30 %; by search."""
        from xnas_ray.explain.metric_motifs import metric_per_target, posterior_means, wl_part
        from xnas_ray.explain.motifs import best_motifs, motif_table
        from xnas_ray.explain.wl_gradients import Bootstrap

        grid = dataclasses.replace(self._settings.model.grid, depths=(MOTIF_DEPTH,), wl_shares=(1.0,))
        options = dataclasses.replace(self._settings.model, grid=grid)
        goal, found = self._goals[0], {}
        encodings = Encodings(self._space, depth=MOTIF_DEPTH, backend=self._settings.backend)
        for source in self.sources if self.form == "motifs" else ():
            model = MetricModel(encodings, goal.name, maximize=goal.maximize, epochs=1, options=options)
            for genotype, value in zip(*self._known(source, goal), strict=True):
                model.add(encodings.add(genotype), value, 1)
            if not model.ready:
                continue
            table = motif_table(
                encodings.features,
                wl_part(model),
                metric=goal.name,
                scale=metric_per_target(model),
                mean=posterior_means(model),
                by="ag",
                percentile=MOTIF_PERCENTILE,
                bootstrap=Bootstrap(resamples=1),  # nobody reads the intervals
                seed=self._seed,
            )
            found[source.search_id] = best_motifs(table)
        return found

    def allows(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """Which architectures contain at least one good motif of a source; all where there is none to insist on."""
        return np.array([self._allows(genotype) for genotype in genotypes], dtype=bool)

    def _allows(self, genotype: Genotype) -> bool:
        key = self._space.key(genotype)
        if key not in self._allowed:
            graphs = self._space.graphs(genotype)
            counts = {cell: wl_counts(graph, MOTIF_DEPTH) for cell, graph in graphs.items()}
            wanted = [motif for found in self.motifs.values() for motif in found]
            self._allowed[key] = not wanted or any(motif.id in counts[motif.cell][motif.layer] for motif in wanted)
        return self._allowed[key]

    # ---- explanation ------------------------------------------------------------------------------------------------

    def table(self, models: Sequence[MetricModel]) -> pd.DataFrame:
        """What was taken from every source.

        Columns: ``form`` (``"prior"`` or ``"motifs"``), ``metric``, ``source``, ``weight`` (posterior mean; 1 where the
        source says the same of this task as of its own), ``trust`` (posterior probability that any source counts),
        ``correlation`` (Spearman, of what the source expected of the observed architectures with their outcomes) and
        ``motifs`` (number of good ones that were insisted on); NaN, and 0, in the other form.

        Args:
            models: of the objectives, ready.
        """
        import pandas as pd

        metric = self._goals[0].name
        rows = [_row("motifs", metric, name, motifs=len(found)) for name, found in self.motifs.items()]
        for model in models:
            if model.prior is None or model.expectation is None:
                continue
            means = model.prior.means(model.points.rows)
            for source, mean, share in zip(model.prior.sources, means, model.expectation.shares, strict=True):
                rows.append(
                    _row(
                        "prior",
                        model.name,
                        source.name,
                        weight=float(share),
                        trust=model.expectation.trust,
                        correlation=spearman(mean, model.targets),
                    )
                )
        return pd.DataFrame(rows)


def _row(
    form: str,
    metric: str,
    source: str,
    *,
    weight: float = float("nan"),
    trust: float = float("nan"),
    correlation: float = float("nan"),
    motifs: int = 0,
) -> dict[str, object]:
    return {
        "form": form,
        "metric": metric,
        "source": source,
        "weight": weight,
        "trust": trust,
        "correlation": correlation,
        "motifs": motifs,
    }
