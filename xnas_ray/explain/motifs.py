"""Motifs: subtrees of architectures that a model has found to help or to harm, as trees that everybody can read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xnas_ray.errors import SpecError, StoreError
from xnas_ray.explain.wl_gradients import Bootstrap, Column, Gradients, Slopes, average_gradients, wl_mean
from xnas_ray.explain.wl_part import WLPart, explained_share
from xnas_ray.randomness import Domain, rng
from xnas_ray.surrogates.wl_features import FeatureId, Subtree, feature_id

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.surrogates.wl_features import WLFeatures

KIND = "motifs"
"""Under which explanations the table is stored."""

Tree = tuple[str, tuple["Tree", ...]]
"""The operation of a node and its successors' trees, these in the order of their texts."""

Mark = Literal["good", "bad", ""]
By = Literal["ag", "whole"]

PAPER_SUPPORT = 10
_LEAST_SUPPORT = 3
_SUPPORT_SHARE = 0.05


# ---- trees -----------------------------------------------------------------------------------------------------------


def unfold(motif: FeatureId, trees: Mapping[FeatureId, Subtree]) -> Tree:
    """The tree behind an id: the root, its successors, theirs, down to the layer of the id.

    Args:
        motif: the id.
        trees: what ids stand for (``WLFeatures.trees``).
    """
    tree = trees[motif]
    return tree.label, tuple(sorted((unfold(child, trees) for child in tree.children), key=tree_text))


def tree_text(tree: Tree) -> str:
    """A tree to be read: ``nor_conv_3x3 > (avg_pool_3x3, output)``.

    With the layer it is unambiguous: what ends before that depth is a sink, what ends there is not looked beyond.
    """
    label, children = tree
    return f"{label} > ({', '.join(map(tree_text, children))})" if children else label


def tree_id(tree: Tree, layer: int) -> FeatureId:
    """The feature id of a tree that was unfolded from this layer; the inverse of ``unfold``."""
    label, children = tree
    if layer == 0:
        return feature_id(Subtree(0, label))
    below = tuple(sorted(tree_id(child, layer - 1) for child in children))
    return feature_id(Subtree(layer, label, tree_id(tree, layer - 1), below))


def tree_to_json(tree: Tree) -> str:
    """Nested lists: an operation, then its successors' lists."""
    return json.dumps(_lists(tree), separators=(",", ":"))


def _lists(tree: Tree) -> list[Any]:
    return [tree[0], *map(_lists, tree[1])]


def tree_from_json(text: str) -> Tree:
    """The tree of such a text.

    Raises:
        StoreError: it is something else.
    """
    try:
        return _tree(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{text!r} is not the tree of a motif ({error}).", field="tree") from error


def _tree(lists: Any) -> Tree:
    if not isinstance(lists, list) or not lists or not isinstance(lists[0], str):
        raise ValueError("a list that begins with an operation was expected")
    return lists[0], tuple(map(_tree, lists[1:]))


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Motif:
    """A row of the table of motifs.

    Attributes:
        id: the subtree's feature id.
        cell: whose graphs.
        layer: steps that it looks ahead.
        occurrence: it is the t-th occurrence of the subtree that counts; 1 unless the kernel is optimal assignment.
        tree: what the id stands for.
        effect: change of the metric a further occurrence, positive is good whatever the direction: what motifs are
            ranked by, ``whole`` or ``ag`` of the table.
        low: lower end of the bootstrap interval of the effect.
        high: its upper end.
        posterior_std: of the effect; None when it is not known.
        support: number of architectures that contain it.
        mark: ``"good"``, ``"bad"`` or neither.
    """

    id: FeatureId
    cell: str
    layer: int
    occurrence: int
    tree: Tree
    effect: float
    low: float = math.nan
    high: float = math.nan
    posterior_std: float | None = None
    support: int = 0
    mark: Mark = ""

    @property
    def text(self) -> str:
        """The tree to be read."""
        return motif_text(self.tree, self.occurrence)


def motif_text(tree: Tree, occurrence: int) -> str:
    """The tree to be read, and which occurrence counts unless it is the first."""
    return tree_text(tree) if occurrence == 1 else f"{tree_text(tree)}, {occurrence} times"


def least_support(architectures: int) -> int:
    """How many architectures must contain a motif: the paper's 10, fewer where there are fewer than 200 of them."""
    return min(PAPER_SUPPORT, max(_LEAST_SUPPORT, round(_SUPPORT_SHARE * architectures)))


_EFFECTS: tuple[By, ...] = ("ag", "whole")
_SPREADS = ("", "_low", "_high", "_std", "_posterior_std")

COLUMNS: dict[str, Any] = {
    **{"motif": "int64", "cell": object, "layer": "int64", "occurrence": "int64", "text": object, "tree": object},
    **{f"{effect}{spread}": "float64" for effect in _EFFECTS for spread in _SPREADS},
    **{"support": "int64", "mean_count": "float64", "mark": object},
    **{"by": object, "level": "float64", "metric": object, "unit": object},
    **{"architectures": "int64", "wl_share": "float64"},
}
"""Columns of the table of motifs and their types."""


def motif_table(
    features: WLFeatures,
    part: WLPart,
    *,
    metric: str = "",
    unit: str = "",
    scale: float = 1.0,
    mean: np.ndarray | None = None,
    by: By = "whole",
    min_support: int | None = None,
    percentile: float = 25.0,
    bootstrap: Bootstrap | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Motifs of a fitted model, best first: what the store keeps as explanations of kind ``motifs``.

    A motif is a subtree that enough architectures contain, that does not occur equally often in all of them, and that
    these data can tell from the smaller subtree within it (a subtree that always continues in the same way is shown
    once, without the continuation: its counts, hence its gradient, are the same). As in the paper the upper quarter is
    good and the lower quarter bad, provided that the sign agrees.

    Args:
        features: counts of the training architectures.
        part: the WL part of the posterior; the target is what is maximised.
        metric: name of what the model predicts.
        unit: of the effects, such as ``"%"``.
        scale: units of the metric a unit of the target: the standard deviation of the targets where they were
            standardised, times the derivative of the metric at the median outcome where they were transformed.
        mean: posterior mean of the observations, one a row of ``part``, in units of the target; by default the kernel
            has no other parts.
        by: what ranks and marks motifs: ``"ag"``, the paper's average gradient, or ``"whole"``, the slope in the
            direction in which an added motif moves an architecture (see ``wl_gradients``).
        min_support: see ``least_support``, the default.
        percentile: share of the motifs that can be good, and bad, in percent.
        bootstrap: how intervals are estimated.
        seed: of its draws.

    Returns:
        One row a motif with the columns of ``COLUMNS``: ``motif`` (id), ``cell``, ``layer``, ``occurrence``, ``text``,
        ``tree`` (JSON); ``ag`` and ``whole``, each with ``_low`` and ``_high`` (bootstrap interval), ``_std`` (over
        architectures) and ``_posterior_std`` (NaN without ``part.precision``); ``support``, ``mean_count`` (in the
        architectures that contain it), ``mark``; and the same in all rows: ``by``, ``level``, ``metric``, ``unit``,
        ``architectures`` (their number), ``wl_share`` (of the posterior mean's variance, explained by the WL part).

    Raises:
        SpecError: ``by`` is neither.
    """
    import pandas as pd

    if by not in _EFFECTS:
        raise SpecError("motifs are not ranked by this.", field="by", got=by, valid=_EFFECTS)
    bootstrap = bootstrap or Bootstrap()
    n = len(part.positions)
    wanted = least_support(n) if min_support is None else min_support
    found = average_gradients(features, part, rng(seed, Domain.EXPLAIN), min_support=wanted, bootstrap=bootstrap)
    totals = {(g.layer, g.cell, c): t for g in found for c, t in zip(g.columns, g.total, strict=True)}
    rows = [row for g in found for row in _rows(g, features.trees, totals, scale)]
    rows.sort(key=lambda row: (-row[by], row["cell"], row["layer"], row["text"], row["motif"]))
    _mark(rows, by, percentile)
    share = 1.0 if mean is None else explained_share(wl_mean(features, part), np.asarray(mean, dtype=np.float64))
    constants = {"by": by, "level": bootstrap.level, "metric": metric, "unit": unit}
    constants |= {"architectures": n, "wl_share": share}
    return pd.DataFrame([{**row, **constants} for row in rows], columns=list(COLUMNS)).astype(COLUMNS)


def _rows(
    found: Gradients,
    trees: Mapping[FeatureId, Subtree],
    totals: Mapping[tuple[int, str, Column], float],
    scale: float,
) -> list[dict[str, Any]]:
    rows = []
    for j, (motif, occurrence) in enumerate(found.columns):
        root = trees[motif].root
        # Every node with this id has the root's id one layer below, so equal totals mean equal counts everywhere.
        repeats = root is not None and totals.get((found.layer - 1, found.cell, (root, occurrence))) == found.total[j]
        if found.constant[j] or repeats:
            continue
        tree = unfold(motif, trees)
        rows.append(
            {
                "motif": motif,
                "cell": found.cell,
                "layer": found.layer,
                "occurrence": occurrence,
                "text": motif_text(tree, occurrence),
                "tree": tree_to_json(tree),
                **_effect("ag", found.own, j, scale),
                **_effect("whole", found.whole, j, scale),
                "support": int(found.support[j]),
                "mean_count": found.total[j] / found.support[j],
            }
        )
    return rows


def _effect(name: By, slopes: Slopes, j: int, scale: float) -> dict[str, float]:
    """The columns of one effect of motif j in units of the metric."""
    low, high = sorted((scale * slopes.low[j], scale * slopes.high[j]))
    spreads = abs(scale) * slopes.std[j], abs(scale) * slopes.posterior_std[j]
    values = (scale * slopes.average[j], low, high, *spreads)
    return {f"{name}{spread}": float(value) for spread, value in zip(_SPREADS, values, strict=True)}


def _mark(rows: list[dict[str, Any]], by: By, percentile: float) -> None:
    """Name the good and the bad ones."""
    effects = np.array([row[by] for row in rows])
    lower, upper = np.percentile(effects, [percentile, 100 - percentile]) if rows else (0.0, 0.0)
    for row in rows:
        good, bad = row[by] > 0 and row[by] >= upper, row[by] < 0 and row[by] <= lower
        row["mark"] = "good" if good else "bad" if bad else ""


def read_motifs(table: pd.DataFrame) -> list[Motif]:
    """The rows of a table, as ``motif_table`` made it or as the store gives it back.

    Raises:
        StoreError: a column is missing, or an id is not that of its tree.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise StoreError(f"this is no table of motifs: it lacks {missing}.", field=KIND, valid=list(COLUMNS))
    return [_motif(row) for row in table[list(COLUMNS)].to_dict("records")]


def _motif(row: Mapping[str, Any]) -> Motif:
    tree, layer, by = tree_from_json(row["tree"]), int(row["layer"]), row["by"]
    if tree_id(tree, layer) != int(row["motif"]):
        raise StoreError(f"motif {row['motif']} does not stand for {row['tree']}.", field="motif")
    effect, low, high, _, posterior_std = (float(row[f"{by}{spread}"]) for spread in _SPREADS)
    return Motif(
        id=int(row["motif"]),
        cell=str(row["cell"]),
        layer=layer,
        occurrence=int(row["occurrence"]),
        tree=tree,
        effect=effect,
        low=low,
        high=high,
        posterior_std=None if math.isnan(posterior_std) else posterior_std,
        support=int(row["support"]),
        mark=row["mark"],
    )


def best_motifs(table: pd.DataFrame, number: int | None = None) -> list[Motif]:
    """The good motifs, best first, at most ``number``."""
    good = [motif for motif in read_motifs(table) if motif.mark == "good"]
    return sorted(good, key=lambda motif: -motif.effect)[:number]


def worst_motifs(table: pd.DataFrame, number: int | None = None) -> list[Motif]:
    """The bad motifs, worst first, at most ``number``."""
    bad = [motif for motif in read_motifs(table) if motif.mark == "bad"]
    return sorted(bad, key=lambda motif: motif.effect)[:number]
