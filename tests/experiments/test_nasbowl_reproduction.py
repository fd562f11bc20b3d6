"""The NAS-BOWL experiments: their tables, models, measures and curves, on data that the project has."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

from xnas_ray.controllers.base import Goal
from xnas_ray.errors import DataMissingError, UnknownNameError
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.space_case import SpaceTestCase

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nasbowl"


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_the_projects_own_table_is_there(script):
    table = script("tables").load_table("digits")
    assert len(table.genotypes) == 6466
    assert table.best == table.accuracies(table.genotypes).max() > 97


def test_tables_that_are_not_there_say_how_to_get_them(script, monkeypatch, tmp_path):
    tables = script("tables")
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match="digits"):
        tables.load_table("cifar10")
    with pytest.raises(UnknownNameError, match="cifar100"):
        tables.load_table("cifar1000")


def test_every_accuracy_of_a_file_is_a_table(script, monkeypatch, tmp_path):
    import pyarrow.parquet as pq

    tables = script("tables")
    own = pq.read_table(tables.DIGITS, columns=["arch", "val_accuracy_3"])
    pq.write_table(own.rename_columns(["arch", "imagenet16_val_200"]), tmp_path / "nasbench201.parquet")
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    assert tables.load_table(tables.table_name("imagenet16_val_200")).best == tables.load_table("digits").best
    with pytest.raises(UnknownNameError, match="imagenet16_val_200"):
        tables.load_table("imagenet16_val_12")
    with pytest.raises(argparse.ArgumentTypeError, match="cifar1000"):
        tables.table_name("cifar1000")


@pytest.mark.parametrize(("name", "best"), [("cifar10", 91.607), ("cifar100", 73.493), ("nasbench101", 94.902)])
def test_public_tables_are_in_percent(script, name: str, best: float):
    tables = script("tables")
    try:
        table = tables.load_table(name)
    except DataMissingError as error:
        pytest.skip(str(error))
    assert table.best == pytest.approx(best, abs=1e-3)


# ---- random graphs --------------------------------------------------------------------------------------------------


class TestRandomGraphs(SpaceTestCase):
    networks = 0

    @pytest.fixture(autouse=True)
    def _folder(self, script):
        self.script = script

    def make_space(self):
        return self.script("random_graphs").RandomGraphs()

    def test_pickles(self):
        pytest.skip("its module is a script, on the path of this test alone")


def test_graphs_have_thirty_two_nodes(script):
    space = script("random_graphs").RandomGraphs()
    for seed in range(20):
        graph = space.graphs(space.sample(np.random.default_rng(seed)))["cell"]
        assert graph.number_of_nodes() == 32
        assert [n for n in graph if not graph.in_degree(n)] == [0]
        assert [n for n in graph if not graph.out_degree(n)] == [31]


def test_the_planted_target_is_mostly_signal(script):
    module = script("random_graphs")
    space = module.RandomGraphs()
    genotypes = [space.sample(np.random.default_rng(i)) for i in range(100)]
    one, other = (module.planted(space, genotypes, noise_seed=seed) for seed in (0, 1))
    assert np.array_equal(one, module.planted(space, genotypes))
    assert 0.85 < np.corrcoef(one, other)[0, 1] < 1
    assert 70 < one.min() < one.max() < 100
    alone = module.planted(space, genotypes[:1])
    assert alone[0] == pytest.approx(one[0])


# ---- regression -----------------------------------------------------------------------------------------------------


def test_measures_agree_with_their_definitions(script):
    dice = np.random.default_rng(0)
    y, mean, spread = dice.normal(size=500), dice.normal(size=500), dice.uniform(0.5, 2, 500)
    found = script("regression").measures(y, mean, spread)
    density = Normal(torch.from_numpy(mean), torch.from_numpy(spread)).log_prob(torch.from_numpy(y))
    assert found["nlpd"] == pytest.approx(-float(density.mean()))
    assert found["rmse"] == pytest.approx(np.linalg.norm(y - mean) / np.sqrt(500))
    assert found["coverage"] == pytest.approx(np.mean(np.abs((y - mean) / spread) < 1.6448536))
    ranks = [np.argsort(np.argsort(values)) for values in (y, mean)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_a_constant_prediction_ranks_nothing(script):
    assert script("regression").measures(np.arange(5.0), np.ones(5), np.ones(5))["spearman"] == 0.0


def test_a_true_distribution_covers_what_it_says(script):
    dice = np.random.default_rng(1)
    spread = dice.uniform(0.5, 2, 20_000)
    mean = dice.normal(size=20_000)
    found = script("regression").measures(mean + dice.normal(size=20_000) * spread, mean, spread)
    assert found["coverage"] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("name", ["random forest", "one-hot GP", "path ensemble", "WL", "WL-OA", "WL + Hamming"])
def test_models_learn_and_spread_is_positive(script, name: str):
    regression, models = script("regression"), script("models")
    space, draw = regression.data("digits")
    genotypes, accuracy = draw(300, 0)
    y = regression.log_target(accuracy)
    model = models.MODELS[name](space, 0)
    model.fit(genotypes[:150], y[:150])
    mean, spread = model.predict(genotypes[150:])
    assert np.all(spread > 0)
    assert regression.measures(y[150:], mean, spread)["spearman"] > 0.5


def test_a_regression_is_a_table(script, capsys):
    regression = script("regression")
    frame = regression.run(["digits"], ["random forest"], 2, sizes=(20, 40))
    assert list(frame["size"]) == [20, 40, 20, 40]
    assert frame["spearman"].between(-1, 1).all()
    again = regression.run(["digits"], ["random forest"], 2, sizes=(20, 40))
    pd.testing.assert_frame_equal(frame.drop(columns="fit_s"), again.drop(columns="fit_s"))
    regression.report(frame)
    printed = capsys.readouterr().out
    assert "digits: 400 validation architectures, 2 repetitions" in printed
    assert printed.count("random forest") == 2


# ---- curves ---------------------------------------------------------------------------------------------------------


def test_curves_of_every_contender(script, capsys, tmp_path):
    curves, tables = script("curves"), script("tables")
    table = tables.load_table("digits")
    frame = curves.curves(table, ["random", "evolution", "TPE"], range(2), queries=30)
    assert len(frame) == 3 * 2 * 30
    assert (frame["regret"] >= 0).all()
    falls = frame.groupby(["contender", "seed"])["regret"].diff().dropna()
    assert (falls <= 0).all()
    curves.report(frame, table)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("random", "evolution", "TPE", "2 seeds"))
    curves.draw(frame, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_summaries_are_means_with_standard_errors(script):
    rows = [(0, 1, 2.0), (0, 2, 1.0), (1, 1, 4.0), (1, 2, 1.0)]
    frame = pd.DataFrame(rows, columns=["seed", "query", "regret"]).assign(contender="a")
    found = script("curves").summary(frame).set_index("query")
    assert list(found["mean"]) == [3.0, 1.0]
    assert list(found["error"]) == pytest.approx([1.0, 0.0])


def test_contenders_name_controllers_that_exist(script):
    found = {name: contender.available for name, contender in script("curves").CONTENDERS.items()}
    assert all(found[name] for name in ("random", "evolution", "TPE", "BANANAS m", "BANANAS r"))
    assert not script("curves").Contender("nothing_of_this_name").available


def test_tpe_spends_no_query_on_what_is_known(script):
    space = NASBench201()
    tpe = script("optuna_tpe").OptunaTPE(space, [Goal("val_accuracy", True)], seed=0)
    asked = []
    for _ in range(60):
        candidate = tpe.propose()
        asked.append(space.key(candidate.genotype))
        value = float(candidate.genotype.count(3))
        tpe.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, {"val_accuracy": value}))
    assert len(set(asked)) == 60
    assert max(outcome.metrics["val_accuracy"] for outcome in tpe.completed()) >= 5


def test_tpe_stays_within_a_tables_rows(script):
    whole = NASBench201()
    space = RestrictedSpace(whole, [whole.sample(np.random.default_rng(i)) for i in range(20)])
    tpe = script("optuna_tpe").OptunaTPE(space, [Goal("val_accuracy", True)], seed=0)
    members = len(list(space.enumerate()))
    asked = [tpe.propose() for _ in range(members)]
    assert {space.key(c.genotype) for c in asked} == {space.key(g) for g in space.enumerate()}
    assert tpe.propose() is None
