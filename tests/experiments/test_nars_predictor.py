"""The predictor's and the stopping rule's experiments, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xnas_ray.errors import DataMissingError
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.datasets import data_file

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nars"
STORE = FOLDER.parent / "xnas" / "fashion_mnist"


# ---- pretraining ----------------------------------------------------------------------------------------------------


def test_made_accuracies_are_what_they_are_said_to_be(script):
    dice = np.random.default_rng(0)
    sizes, recipes = dice.normal(size=(4000, 2)), dice.uniform(size=(4000, 5))
    accuracies = script("pretraining").made(sizes, recipes, np.random.default_rng(1))
    again = script("pretraining").made(sizes, recipes, np.random.default_rng(1))
    np.testing.assert_array_equal(accuracies, again)
    expected = np.sqrt(3**2 + 2**2 + 0.7**2 + 0.5**2)
    assert accuracies.std() == pytest.approx(expected, rel=0.05)
    assert accuracies.mean() == pytest.approx(72)
    assert np.corrcoef(accuracies, sizes[:, 0])[0, 1] > 0.6


def test_the_recipes_are_those_of_the_paper(script):
    from xnas_ray.spaces.recipe import RecipeSpace

    assert RecipeSpace.from_mapping(script("pretraining").RECIPE).size == 9_452_520


def test_the_synthetic_data_favour_pretraining(script):
    pretraining = script("pretraining")
    data = pretraining.synthetic(pool=600, asked=200)
    frame = pretraining.run(data, [48], seeds=2)
    error = frame.groupby("model")["mae"].mean()
    assert error["pretrained"] < error["scratch"]
    assert len(frame) == 6
    genotypes, accuracies = data.labels(3)
    assert accuracies.tolist() == data.labels(3)[1].tolist() != data.labels(4)[1].tolist()
    assert all(data.space.is_valid(genotype) for genotype in genotypes[:20])


def test_labels_needed_are_read_from_the_other_curve(script):
    rows = [
        {"model": model, "size": size, "seed": seed, "mae": error, "spearman": 1 - error / 10}
        for model, errors in (("pretrained", [4.0, 2.9, 0.5]), ("scratch", [8.0, 4.0, 2.0]))
        for size, error in zip([10, 40, 160], errors, strict=True)
        for seed in range(2)
    ]
    frame = pd.DataFrame([*rows, {"model": "pretrained", "size": 5, "seed": 0, "mae": 9.0, "spearman": 0.1}])
    for measure in ("mae", "spearman"):
        found = script("pretraining").labels_needed(frame, measure)
        between = 40 * 4 ** ((4.0 - 2.9) / (4.0 - 2.0))
        assert found == {5: "< 10", 10: "40", 40: f"{between:.0f}", 160: "> 160"}


def test_a_table_becomes_a_markdown_table(script, capsys, tmp_path):
    out = tmp_path / "figures.parquet"
    script("pretraining").main(["--data", "digits", "--sizes", "24", "30", "--seeds", "1", "--out", str(out)])
    name, _, header, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert name == "digits, 1 seeds:"
    assert [line.split(" | ")[0] for line in lines] == ["| 24", "| 30"]
    assert {line.count("|") for line in lines} == {header.count("|")}
    figures = pd.read_parquet(out)
    assert set(figures["model"]) == {"pretrained", "not frozen", "scratch"}
    assert figures["spearman"].between(-1, 1).all() and (figures["mae"] > 0).all()


def test_a_real_search_is_data(script):
    data = script("pretraining").searched(STORE, "latest", "val_accuracy")
    assert isinstance(data.space, NASBench201)
    genotypes, accuracies = data.labels(0)
    assert len(set(genotypes)) == len(genotypes) == len(accuracies) == 2 * data.asked
    assert "epoch 2" in data.name and 10 < accuracies.min() < accuracies.max() < 95


def test_too_few_labels_are_said_to_be(script):
    with pytest.raises(SystemExit, match="too few labels for 5000"):
        script("pretraining").main(["--store", str(STORE), "--sizes", "5000", "--seeds", "1"])


def test_tables_that_are_not_there_are_left_out(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    script("pretraining").main(["--data", "nasbench101", "--seeds", "1"])
    shown = capsys.readouterr()
    assert "nasbench101_subset.parquet is missing" in shown.err and not shown.out


# ---- trust ----------------------------------------------------------------------------------------------------------


def test_what_is_measured_of_predictions(script):
    """A hundred accuracies; everything is predicted two points too high, with a deviation of one."""
    truth = np.linspace(50.0, 90.0, 100)
    found = script("trust").measures(truth + 2, np.ones(100), truth + 2, truth)
    assert [found[name] for name in ("spearman", "better_half", "lost")] == pytest.approx([1, 1, 0])
    assert found["error"] == found["error_better_half"] == pytest.approx(2)
    assert (found["within_one"], found["within_two"]) == (0, 1), "95.45 % is a little more than two"
    assert found["factor"] == pytest.approx(2, rel=1e-4)
    reverse = script("trust").measures(truth, np.ones(100), -truth, truth)
    assert reverse["lost"] == pytest.approx(truth[-3:].mean() - truth[:3].mean()), (
        "three are the best hundredth at least"
    )


def test_every_size_is_measured_with_both_kinds_of_labels(script, capsys):
    trust = script("trust")
    data = script("pretraining").synthetic(pool=300, asked=100)
    frame = trust.run(data, [24, 10_000], seeds=2, members=2)
    assert frame[["size", "clip", "seed"]].values.tolist() == [[24, clip, s] for s in (0, 1) for clip in (False, True)]
    assert frame["spearman"].between(0.3, 1).all() and frame["within_one"].le(frame["within_two"]).all()
    trust.report(frame)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 24 |")]
    assert [line.count("|") for line in lines] == [7, 6] and "/" in lines[0] and "%" in lines[1]


def test_one_network_has_no_standard_deviation(script):
    with pytest.raises(SystemExit, match="--members 2"):
        script("trust").main(["--members", "1"])


# ---- early stopping -------------------------------------------------------------------------------------------------


def test_each_threshold_is_a_row(script):
    """Four networks, ranked as at the end from the third of five epochs on; every epoch takes a second."""
    final = np.array([1.0, 2.0, 3.0, 4.0])
    accuracies = np.stack([final[::-1], final[[1, 0, 2, 3]], final, final, final], axis=1)
    elapsed_s = np.tile(np.arange(1.0, 6.0), (4, 1))
    low, high = script("early_stopping").rows(accuracies, elapsed_s, [0.5, 0.92], draws=3, choosing=3)
    assert (low["epoch"], high["epoch"]) == (2, 3)
    assert high["saved"] == pytest.approx(0.4) and high["correlation"] == pytest.approx(1)
    assert low["leader"] == low["best"] == 4.0
    assert low["correlation"] == pytest.approx(0.8)


def test_networks_are_judged_by_others(script):
    dice = np.random.default_rng(0)
    final = np.linspace(0, 10, 12)
    accuracies = (final + np.linspace(5, 0, 30)[:, None] * dice.normal(size=(30, 12))).T
    epochs, correlations = script("early_stopping").divided(accuracies, 0.9, 40, 6)
    assert epochs.min() >= 1 and epochs.max() <= 30 and epochs.std() > 0
    assert 0.7 < correlations.mean() <= 1
    again = script("early_stopping").divided(accuracies, 0.9, 40, 6)
    np.testing.assert_array_equal(epochs, again[0])


def test_real_curves(script, capsys):
    early_stopping = script("early_stopping")
    try:
        data_file(early_stopping.FILE, early_stopping.HOW_TO_GET)
    except DataMissingError as error:
        pytest.skip(str(error))
    early_stopping.main(["--thresholds", "0.92", "--draws", "5"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 0.92")]
    assert [line.split(" | ")[1] for line in lines] == ["164", "159"]


def test_curves_that_are_not_there_say_how_to_get_them(script, monkeypatch, tmp_path):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="pytorch-cifar-models"):
        script("early_stopping").main([])
