"""Motifs: planted ones come out with sign and rank; trees, texts and ids say the same; tables survive the store."""

from __future__ import annotations

import dataclasses

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from xnas_ray.errors import SpecError, StoreError
from xnas_ray.explain.motifs import (
    COLUMNS,
    best_motifs,
    least_support,
    motif_table,
    read_motifs,
    tree_from_json,
    tree_id,
    tree_text,
    tree_to_json,
    unfold,
    worst_motifs,
)
from xnas_ray.explain.wl_gradients import Bootstrap, wl_mean
from xnas_ray.explain.wl_part import WLPart
from xnas_ray.store.layout import Layout
from xnas_ray.store.reader import load_explanations
from xnas_ray.store.rows import SearchRow
from xnas_ray.store.writer import StoreWriter
from xnas_ray.surrogates.wl_features import WLFeatures

SEARCH = "01JD0000000000000000000000"


def table_of(planted, **settings) -> pd.DataFrame:
    part = WLPart.by_cell(planted.features, range(len(planted.outcomes)), planted.alpha, planted.depth)
    return motif_table(planted.features, part, **{"scale": planted.outcomes.std(), "min_support": 10, **settings})


# ---- planted motifs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["subtree", "oa"])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_motifs_are_found(make_planted, kind, seed):
    planted = make_planted(kind=kind, seed=seed)
    table = table_of(planted)
    found = {(m, o): ag for m, o, ag in zip(table["motif"], table["occurrence"], table["ag"], strict=True)}
    effects = np.array(list(planted.effects.values()))
    gradients = np.array([found[column] for column in planted.effects])
    assert (np.sign(gradients) == np.sign(effects)).all()
    assert spearmanr(gradients, effects).statistic >= 0.9
    by_ag = table_of(planted, by="ag")
    marks = dict(zip(zip(by_ag["motif"], by_ag["occurrence"], strict=True), by_ag["mark"], strict=True))
    strongest, weakest = max(planted.effects, key=planted.effects.get), min(planted.effects, key=planted.effects.get)
    assert marks[strongest] == "good" and marks[weakest] == "bad"
    assert not any(marks[column] == ("bad" if effect > 0 else "good") for column, effect in planted.effects.items())


def test_a_minimised_metric_is_turned_around_by_its_target(make_planted):
    """Targets are what is maximised: of errors, minus them. What was good for the error stays good."""
    planted = make_planted()
    turned = dataclasses.replace(planted, alpha=-planted.alpha)
    found, flipped = (table_of(p).set_index("motif") for p in (planted, turned))
    assert np.allclose(flipped["ag"].loc[found.index], -found["ag"])
    assert set(flipped.index[flipped["mark"] == "bad"]) == set(found.index[found["mark"] == "good"])


def test_gradients_have_the_units_of_the_metric(make_planted):
    """Planted effects are changes an occurrence; a shrunken model finds a part of each, in the same units."""
    planted = make_planted(noise=0.05)
    table = table_of(planted).set_index("motif")
    ratios = [table["ag"][motif] / effect for (motif, _), effect in planted.effects.items()]
    assert 0.5 < np.median(ratios) < 1.2
    once, twice = table_of(planted, scale=1.0), table_of(planted, scale=2.0)
    for column in ("ag", "ag_low", "ag_high", "ag_std", "whole", "whole_low", "whole_high", "whole_std"):
        assert np.allclose(2 * once[column], twice[column])


# ---- what is a motif -------------------------------------------------------------------------------------------------


def test_motifs_vary_and_repeat_nothing(make_planted):
    planted = make_planted(depth=3)
    features, table = planted.features, table_of(planted, min_support=5)
    assert table["support"].min() == 5 and len(table) > 20
    for row in table.itertuples():
        columns = features.columns(row.layer, row.cell)
        counts = features.matrix(row.layer, row.cell)[:, [columns.index((row.motif, row.occurrence))]].toarray()
        assert np.ptp(counts) > 0, f"{row.text} is everywhere"
        assert counts.sum() / np.count_nonzero(counts) == pytest.approx(row.mean_count)
        root = features.trees[row.motif].root
        if root is not None:
            below = features.columns(row.layer - 1, row.cell).index((root, row.occurrence))
            smaller = features.matrix(row.layer - 1, row.cell)[:, [below]].toarray()
            assert not np.array_equal(counts, smaller), f"{row.text} is the same as the smaller tree within it"
    assert "output" not in set(table["text"])


@pytest.mark.parametrize("by", ["ag", "whole"])
def test_the_best_come_first_and_quarters_are_marked(make_planted, by):
    table = table_of(make_planted(), by=by)
    assert table[by].is_monotonic_decreasing and set(table["by"]) == {by}
    assert set(table["mark"]) == {"good", "bad", ""}
    good, bad = table[table["mark"] == "good"], table[table["mark"] == "bad"]
    assert len(good) == pytest.approx(len(table) / 4, abs=1) and (good[by] > 0).all()
    assert (bad[by] < 0).all() and good.index.max() < bad.index.min()
    assert [m.effect for m in best_motifs(table, 2)] == table[by][:2].tolist()
    assert [m.effect for m in worst_motifs(table, 2)] == table[by][:-3:-1].tolist()
    assert ((table[f"{by}_low"] <= table[by]) & (table[by] <= table[f"{by}_high"])).mean() > 0.9


def test_smaller_subtrees_at_the_root_count_with_the_whole(make_planted):
    """The slope in the direction of the motif and its root is AG plus that of the root, where the motif is."""
    planted = make_planted()
    table = table_of(planted, by="ag")
    leaves = table[table["layer"] == 0]
    assert np.allclose(leaves["ag"], leaves["whole"])
    others = table[table["layer"] == 1]
    assert not np.allclose(others["ag"], others["whole"])


def test_other_rankings_are_refused(make_planted):
    with pytest.raises(SpecError, match="not ranked by this"):
        table_of(make_planted(), by="size")


def test_nothing_is_good_when_everything_harms(make_planted):
    planted = make_planted()
    table = table_of(planted, percentile=60.0)
    assert (table.loc[table["mark"] == "good", "whole"] > 0).all()
    assert (table.loc[table["mark"] == "bad", "whole"] < 0).all()


@pytest.mark.parametrize(("architectures", "least"), [(0, 3), (40, 3), (100, 5), (199, 10), (200, 10), (5000, 10)])
def test_the_least_support_is_the_papers_from_200_architectures_on(architectures, least):
    assert least_support(architectures) == least


def test_tables_are_reproducible(make_planted):
    planted = make_planted()
    first, again, other = table_of(planted), table_of(planted), table_of(planted, seed=1)
    pd.testing.assert_frame_equal(first, again)
    assert not first["ag_low"].equals(other["ag_low"]) and first["ag"].equals(other["ag"])


def test_what_the_wl_part_explains_stands_beside(make_planted):
    planted = make_planted()
    part = WLPart.by_cell(planted.features, range(300), planted.alpha, 1)
    mean = wl_mean(planted.features, part)
    assert set(table_of(planted)["wl_share"]) == {1.0}
    assert table_of(planted, mean=mean + 7.0)["wl_share"].iloc[0] == pytest.approx(1.0)
    assert table_of(planted, mean=2 * mean)["wl_share"].iloc[0] == pytest.approx(0.5)


def test_few_architectures_give_an_empty_table():
    features = WLFeatures(1)
    table = motif_table(features, WLPart(np.zeros(0), np.zeros(0), ()))
    assert list(table.columns) == list(COLUMNS) and len(table) == 0
    assert best_motifs(table) == worst_motifs(table) == []


# ---- trees -----------------------------------------------------------------------------------------------------------


def fork() -> nx.DiGraph:
    graph = nx.DiGraph([(0, 1), (0, 2), (1, 2), (2, 3)])
    nx.set_node_attributes(graph, {0: "input", 1: "conv", 2: "pool", 3: "output"}, "op_name")
    return graph


def test_texts_nest():
    features = WLFeatures(3)
    features.add("x", {"cell": fork()})
    texts = {t: sorted(tree_text(unfold(i, features.trees)) for i, _ in features.columns(t, "cell")) for t in range(4)}
    assert texts[1] == ["conv > (pool)", "input > (conv, pool)", "output", "pool > (output)"]
    assert texts[2][1] == "input > (conv > (pool), pool > (output))"
    assert texts[3][1] == "input > (conv > (pool > (output)), pool > (output))"


def test_trees_texts_and_ids_say_the_same(make_planted):
    """At one layer texts are unambiguous, and the id follows from the tree alone."""
    features = make_planted(depth=3).features
    for layer in range(4):
        ids = [motif for motif, _ in features.columns(layer, "cell")]
        trees = [unfold(motif, features.trees) for motif in ids]
        assert len({tree_text(tree) for tree in trees}) == len(set(trees)) == len(ids)
        assert [tree_id(tree, layer) for tree in trees] == ids
        assert [tree_from_json(tree_to_json(tree)) for tree in trees] == trees


@pytest.mark.parametrize("text", ["", "[]", "{}", '["a", "b"]', '["a", ["b"], 3]', "[3]", '["a"', "null"])
def test_other_texts_are_no_trees(text):
    with pytest.raises(StoreError, match="not the tree of a motif"):
        tree_from_json(text)


# ---- the store -------------------------------------------------------------------------------------------------------


def test_tables_survive_the_store(make_planted, tmp_path):
    table = table_of(make_planted(), metric="val_accuracy", unit="%")
    with StoreWriter.open(tmp_path) as writer:
        writer.append(SearchRow(search_id=SEARCH, epoch=writer.epoch, seq=writer.next_seq(), at=0.0, state="finished"))
        writer.append_explanation("motifs", SEARCH, table)
    back = load_explanations(tmp_path, "motifs", SEARCH)
    assert Layout(tmp_path).explanation_kinds() == ["motifs"]
    pd.testing.assert_frame_equal(back[list(COLUMNS)], table, check_dtype=False)
    assert back["motif"].dtype == "int64"
    assert read_motifs(back) == read_motifs(table)
    assert best_motifs(back) == best_motifs(table)


def test_tampered_tables_are_refused(make_planted):
    table = table_of(make_planted())
    with pytest.raises(StoreError, match="lacks"):
        read_motifs(table.drop(columns=["tree"]))
    with pytest.raises(StoreError, match="does not stand for"):
        read_motifs(table.assign(motif=table["motif"] + 1))


def test_the_bootstrap_is_asked_for(make_planted):
    narrow, wide = (table_of(make_planted(), bootstrap=Bootstrap(400, level)) for level in (0.5, 0.95))
    assert (narrow["level"] == 0.5).all() and (wide["level"] == 0.95).all()
    assert ((wide["ag_high"] - wide["ag_low"]) > (narrow["ag_high"] - narrow["ag_low"])).mean() > 0.9
