"""Gradients by counts against automatic differentiation, finite differences and a Gaussian process written out."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.errors import SpecError
from xnas_ray.explain.wl_gradients import Bootstrap, average_gradients, wl_mean
from xnas_ray.explain.wl_part import Block, WLPart, explained_share

CASES = [
    {},
    {"kind": "oa"},
    {"cells": 2},
    {"gated": True},
    {"cells": 2, "gated": True, "kind": "oa", "depth": 1},
]
RNG = np.random.default_rng(1)


def part_of(process, **further) -> WLPart:
    rows = range(len(process.y))
    return WLPart.by_cell(
        process.features, rows, process.alpha, process.depth, process.weight, gate=process.gate, **further
    )


def posterior_mean(process, cell, phi, i):
    """The mean at observation i as a function of the counts of one cell, in torch; the other cells stay."""
    import torch

    alpha = torch.as_tensor(process.alpha)
    gate = torch.ones(len(alpha)) if process.gate is None else torch.as_tensor(process.gate[i])
    total = 0.0
    for other in process.features.cells:
        data = torch.as_tensor(process.counts(other, process.depth))
        here = phi if other == cell else data[i]
        cosine = (data / data.norm(dim=1, keepdim=True)) @ (here / here.norm())
        total = total + process.weight / len(process.features.cells) * (cosine * gate) @ alpha
    return total


def direct(process, cell: str, how: str) -> np.ndarray:
    """n x D: the derivative of the mean at every observation by every count."""
    import torch

    rows = []
    counts = process.counts(cell, process.depth)
    for i, row in enumerate(counts):
        if how == "autograd":
            phi = torch.tensor(row, requires_grad=True)
            posterior_mean(process, cell, phi, i).backward()
            rows.append(phi.grad.numpy())
        else:
            steps = np.concatenate([1e-5 * np.eye(len(row)), -1e-5 * np.eye(len(row))]) + row
            values = [float(posterior_mean(process, cell, torch.tensor(step), i)) for step in steps]
            rows.append((np.array(values[: len(row)]) - values[len(row) :]) / 2e-5)
    return np.array(rows)


def by_term(process, cell: str, matrix: np.ndarray):
    """Columns of a matrix over all layers of a cell, split into layers."""
    widths = [process.features.matrix(t, cell).shape[1] for t in range(process.depth + 1)]
    return np.split(matrix, np.cumsum(widths)[:-1], axis=-1)


def along_directions(process, cell: str, layer: int, slopes: list[np.ndarray], which: str) -> np.ndarray:
    """Slopes by a count alone, or added up over the smaller subtrees at the same root."""
    total = slopes[layer].copy()
    if which == "whole":
        for j, (subtree, t) in enumerate(process.features.columns(layer, cell)):
            for below in range(layer - 1, -1, -1):
                subtree = process.features.trees[subtree].root
                index = process.features.columns(below, cell).index((subtree, t))
                if np.ptp(process.features.matrix(below, cell)[:, [index]].toarray()):
                    total[:, j] += slopes[below][:, index]
    return total


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("how", "tolerance"), [("autograd", 1e-12), ("finite differences", 1e-8)])
def test_average_gradients_are_those_of_the_mean(make_process, case, how, tolerance):
    if how == "finite differences":
        case = {**case, "count": 8}
    process = make_process(**case)
    found = {(g.layer, g.cell): g for g in average_gradients(process.features, part_of(process), RNG)}
    assert len(found) == (process.depth + 1) * len(process.features.cells)
    for cell in process.features.cells:
        slopes = by_term(process, cell, direct(process, cell, how))
        counts = by_term(process, cell, process.counts(cell, process.depth))
        for layer in range(process.depth + 1):
            got = found[layer, cell]
            present = counts[layer] >= 1
            assert got.columns == process.features.columns(layer, cell)
            for which, found_slopes in (("own", got.own), ("whole", got.whole)):
                along = along_directions(process, cell, layer, slopes, which)
                expected = [along[present[:, j], j] for j in range(present.shape[1])]
                assert np.allclose(found_slopes.average, [v.mean() for v in expected], rtol=0, atol=tolerance)
                spread = [v.std(ddof=1) if len(v) > 1 else 0.0 for v in expected]
                assert np.allclose(found_slopes.std, spread, rtol=0, atol=10 * tolerance)
            assert got.support.tolist() == present.sum(axis=0).tolist()
            assert got.total.tolist() == counts[layer].sum(axis=0).tolist()
            assert got.constant.tolist() == (counts[layer] == counts[layer][0]).all(axis=0).tolist()


def test_weights_of_layers_and_blocks(make_process):
    """Layers apart: each is normalised alone, and gradients add up as their kernels do."""
    process = make_process(depth=1)
    weights = {0: 0.3, 1: 2.5}
    blocks = tuple(Block({(t, "cell"): 4.0}, w) for t, w in weights.items())  # a block's only term: its weight cancels
    part = WLPart(np.arange(30), process.alpha, blocks)
    for found in average_gradients(process.features, part, RNG):
        phi = process.features.matrix(found.layer, "cell").toarray()
        norms = np.linalg.norm(phi, axis=1, keepdims=True)
        w = (phi / norms).T @ process.alpha
        mean = (phi / norms) @ w
        slopes = weights[found.layer] * (w / norms - mean[:, None] * phi / norms**2)
        expected = [slopes[phi[:, j] > 0, j].mean() for j in range(phi.shape[1])]
        assert np.allclose(found.own.average, expected, rtol=0, atol=1e-12)


def test_unequal_weights_within_a_block(make_process):
    """The chain rule through ``sqrt(weight)``: equal to finite differences of the mean."""
    process = make_process(count=10, depth=1)
    weights = {(0, "cell"): 0.4, (1, "cell"): 3.0}
    part = WLPart(np.arange(10), process.alpha, (Block(weights, 1.3),))
    phi = [process.features.matrix(t, "cell").toarray() for t in (0, 1)]

    def mean(i: int, own: list[np.ndarray]) -> float:
        stacked = np.hstack([np.sqrt(w) * p for w, p in zip(weights.values(), phi, strict=True)])
        here = np.concatenate([np.sqrt(w) * p for w, p in zip(weights.values(), own, strict=True)])
        cosines = stacked @ here / np.linalg.norm(stacked, axis=1) / np.linalg.norm(here)
        return 1.3 * cosines @ process.alpha

    for found in average_gradients(process.features, part, RNG):
        layer = found.layer
        for j in range(phi[layer].shape[1]):
            slopes = []
            for i in np.flatnonzero(phi[layer][:, j]):
                moved = [[p[i].copy() for p in phi] for _ in range(2)]
                moved[0][layer][j] += 1e-5
                moved[1][layer][j] -= 1e-5
                slopes.append((mean(i, moved[0]) - mean(i, moved[1])) / 2e-5)
            assert found.own.average[j] == pytest.approx(np.mean(slopes), abs=1e-8)


def test_gradients_are_averaged_where_it_is_said(make_process):
    """Ten observations are repeated at another fidelity: the mean knows them, averages count each architecture once."""
    process = make_process(count=20)
    rows = np.concatenate([np.arange(20), np.arange(10)])
    rng = np.random.default_rng(3)
    alpha, gate = rng.normal(size=30), np.exp(-np.abs(rng.normal(size=30)[:, None] - rng.normal(size=30)))
    gate = gate @ gate.T
    every = WLPart.by_cell(process.features, rows, alpha, 2, gate=gate)
    first = WLPart.by_cell(process.features, rows, alpha, 2, gate=gate, at=np.arange(20))
    second = WLPart.by_cell(process.features, rows, alpha, 2, gate=gate, at=np.arange(20, 30))
    triples = zip(*(average_gradients(process.features, p, RNG) for p in (every, first, second)), strict=True)
    for whole, a, b in triples:
        sums = {c: (0, 0.0) for c in whole.columns}
        for half in (a, b):
            for column, support, average in zip(half.columns, half.support, half.own.average, strict=True):
                sums[column] = (sums[column][0] + support, sums[column][1] + support * average)
        assert [sums[c][0] for c in whole.columns] == whole.support.tolist()
        assert np.allclose([sums[c][1] / sums[c][0] for c in whole.columns], whole.own.average, rtol=0, atol=1e-12)


# ---- spread ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("cells", [1, 2])
def test_the_posterior_spread_is_that_of_the_derived_process(make_process, gated, cells):
    """AG_j as a difference quotient: a finite sum of values of the process, whose variance needs no derivatives."""
    process = make_process(count=10, depth=1, gated=gated, cells=cells)
    part = part_of(process, precision=process.precision)
    cell, weight, step = process.features.cells[-1], process.weight / cells, 1e-4
    phi = process.counts(cell, 1)
    unit = phi / np.linalg.norm(phi, axis=1, keepdims=True)
    gate = np.ones((10, 10)) if process.gate is None else process.gate
    first, second = (g for g in average_gradients(process.features, part, RNG) if g.cell == cell)
    labels = [column for column, _ in first.columns]
    directions = [(j, [j]) for j in range(phi.shape[1])] + [
        (len(labels) + j, [len(labels) + j, *([] if first.constant[root] else [root])])
        for j, (subtree, _) in enumerate(second.columns)
        for root in [labels.index(process.features.trees[subtree].root)]
    ]
    spreads = np.concatenate([first.own.posterior_std, second.own.posterior_std, second.whole.posterior_std])
    assert len(spreads) == len(directions)
    for (j, moving), spread in zip(directions, spreads, strict=True):
        graphs = np.flatnonzero(phi[:, j])
        plus, minus = phi[graphs].copy(), phi[graphs].copy()
        plus[:, moving] += step
        minus[:, moving] -= step
        moved = np.concatenate([plus, minus])
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        signs = np.repeat([1.0, -1.0], len(graphs)) / (2 * step * len(graphs))
        both = np.concatenate([graphs, graphs])
        prior = signs @ (weight * (moved @ moved.T) * gate[np.ix_(both, both)]) @ signs
        cross = signs @ (weight * (moved @ unit.T) * gate[both])
        expected = prior - cross @ process.precision @ cross
        assert spread**2 == pytest.approx(expected, abs=1e-5 * max(1.0, prior))


def test_without_precision_the_posterior_spread_is_unknown(make_process):
    process = make_process()
    assert all(np.isnan(g.own.posterior_std).all() for g in average_gradients(process.features, part_of(process), RNG))


def test_the_bootstrap_covers_the_average_of_many(make_process):
    """Intervals from 60 architectures of a fixed model hold the average over 600 about as often as they say."""
    process = make_process(count=600, depth=1)
    part = WLPart.by_cell(process.features, range(600), process.alpha, 1)
    whole = {
        (g.layer, c): (a, s)
        for g in average_gradients(process.features, part, RNG)
        for c, a, s in zip(g.columns, g.own.average, g.support, strict=True)
    }
    hits = []
    for k in range(10):
        some = WLPart(part.rows, part.alpha, part.blocks, at=np.arange(60 * k, 60 * k + 60))
        for g in average_gradients(process.features, some, RNG, min_support=15, bootstrap=Bootstrap(300)):
            for c, low, high in zip(g.columns, g.own.low, g.own.high, strict=True):
                hits.append(low <= whole[g.layer, c][0] <= high)
    assert len(hits) > 80 and 0.8 <= np.mean(hits) <= 0.99


def test_resamples_without_the_motif_do_not_count(make_process):
    process = make_process(count=12)
    for found in average_gradients(process.features, part_of(process), RNG, bootstrap=Bootstrap(200)):
        for slopes in (found.own, found.whole):
            once = found.support == 1
            assert np.allclose(slopes.low[once], slopes.average[once])
            assert np.allclose(slopes.high[once], slopes.average[once])
            assert (slopes.low <= slopes.high).all() and not np.isnan(slopes.low).any()


def test_support_is_asked_for(make_process):
    process = make_process()
    found = average_gradients(process.features, part_of(process), RNG, min_support=7)
    assert min(g.support.min() for g in found if len(g.columns)) == 7
    none = average_gradients(process.features, part_of(process), RNG, min_support=31)
    assert [len(g.columns) for g in none] == [0, 0, 0]


def test_the_same_generator_gives_the_same_interval(make_process):
    process = make_process()
    first, second = (average_gradients(process.features, part_of(process), np.random.default_rng(5)) for _ in range(2))
    assert all(
        np.array_equal(a.own.low, b.own.low) and np.array_equal(a.own.high, b.own.high)
        for a, b in zip(first, second, strict=True)
    )


# ---- shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_parts_mean_is_the_kernel_times_alpha(make_process, case):
    process = make_process(**case)
    assert np.allclose(
        wl_mean(process.features, part_of(process)), process.kernel() @ process.alpha, rtol=0, atol=1e-10
    )


def test_shares_add_up(make_process):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=50), rng.normal(size=50)
    whole = first + second + 3.0
    assert explained_share(first, whole) + explained_share(second, whole) == pytest.approx(1.0)
    assert explained_share(whole, whole) == pytest.approx(1.0)
    assert explained_share(0 * whole, whole) == 0.0
    assert np.isnan(explained_share(first, np.ones(50)))


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"alpha": np.zeros(3)}, "alpha"),
        ({"gate": np.ones((4, 3))}, "gate"),
        ({"precision": np.ones(4)}, "precision"),
        ({"blocks": (Block({(0, "cell"): 1.0}), Block({(0, "cell"): 1.0}))}, "blocks"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, field):
    with pytest.raises(SpecError) as caught:
        WLPart(**{"rows": np.arange(4), "alpha": np.zeros(4), "blocks": (Block({(0, "cell"): 1.0}),), **change})
    assert caught.value.field == field


def test_no_observations_give_no_motifs(make_process):
    process = make_process(count=3)
    part = WLPart.by_cell(process.features, [], np.zeros(0), 2)
    assert [len(g.columns) for g in average_gradients(process.features, part, RNG)] == [0, 0, 0]
