"""Matrices of introspectability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xnas_ray.report.heat_maps import LAYERS, MAX_CLASSES, PAIRS, layer_map, pair_map


def layer_table(**layers: list[str]) -> pd.DataFrame:
    rows = [(int(t[1:]), name, 10 * int(t[1:]) + i) for t, names in layers.items() for i, name in enumerate(names)]
    return pd.DataFrame(rows, columns=["trial", "layer", "score"])


def test_layers_keep_the_order_of_the_networks(made):
    table = layer_table(t0=["stem", "a", "head"], t1=["stem", "b", "a", "head"], t2=["stem"])
    found = layer_map(made([{}], tables={LAYERS: table}), [1, 0, 7])
    assert found.trials == (1, 0) and found.layers == ("stem", "b", "a", "head")
    assert np.array_equal(found.scores, [[10, 11, 12, 13], [0, np.nan, 1, 2]], equal_nan=True)


def test_pairs_are_symmetric(made):
    table = pd.DataFrame({"first": ["x", "x"], "second": ["y", "z"], "distance": [0.2, np.nan], "trial": [3, 3]})
    found = pair_map(made([{}], tables={PAIRS: table}), [3])
    assert found.classes == ("x", "y", "z") and found.of_classes == 3
    assert found.distances[0, 0, 1] == found.distances[0, 1, 0] == 0.2
    assert np.isnan(found.distances[0, 2]).all() and np.isnan(np.diag(found.distances[0])).all()


def test_of_many_classes_those_that_are_hard_to_tell_apart_are_kept(made):
    names = [f"c{i:03}" for i in range(MAX_CLASSES + 20)]
    first, second = np.triu_indices(len(names), 1)
    pairs = {"first": np.array(names)[first], "second": np.array(names)[second], "trial": 0}
    near = {("c003", "c077"), ("c070", "c071")}
    distance = [0.1 if pair in near else 1.0 for pair in zip(pairs["first"], pairs["second"], strict=True)]
    found = pair_map(made([{}], tables={PAIRS: pd.DataFrame({**pairs, "distance": distance})}), [0])
    assert len(found.classes) == MAX_CLASSES and found.of_classes == len(names)
    assert {"c003", "c077", "c070", "c071"} <= set(found.classes) and list(found.classes) == sorted(found.classes)


def test_what_is_not_there_is_none(made):
    table = layer_table(t0=["stem"])
    assert layer_map(made([{}]), [0]) is None and pair_map(made([{}]), [0]) is None
    assert layer_map(made([{}], tables={LAYERS: table}), [1]) is None
    assert layer_map(made([{}], tables={LAYERS: table.drop(columns="trial")}), [0]) is None
