"""The questions of the joint explanation: which two sources are compared, over what, and how that is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from xnas_ray.explain.objective_motifs import SCORES
from xnas_ray.report.findings import DIFFERENCE, SPEARMAN, Question
from xnas_ray.report.heat_maps import LAYERS
from xnas_ray.report.material import Material
from xnas_ray.report.standings import (
    FEWEST,
    Agreement,
    Standing,
    by_operation,
    with_effects,
    with_operations,
    with_outcomes,
)
from xnas_ray.report.tree_distances import tree_agreement
from xnas_ray.report.trial_tables import trial_table

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.report.joint import MotifEffect
    from xnas_ray.spaces.base import Choice


def about_motifs(table: pd.DataFrame | None, names: Sequence[str]) -> list[Question]:
    """Whether motifs that are good for one objective are good for another; tested when they were learnt."""
    found = []
    for row in () if table is None else table.to_dict("records"):
        first, second = row["first"], row["second"]
        if first in names and second in names and np.isfinite(row["spearman"]):
            found.append(
                Question(
                    about="motifs",
                    asked=f"Are motifs that are better for {first} better for {second}?",
                    yes=f"Motifs that are better for {first} are better for {second} too",
                    no=f"Motifs that are better for {first} are worse for {second}",
                    statistic=SPEARMAN,
                    value=float(row["spearman"]),
                    n=int(row["motifs"]),
                    of=f"motifs of {int(row['architectures'])} architectures",
                    p=float(row["p"]),
                    units="motifs",
                )
            )
    return found


def about_best_motif(table: pd.DataFrame | None, best: MotifEffect | None, names: Sequence[str]) -> list[Question]:
    """What the best motif for the first objective does to the others."""
    if table is None or best is None:
        return []
    own = table[(table["text"] == best.text) & (table["cell"] == best.cell)]
    found = []
    for row in own.to_dict("records"):
        name = row["metric"]
        if name in names[1:] and np.isfinite(row["difference"]):
            have = f"Architectures with {best.text}, the best motif for {names[0]}, have"
            found.append(
                Question(
                    about="motifs",
                    asked=f"Is the best motif for {names[0]}, {best.text}, good for {name}?",
                    yes=f"{have} better {name}",
                    no=f"{have} worse {name}",
                    statistic=DIFFERENCE,
                    value=float(row["difference"]),
                    n=int(row["with"] + row["without"]),
                    of=f"architectures, {int(row['with'])} of them with it",
                    p=float(row["p"]),
                    low=float(row["low"]),
                    high=float(row["high"]),
                    units="architectures",
                )
            )
    return found


def about_strengths(
    material: Material,
    choices: Sequence[Choice] | None,
    ranked: Mapping[str, Standing],
    effects: Standing,
    alone: Mapping[str, float],
    seed: int,
) -> list[Question]:
    """Whether what a supernet says of options is what trials and motifs say.

    Args:
        material: the search.
        choices: of its space.
        ranked: by method the standings of options.
        effects: of options on the first objective.
        alone: by operation, the effect of the motif that is the operation alone.
        seed: of permutations.
    """
    first = material.aims[0].name
    scores = _scores(material, first)
    found = _strengths(
        with_operations(by_operation(effects), alone, seed),
        asked=f"Are operations with better main effects on {first} better motifs by themselves?",
        yes=f"Operations with better main effects on {first} are better motifs by themselves",
        no=f"Operations with better main effects on {first} are worse motifs by themselves",
        of="operations",
    )
    for method, standing in ranked.items():
        found += _strengths(
            with_effects(standing, effects, seed),
            asked=f"Do options that {method} puts higher have better main effects on {first}?",
            yes=f"Options that {method} puts higher have better main effects on {first}",
            no=f"Options that {method} puts higher have worse main effects on {first}",
            of="options",
        )
        found += _strengths(
            with_operations(by_operation(standing), alone, seed),
            asked=f"Are operations that {method} puts higher better motifs for {first} by themselves?",
            yes=f"Operations that {method} puts higher are better motifs for {first} by themselves",
            no=f"Operations that {method} puts higher are worse motifs for {first} by themselves",
            of="operations",
        )
        if choices is not None and scores is not None:
            picked, values = scores
            found += _strengths(
                with_outcomes(standing, choices, picked, values, seed),
                asked=f"Does {method} put architectures higher whose motifs are better for {first}?",
                yes=f"{method} puts architectures higher whose motifs are better for {first}",
                no=f"{method} puts architectures higher whose motifs are worse for {first}",
                of="architectures",
            )
    return found


def _strengths(agreement: Agreement, *, asked: str, yes: str, no: str, of: str) -> list[Question]:
    if not np.isfinite(agreement.value):
        return []
    q = Question(
        "influence", asked, yes, no, SPEARMAN, agreement.value, agreement.n, of, agreement.p, units="operations"
    )
    return [q]


def _scores(material: Material, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Genotypes of architectures, and what the model of the metric's motifs makes of them."""
    table = trial_table(material, SCORES)
    if table is None:
        return None
    own = table[table["metric"] == metric]
    genotypes: dict[int, Any] = dict(zip(material.numbers.tolist(), material.trials["genotype"], strict=True))
    known = [
        (genotypes[int(t)], s) for t, s in zip(own["first_trial"], own["score"], strict=True) if int(t) in genotypes
    ]
    if not known:
        return None
    return np.array([tuple(genotype) for genotype, _ in known], dtype=int), np.array([score for _, score in known])


def about_trials(material: Material) -> list[Question]:
    """Which objectives go together."""
    found = []
    measured = material.signed[_comparable(material)]
    for (i, first), (j, second) in combinations(enumerate(material.aims), 2):
        names = f"{first.name} and {second.name}"
        found += _over_trials(
            "trials",
            (measured[:, i], measured[:, j]),
            asked=f"Do architectures with better {first.name} have better {second.name}?",
            yes=f"Better {names} go together",
            no=f"Better {names} are at odds",
        )
    return found


def about_layer(material: Material) -> list[Question]:
    """Whether networks whose last layer tells classes apart have trees that decide as they do."""
    table, names = material.tables.get(LAYERS), [aim.name for aim in material.aims]
    if table is None or not {"trial", "layer", "score"} <= set(table) or "nbdt_gap" not in names:
        return []
    last = table.groupby("trial", sort=False).last()["score"]
    rows = [row for row in np.flatnonzero(_comparable(material)) if material.numbers[row] in last.index]
    scores = np.array([last[material.numbers[row]] for row in rows], dtype=float)
    return _over_trials(
        "layers",
        (scores, material.signed[rows, names.index("nbdt_gap")]),
        asked="Have networks whose last measured layer tells classes apart better a smaller nbdt_gap?",
        yes="Networks whose last measured layer tells classes apart better have a smaller nbdt_gap",
        no="Networks whose last measured layer tells classes apart better have a larger nbdt_gap",
    )


def _comparable(material: Material) -> np.ndarray:
    """Which trials were measured and trained equally long: what longer training does to two objectives is no tie.

    The fidelity that most have counts, the higher one of two, as for motifs.
    """
    fidelity = material.trials["fidelity"].to_numpy(dtype=int)
    epochs, counts = np.unique(fidelity[material.measured], return_counts=True)
    return material.measured & (fidelity == max(zip(counts, epochs, strict=True), default=(0, 0))[1])


def _over_trials(about: str, sides: tuple[np.ndarray, np.ndarray], *, asked: str, yes: str, no: str) -> list[Question]:
    """Spearman's test by Student's t, which takes trials for independent."""
    known = np.isfinite(sides[0]) & np.isfinite(sides[1])
    a, b = sides[0][known], sides[1][known]
    if len(a) < FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return []
    test = spearmanr(a, b)
    return [Question(about, asked, yes, no, SPEARMAN, float(test.statistic), len(a), "trials", float(test.pvalue))]


def about_tree(winner: int | None, tree: pd.DataFrame | None, pairs: pd.DataFrame | None, seed: int) -> list[Question]:
    """Whether the winner's tree parts late what its activations have near each other."""
    if tree is None or pairs is None or not len(tree) or not len(pairs):
        return []
    found = tree_agreement(tree, pairs, seed)
    if not np.isfinite(found.value):
        return []
    return [
        Question(
            about="tree",
            asked=f"Are classes that the tree of trial {winner} parts later nearer to each other in its activations?",
            yes=f"Classes that the tree of trial {winner} parts later are nearer to each other in its activations",
            no=f"Classes that the tree of trial {winner} parts later are farther apart in its activations",
            statistic=SPEARMAN,
            value=found.value,
            n=found.n,
            of="classes, pair by pair",
            p=found.p,
            units="classes",
        )
    ]
