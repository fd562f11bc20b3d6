"""Motifs of every objective: planted ones are found, and outcomes that mean nothing agree on nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr, ttest_ind

from xnas_ray.explain import objective_motifs as module
from xnas_ray.explain.measured_architectures import Trial, measured_architectures
from xnas_ray.explain.metric_motifs import wl_part
from xnas_ray.explain.motifs import COLUMNS, least_support
from xnas_ray.explain.objective_motifs import AGREEMENTS, DIFFERENCES, EFFECTS, SCORES, objective_motifs
from xnas_ray.explain.wl_gradients import Bootstrap, average_gradients
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201()


@pytest.fixture(scope="module")
def genotypes():
    draw, found = np.random.default_rng(0), {}
    while len(found) < 48:
        genotype = SPACE.canonical(SPACE.sample(draw))
        found.setdefault(SPACE.key(genotype), genotype)
    return list(found.values())


def measured(genotypes, seed=0, *, worth=0.0, against=0.0, noise=1.0):
    """Accuracy and another objective that 3 x 3 convolutions raise and lower; a third one is noise."""
    draw, trials = np.random.default_rng(seed), []
    for i, genotype in enumerate(genotypes):
        count = genotype.count(3)
        metrics = {
            "val_accuracy": 60 + worth * count + noise * draw.normal(),
            "introspectability": 0.5 + against * count + 0.1 * noise * draw.normal(),
            "nbdt_gap": noise * draw.normal(),
        }
        trials.append(Trial(i, genotype, 1, metrics))
    return measured_architectures(SPACE, trials, {"val_accuracy": True, "introspectability": True, "nbdt_gap": False})


@pytest.fixture(scope="module")
def planted(genotypes):
    return objective_motifs(measured(genotypes, worth=3.0, against=-0.3))


def test_every_objective_has_the_same_motifs(planted):
    table = planted[EFFECTS]
    assert list(table.columns) == list(COLUMNS)
    own = {name: set(rows["motif"]) for name, rows in table.groupby("metric")}
    assert set(own) == {"val_accuracy", "introspectability", "nbdt_gap"} and len(set(map(frozenset, own.values()))) == 1
    assert (table["whole_posterior_std"] > 0).all() and (table["support"] >= least_support(48)).all()


def test_a_planted_operation_is_good_for_one_and_bad_for_the_other(planted):
    table = planted[EFFECTS].set_index(["text", "metric"])["whole"]
    assert table["nor_conv_3x3", "val_accuracy"] > 1 and table["nor_conv_3x3", "introspectability"] < -0.1
    row = planted[AGREEMENTS].iloc[0]
    assert (row["first"], row["second"]) == ("val_accuracy", "introspectability")
    assert row["spearman"] < -0.7 and row["p"] < 0.05 and row["architectures"] == 48
    assert (planted[AGREEMENTS]["p"].iloc[1:] > 0.05).all(), "the third objective is noise"


def test_the_correlation_is_that_of_the_effects(planted):
    wide = planted[EFFECTS].pivot_table(index=["motif", "cell", "occurrence"], columns="metric", values="whole")
    for row in planted[AGREEMENTS].to_dict("records"):
        assert row["spearman"] == pytest.approx(spearmanr(wide[row["first"]], wide[row["second"]]).statistic, abs=1e-12)
        assert row["motifs"] == len(wide)


def test_outcomes_that_mean_nothing_agree_by_chance_alone(genotypes, monkeypatch):
    """Of 3 pairs of objectives in 10 searches of noise; p is the larger one of two, so few are below .1."""
    monkeypatch.setattr(module, "PERMUTATIONS", 199)
    p = np.concatenate([objective_motifs(measured(genotypes, seed))[AGREEMENTS]["p"] for seed in range(10)])
    assert len(p) == 30 and (p < 0.1).mean() < 0.15 and (p > 0.3).mean() > 0.4


def test_effects_are_linear_in_the_targets(genotypes):
    """What shuffled outcomes would give is what a model of them gives, its kernel held."""
    data = measured(genotypes, worth=3.0)
    encodings = module.Encodings(SPACE, depth=module.DEPTH)
    rows = encodings.add_all(data.genotypes)
    fitted = module._fit(encodings, rows, data, "val_accuracy", 0)
    gp = fitted.model.members[0].gp
    targets = np.random.default_rng(1).permutation(gp.targets)
    part = replace(wl_part(fitted.model), alpha=gp.precision() @ targets)
    terms = average_gradients(
        encodings.features, part, np.random.default_rng(0), min_support=1, bootstrap=Bootstrap(resamples=1)
    )
    direct = {(m, t.cell, o): e for t in terms for (m, o), e in zip(t.columns, t.whole.average, strict=True)}
    for key, slopes in fitted.slopes.items():
        assert slopes @ targets == pytest.approx(direct[key], abs=1e-10)


def test_differences_are_those_of_the_means(planted, genotypes):
    data = measured(genotypes, worth=3.0, against=-0.3)
    rows = planted[DIFFERENCES].set_index(["text", "metric"])
    has = np.array(
        [any(d["op_name"] == "nor_conv_3x3" for _, d in SPACE.graphs(g)["cell"].nodes(data=True)) for g in genotypes]
    )
    for name, better in (("val_accuracy", 1), ("nbdt_gap", -1)):
        row, values = rows.loc["nor_conv_3x3", name], data.values[name]
        test = ttest_ind(better * values[has], better * values[~has], equal_var=False)
        interval = test.confidence_interval(0.95)
        assert (row["with"], row["without"]) == (has.sum(), (~has).sum())
        assert row["difference"] == pytest.approx(better * (values[has].mean() - values[~has].mean()))
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        assert row["p"] == pytest.approx(test.pvalue) and row["mean_with"] == pytest.approx(values[has].mean())


def test_scores_follow_what_was_planted(planted, genotypes):
    own = planted[SCORES].query("metric == 'val_accuracy'")
    assert own["first_trial"].tolist() == list(range(48))
    assert spearmanr(own["score"], [g.count(3) for g in genotypes]).statistic > 0.8


def test_the_same_seed_gives_the_same_tables(planted, genotypes):
    again = objective_motifs(measured(genotypes, worth=3.0, against=-0.3))
    assert all(planted[kind].equals(again[kind]) for kind in planted) and set(planted) == set(again)


def test_few_architectures_and_equal_outcomes_say_nothing(genotypes):
    assert objective_motifs(measured(genotypes[:19], worth=3.0)) == {}
    assert objective_motifs(measured(genotypes, noise=0.0)) == {}
    one = objective_motifs(measured(genotypes, worth=3.0, noise=0.0))
    assert set(one[EFFECTS]["metric"]) == {"val_accuracy"} and one[AGREEMENTS].empty
