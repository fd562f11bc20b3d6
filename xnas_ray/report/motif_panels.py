"""The motifs of a search, and which of them its best architectures have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas_ray.explain.motif_drawing import MotifPanel, motif_info
from xnas_ray.explain.motifs import best_motifs, worst_motifs
from xnas_ray.explain.objective_motifs import EFFECTS
from xnas_ray.explain.occurrences import explain_architecture
from xnas_ray.messages import Genotype
from xnas_ray.report.drawings import Graphs
from xnas_ray.report.material import Material
from xnas_ray.report.trial_tables import trial_table

if TYPE_CHECKING:
    import pandas as pd

MOTIFS = "motifs"
NUMBER = 6


@dataclass(frozen=True, slots=True)
class SearchMotifs:
    """What a search has learnt about parts of architectures.

    Attributes:
        best: good motifs, best first.
        worst: bad motifs, worst first.
        title: what was predicted, from how many architectures.
        occurrences: by trial the positions of the motifs that it has, in ``best`` followed by ``worst``.
    """

    best: tuple[MotifPanel, ...]
    worst: tuple[MotifPanel, ...]
    title: str
    occurrences: Mapping[int, tuple[int, ...]]


def search_motifs(
    material: Material, trials: Sequence[tuple[int, Genotype]], graphs: Graphs | None
) -> SearchMotifs | None:
    """The motifs of a search; None where it has none.

    They are those of its controller, else those that its trials tell for the first objective.

    Args:
        material: the search.
        trials: numbers and genotypes of those in which motifs are looked for.
        graphs: of genotypes; without it none is looked for.

    Raises:
        StoreError: what is stored as motifs is no table of motifs.
    """
    table = _motifs(material)
    if table is None:
        return None
    info = motif_info(table, NUMBER)
    motifs = [*best_motifs(table, NUMBER), *worst_motifs(table, NUMBER)]
    place = {(motif.id, motif.cell, motif.occurrence): i for i, motif in enumerate(motifs)}
    found = {}
    for trial, genotype in trials if graphs is not None else ():
        assert graphs is not None
        here = explain_architecture(graphs(genotype), motifs)
        found[trial] = tuple(sorted(place[one.motif.id, one.motif.cell, one.motif.occurrence] for one in here))
    return SearchMotifs(info.best, info.worst, info.title, found)


def _motifs(material: Material) -> pd.DataFrame | None:
    table, every = material.tables.get(MOTIFS), trial_table(material, EFFECTS)
    if table is not None or every is None:
        return table
    own = every[every["metric"] == material.aims[0].name]
    return own if len(own) else None
