"""The XNAS experiments: contenders, measures and tables, on data that the project has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymoo.indicators.hv import HV

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FOLDER = EXPERIMENTS / "reproduce" / "xnas"
TABLE = EXPERIMENTS / "digits" / "nasbench201_digits.parquet"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits table by the names of the others, with an introspectability that depends on the costs."""
    frame = pq.read_table(TABLE).to_pandas()
    rough = np.random.default_rng(0).normal(size=len(frame))
    frame["introspectability"] = 0.5 + 0.1 * np.tanh(rough - np.log(frame["params"] / frame["params"].mean()))
    frame["cifar10_val_200"], frame["flops_m"] = frame["val_accuracy_3"], frame["flops"] / 1e6
    folder = tmp_path_factory.mktemp("tables")
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "nasbench201.parquet")
    times = pa.table({"train_time_s": np.random.default_rng(1).lognormal(7, 0.5, 1000)})
    pq.write_table(times, folder / "nasbench101_subset.parquet")
    return folder


# ---- the claim ------------------------------------------------------------------------------------------------------


def test_both_modes_at_equal_budget(script, tables, capsys):
    claim = script("claim")
    task = claim.load(tables / "nasbench201.parquet")
    frame = claim.compare(task, range(3), trials=80, workers=4)
    assert frame.groupby("mode").size().to_dict() == dict.fromkeys(claim.MODES, 3)
    both, alone = (frame[frame["mode"] == mode].set_index("seed") for mode in claim.MODES)
    assert both["hypervolume share"].mean() > alone["hypervolume share"].mean(), "it is what it selects by"
    assert both["hypervolume share"].between(0.5, 1).all()
    claim.report(frame)
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("hypervolume share")]
    assert f"{both['hypervolume share'].mean():.3f} [" in line and line.count("[") == 3


def test_the_share_is_pymoos(script, tables):
    claim = script("claim")
    task = claim.load(tables / "nasbench201.parquet")
    exact = claim.Exact(task)
    found = [task.lookup(genotype).metrics for genotype in task.space.enumerate()]
    points = np.array([[one["val_accuracy"], one["introspectability"]] for one in found])
    assert exact.share(points) == 1 and exact.best == points[:, 0].max()
    chosen = points[np.random.default_rng(2).choice(len(points), 40, replace=False)]
    volume = HV(ref_point=-points.min(axis=0))
    assert exact.share(chosen) == pytest.approx(volume(-chosen) / volume(-points), rel=1e-9)


def test_what_a_search_ends_with(script, tables):
    claim = script("claim")
    exact = claim.Exact(claim.load(tables / "nasbench201.parquet"))
    rows = [(exact.best - 0.5, 0.7, 90), (exact.best - 3, 0.9, 89), (exact.best - 0.2, 0.4, 91), (50, 0.99, 50)]
    frame = pd.DataFrame(rows, columns=[claim.ACCURACY, claim.INTROSPECTABILITY, claim.TEST])
    found = claim.found_by(frame, exact)
    assert (found["best: introspectability"], found["best: test accuracy"]) == (0.4, 91)
    assert (found["near: introspectability"], found["near: accuracy"]) == (0.7, exact.best - 0.5)
    poor = claim.found_by(frame.iloc[3:], exact)
    assert np.isnan(poor["near: introspectability"]) and poor["best: accuracy"] == 50


def test_an_interval_is_students(script):
    claim = script("claim")
    assert claim.interval(pd.Series([1.0, 2.0, 3.0, np.nan])) == "2.000 [-0.484, 4.484]"  # 4.303 / sqrt(3)
    assert claim.interval(pd.Series([0.5, 0.5])) == "0.500 [0.500, 0.500]"


# ---- the barrier ----------------------------------------------------------------------------------------------------


def test_nobody_is_spared_the_barrier_but_those_without(script, tables, monkeypatch, capsys):
    monkeypatch.setenv("XNAS_DATA", str(tables))
    barrier = script("barrier")
    table = barrier.load()
    names = [barrier.BARRIER, "ours, generational", "ours, asynchronous"]
    frame = barrier.compare(table, names, range(2), trials=192)
    assert frame["share"].between(0.5, 1).all() and frame["distinct"].le(192).all()
    ratios = barrier.differences(frame)["makespan"]
    assert ratios["ours, asynchronous"] < 0.9 and ratios[barrier.BARRIER] == 1
    ours = frame[frame["contender"].str.startswith("ours")]
    assert (ours["distinct"] == 192).all(), "nothing is trained twice"
    barrier.report(frame, table)
    assert "ours, asynchronous" in capsys.readouterr().out


def test_the_same_class_takes_as_long_every_time(script, tables, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tables))
    table = script("barrier").load()
    members = {}
    for genotype in list(table.space.genotypes())[::97]:
        members.setdefault(table.space.key(genotype), set()).add(table.duration_s(genotype))
    assert all(len(found) == 1 for found in members.values()) and len(members) > 100
    assert len(set.union(*members.values())) > 50


# ---- what a search has found -----------------------------------------------------------------------------------------


def test_a_finished_search_is_summed_up(script, archive, monkeypatch, capsys):
    found = script("found")
    monkeypatch.setattr(found, "BOTH", ["metric_val_accuracy", "metric_flops"])
    monkeypatch.setattr(found, "SHOWN", ["trial", "metric_val_accuracy", "metric_params", "architecture"])
    found.show(found.Client(archive.root), [archive.finished])
    text = capsys.readouterr().out
    frame = found.Client(archive.root).handle(archive.finished).results()
    frame = frame[frame["status"] == "completed"]
    assert f"{len(frame)} trials" in text and "hypervolume" in text
    ranks = frame[["metric_val_accuracy", "metric_flops"]].rank()
    rho = ranks.corr().iloc[0, 1]
    assert f"rank correlation {rho:+.3f}" in text
    assert text.count("|+|") == 2 * frame["front"].sum(), "the architectures of the front, of three columns each"
