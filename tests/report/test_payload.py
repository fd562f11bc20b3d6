"""What a report is made of, from stores as a service leaves them."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest

from xnas_ray.explain.motifs import COLUMNS
from xnas_ray.report.heat_maps import LAYERS, PAIRS
from xnas_ray.report.material import chosen, read_material
from xnas_ray.report.payload import SEARCH_COLOURS, Searched, report_payload
from xnas_ray.service.archive import best_trials
from xnas_ray.service.explanations import trial_graphs
from xnas_ray.service.report_data import report_data
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.store import load_trials

NOW = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)


def payload_of(*searches: Searched) -> dict:
    found = report_payload(searches, version="1", made_at=NOW)
    assert json.loads(json.dumps(found, allow_nan=False)), "strict JSON"
    return found


def test_the_rows_of_the_store_are_all_there(archive):
    material = read_material(archive.root, archive.finished)
    space = NASBench201()
    [found] = payload_of(Searched(material, space.graphs, space.choices))["searches"]
    frame = load_trials(archive.root, archive.finished)
    assert found["id"] == archive.finished and found["trials"]["trial"] == frame["trial"].tolist()
    accuracy = [None if np.isnan(v) else v for v in frame["metric_val_accuracy"]]
    assert found["metrics"]["val_accuracy"] == accuracy and accuracy[frame["trial"].tolist().index(3)] is None
    assert [found["trials"]["texts"][i] for i in found["trials"]["architecture"]] == frame["architecture"].tolist()
    assert found["counts"] == {"completed": 11, "failed": 1, "cancelled": 0, "reused": 0}
    assert [f["trials"] for f in found["failures"]] == [[3]] and found["failures"][0]["message"].startswith("\x1b")
    assert len(found["drawings"]) == len({tuple(sorted(map(str, d))) for d in found["drawings"]}) >= 2
    assert found["trials"]["train_seed"] == [str(seed) for seed in frame["train_seed"]]


def test_front_and_best_are_those_of_the_service(archive):
    [found] = payload_of(Searched(read_material(archive.root, archive.finished)))["searches"]
    ranked = best_trials(archive.root, archive.finished)
    assert set(found["front"]) == {one["trial"] for one in ranked if one["front"]}
    assert found["best"] == ranked[0]["trial"] == archive.best
    assert found["drawn"] is None and found["drawings"] == []


def test_searches_that_are_compared_share_a_box_and_differ_in_colour(made):
    def search(*points):
        return Searched(made([{"metrics": {"accuracy": float(a), "flops": float(f)}} for a, f in points]))

    alone = payload_of(search((1, 2), (3, 4)))["searches"][0]["progress"]
    both = payload_of(search((1, 2), (3, 4)), search((9, 1)), search())["searches"]
    assert [one["colour"] for one in both] == list(SEARCH_COLOURS[:3])
    assert both[0]["progress"]["ideal"] == both[1]["progress"]["ideal"] == [9, 1] != alone["ideal"]
    assert both[0]["progress"]["hypervolume"]["values"][-1] < alone["hypervolume"]["values"][-1]
    assert both[2]["progress"]["hypervolume"] == {"rows": [], "values": []} and both[2]["best"] is None


def test_other_objectives_have_another_box(made):
    third = {"name": "params", "maximize": False, "unit": ""}
    other = made([{"metrics": {"params": 5.0}}], objectives=[third])
    found = payload_of(Searched(made([{"metrics": {"accuracy": 1.0, "flops": 2.0}}])), Searched(other))["searches"]
    assert found[0]["progress"]["hypervolume"] is not None and found[1]["progress"]["hypervolume"] is None
    assert found[1]["front"] is None and found[1]["best"] == 0


def test_explanations_are_pictures_or_tables(made):
    layers = pd.DataFrame({"trial": [0], "layer": ["stem"], "score": [0.5], "share": [1.0]})
    first, second = ["a", "a", "b"], ["b", "c", "c"]
    pairs = pd.DataFrame({"trial": 0, "first": first, "second": second, "distance": [0.1, 0.2, None]})
    odd = pd.DataFrame({"metric": ["m"], "spearman": [np.nan], "n": [np.int64(3)], "parts": [["x"]]})
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    tables = {LAYERS: layers, PAIRS: pairs, "surrogate": odd, "motifs": empty}
    [found] = payload_of(Searched(made([{"metrics": {"accuracy": 1.0, "flops": 1.0}}], tables=tables)))["searches"]
    assert found["layers"] == {"trials": [0], "layers": ["stem"], "scores": [[0.5]]}
    assert found["pairs"]["distances"] == [[0.1, 0.2, None]] and found["pairs"]["classes"] == ["a", "b", "c"]
    assert found["tables"] == [
        {"kind": "surrogate", "columns": list(odd.columns), "rows": [["m", None, 3, ["x"]]], "of": 1}
    ]
    assert found["motifs"] is None


def test_of_long_tables_the_rows_of_the_best_are_kept(made, monkeypatch):
    monkeypatch.setattr("xnas_ray.report.payload.TABLE_ROWS", 2)
    monkeypatch.setattr("xnas_ray.report.payload.MAPPED_TRIALS", 2)
    trials = [{"metrics": {"accuracy": float(n), "flops": 1.0}} for n in range(4)]
    times = pd.DataFrame({"trial": range(4), "ms": [1.5, 2.5, 3.5, 4.5]})
    rounds = pd.DataFrame({"round": range(4)})
    [found] = payload_of(Searched(made(trials, tables={"latency": times, "rounds": rounds})))["searches"]
    assert [(t["rows"], t["of"]) for t in found["tables"]] == [([[2, 3.5], [3, 4.5]], 4), ([[0], [1]], 4)]


def test_the_front_is_kept_before_the_best(made):
    values = [(5, 9), (4, 1), (9, 50), (8, 60), (7, 70)]
    material = made([{"metrics": {"accuracy": float(a), "flops": float(f)}} for a, f in values])
    assert chosen(material, [2, 0, 1], 4) == [2, 0, 1, 3] and chosen(material, None, 2) == [2, 3]


def test_of_very_many_curves_those_of_the_best_are_kept(made, monkeypatch):
    monkeypatch.setattr("xnas_ray.report.payload.CURVE_ROWS", 8)
    trials = [{"metrics": {"accuracy": float(n), "flops": 1.0}} for n in range(5)]
    rows = [{"trial": n, "epoch": e, "metric": "loss", "value": n + e / 10} for n in range(5) for e in range(1, 4)]
    found = payload_of(Searched(made(trials, curves=rows)))["searches"][0]["curves"]
    assert found == {str(n): {"loss": [[1, 2, 3], [n + 0.1, n + 0.2, n + 0.3]]} for n in (3, 4)}
    few = payload_of(Searched(made(trials, curves=rows[:6])))["searches"][0]["curves"]
    assert sorted(few) == ["0", "1"]


def test_a_task_that_cannot_be_imported_costs_the_drawings_alone(archive, tmp_path):
    import gzip
    import shutil

    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    whole = json.loads(gzip.decompress(report_data(root, ["latest", archive.finished[:12], archive.finished])))
    assert [one["id"] for one in whole["searches"]] == [archive.cancelled, archive.finished]
    drawn = whole["searches"][1]
    number = drawn["drawn"][drawn["trials"]["trial"].index(archive.best)]
    graphs = trial_graphs(root, archive.finished, archive.best)[1]
    assert [cell[0] for cell in drawn["drawings"][number]] == list(graphs)
    shutil.rmtree(root / "tasks")
    [found] = json.loads(gzip.decompress(report_data(root, [archive.finished])))["searches"]
    assert "not drawn" in found["note"] and found["drawn"] is None and found["counts"]["completed"] == 11


@pytest.mark.parametrize("which", ["unfinished", "cancelled"])
def test_what_has_hardly_begun_is_a_report_too(archive, which):
    [found] = payload_of(Searched(read_material(archive.root, getattr(archive, which))))["searches"]
    assert found["timeline"]["asked"] == (5 if which == "unfinished" else 0)
    assert len(found["trials"]["trial"]) == (3 if which == "unfinished" else 0)
