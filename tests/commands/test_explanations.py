"""``xnas explain``: motifs of finished, running and abandoned searches, as tables, JSON and drawings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from xnas_ray.client import Client
from xnas_ray.errors import ServiceError
from xnas_ray.explain.motifs import read_motifs
from xnas_ray.explain.occurrences import explain_architecture
from xnas_ray.service.explanations import derived_explanations
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.store import StoreWriter, load_trials, new_search_id

EXPLAINING = '''
import numpy as np

from xnas_ray.controllers.random_search import RandomSearch
from xnas_ray.explain.motifs import motif_table
from xnas_ray.explain.wl_part import WLPart
from xnas_ray.surrogates.wl_features import WLFeatures


class Explaining(RandomSearch):
    """Random search that fits a model when it is asked why."""

    def explain(self):
        goal, features = self.objectives[0], WLFeatures(1)
        outcomes = self.completed()
        rows = [features.add(self.space.key(o.candidate.genotype), self.space.graphs(o.candidate.genotype))
                for o in outcomes]
        y = np.array([goal.signed(o.metrics) for o in outcomes])
        gram = sum(features.gram(rows, rows, layer, "cell") for layer in (0, 1))
        norms = np.sqrt(np.diag(gram))
        precision = np.linalg.inv(gram / np.outer(norms, norms) + 0.1 * np.eye(len(y)))
        centred = (y - y.mean()) / y.std()
        part = WLPart.by_cell(features, rows, precision @ centred, 1, precision=precision)
        return {"motifs": motif_table(features, part, metric=goal.name, unit="%", scale=y.std())}
'''


@pytest.fixture(scope="module")
def store(played_search, archive, tmp_path_factory):
    """(root, finished, cancelled): two searches whose controller explains itself, only one with stored motifs."""
    folder = tmp_path_factory.mktemp("explaining") / "toy"
    shutil.copytree(archive.task, folder)
    (folder / "explaining.py").write_text(EXPLAINING)
    root = tmp_path_factory.mktemp("explained") / "store"
    ids = [new_search_id(1_700_000_000.0 + i) for i in range(2)]
    with StoreWriter.open(root) as writer:
        for search_id, state in zip(ids, ("finished", "cancelled"), strict=True):
            search = played_search(writer, folder, search_id, {"controller": "explaining:Explaining"})
            search.trials(40)
            if state == "finished":
                for kind, table in search.opened.controller.explain().items():
                    writer.append_explanation(kind, search_id, table)
            search.state(state)
    return root, *ids


# ---- a search --------------------------------------------------------------------------------------------------------


def test_the_best_and_the_worst_motifs_are_printed(xnas, store):
    root, finished, _ = store
    printed = xnas("explain", finished, "--motifs", "--root", root)
    assert printed.code == 0 and printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "motifs of val_accuracy from 40 architectures, changes in percentage points"
    assert all(len(line) <= 80 for line in lines)
    good, bad = lines[lines.index("good") : lines.index("bad")], lines[lines.index("bad") :]
    assert good[1].split() == ["change", "+-", "90%", "interval", "of", "40", "motif"]
    assert all(line.startswith("+") for line in good[2:-1]) and all(line.startswith("-") for line in bad[2:])
    assert 1 <= len(bad) - 2 <= 5
    assert xnas("explain", finished, "--root", root).out == printed.out


def test_fewer_can_be_asked_for(xnas, store):
    root, finished, _ = store
    lines = xnas("explain", finished, "-n", 1, "--root", root).out.splitlines()
    assert len(lines) == 9


def test_what_is_stored_is_shown(xnas, store, tmp_path):
    """A table that was written later wins; nothing is computed again."""
    root, finished, _ = store
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    table = Client(root).handle(finished).explanations("motifs")
    with StoreWriter.open(copy, take_over=True) as writer:
        writer.append_explanation("motifs", finished, table.drop(columns=["search_id"]).assign(unit="points"))
    assert "changes in points" in xnas("explain", finished, "--root", copy).out


def test_json_has_the_whole_table(xnas, store):
    root, finished, _ = store
    rows = json.loads(xnas("explain", finished, "--json", "--root", root).out)
    table = Client(root).handle(finished).explanations("motifs")
    assert [row["motif"] for row in rows] == table["motif"].tolist()
    assert read_motifs(pd.DataFrame(rows)) == read_motifs(table)


def test_drawings_are_written(xnas, store, tmp_path):
    root, finished, _ = store
    printed = xnas("explain", finished, "--out", tmp_path / "why", "--root", root)
    assert printed.code == 0 and "motifs.svg and" in printed.err
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == ["motifs.png", "motifs.svg"]


def test_other_parts_of_the_model_are_mentioned(xnas, store, monkeypatch):
    root, finished, _ = store
    table = Client(root).handle(finished).explanations("motifs")
    monkeypatch.setattr("xnas_ray.search_handle.SearchHandle.explanations", lambda *_: table.assign(wl_share=0.6))
    assert "they explain 60% of what the model predicts" in xnas("explain", finished, "--root", root).out


def test_cells_are_named_when_there_are_several(xnas, store, monkeypatch):
    root, finished, _ = store
    table = Client(root).handle(finished).explanations("motifs")
    table["cell"] = ["normal" if i % 2 else "reduction" for i in range(len(table))]
    monkeypatch.setattr("xnas_ray.search_handle.SearchHandle.explanations", lambda *_: table)
    assert "  cell  " in xnas("explain", finished, "--root", root).out


# ---- a trial ---------------------------------------------------------------------------------------------------------


def test_a_trials_motifs_are_printed_and_drawn(xnas, store, tmp_path):
    root, finished, _ = store
    table = Client(root).handle(finished).explanations("motifs")
    trial = load_trials(root, finished).iloc[7]
    expected = explain_architecture(NASBench201().graphs(trial["genotype"]), read_motifs(table[table["mark"] != ""]))
    rows = json.loads(xnas("explain", finished, trial["trial"], "--json", "--root", root).out)
    assert sorted(row["id"] for row in rows) == sorted(one.motif.id for one in expected)
    assert all(len(row["roots"]) == len(row["nodes"]) >= row["occurrence"] for row in rows)
    printed = xnas("explain", finished, trial["trial"], "--out", tmp_path, "-n", 40, "--root", root)
    assert printed.out.startswith(f"trial {trial['trial']}: {trial['architecture']}\n")
    assert all(row["text"] in printed.out for row in rows)
    assert {path.name for path in tmp_path.iterdir()} >= {f"trial_{trial['trial']}.svg", f"trial_{trial['trial']}.png"}


def test_a_trial_that_does_not_exist(xnas, store):
    root, finished, _ = store
    printed = xnas("explain", finished, 99, "--root", root)
    assert printed.code == 2 and "has no finished trial 99" in printed.err


# ---- the model -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modelled(played_search, archive, tmp_path_factory):
    """(root, id) of a search with a surrogate."""
    root = tmp_path_factory.mktemp("modelled") / "store"
    search_id = new_search_id(1_700_000_000.0)
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, search_id, {"controller": "nasbowl"})
        search.trials(14)
        for kind, table in search.opened.controller.explain().items():
            writer.append_explanation(kind, search_id, table)
        search.state("finished")
    return root, search_id


def test_how_well_the_model_predicts(xnas, modelled):
    root, search_id = modelled
    row = Client(root).handle(search_id).explanations("surrogate").iloc[0]
    lines = xnas("explain", search_id, "--model", "--root", root).out.splitlines()
    assert lines[0] == "each outcome predicted from the other 13" and len(lines) == 4  # two objectives
    assert lines[2].split()[:3] == ["val_accuracy", f"{row['spearman']:.2f}", f"{row['coverage_90']:.0%}"]
    shown = json.loads(xnas("explain", search_id, "--model", "--json", "--root", root).out)
    assert shown["surrogate"][0]["spearman"] == pytest.approx(row["spearman"]) and shown["transfer"] == []


def test_what_a_model_took_from_other_searches(xnas, modelled):
    root, search_id = modelled
    row = {"metric": "val_accuracy", "weight": float("nan"), "trust": float("nan"), "correlation": float("nan")}
    prior = {**row, "form": "prior", "source": "01A", "weight": 0.8, "trust": 0.95, "correlation": 0.71, "motifs": 0}
    kept = {**row, "form": "motifs", "source": "01B\x1b[2J", "motifs": 4}
    copy = root.parent / "copy"
    shutil.copytree(root, copy)
    with StoreWriter.open(copy, take_over=True) as writer:
        writer.append_explanation("transfer", search_id, pd.DataFrame([prior, kept]))
    printed = xnas("explain", search_id, "--model", "--root", copy).out
    lines = printed[printed.index("learnt from other searches") :].splitlines()
    assert lines[2].split() == ["val_accuracy", "01A", "prior", "0.80", "x", "95%", "0.71"]
    assert "4 good motifs" in lines[3] and "\x1b" not in printed


def test_the_model_is_asked_for_alone(xnas, modelled, tmp_path):
    root, search_id = modelled
    for more, message in (([3], "TRIAL: "), (["--motifs"], "--motifs and --model"), (["--out", tmp_path], "--out: ")):
        printed = xnas("explain", search_id, *more, "--model", "--root", root)
        assert printed.code == 2 and message in printed.err and printed.out == ""


# ---- where they come from --------------------------------------------------------------------------------------------


def test_a_search_that_was_cancelled_is_explained_from_its_rows(xnas, store):
    root, finished, cancelled = store
    assert xnas("explain", cancelled, "--root", root).code == 0
    derived = derived_explanations(root, finished)["motifs"]
    stored = Client(root).handle(finished).explanations("motifs")
    assert read_motifs(derived) == read_motifs(stored)


def test_a_running_search_is_asked(xnas, store, archive, fake_head):
    root, finished, _ = store
    table = Client(root).handle(finished).explanations("motifs")
    fake_head.answers["explain"] = {"motifs": table.assign(metric="live_accuracy")}
    printed = xnas("explain", archive.unfinished, "--root", archive.root)
    assert "motifs of live_accuracy" in printed.out and ("explain", archive.unfinished) in fake_head.calls


def test_a_search_without_motifs_shows_all_that_it_has(xnas, archive, fake_head):
    stages = pd.DataFrame({"stage": ["evolved"], "best": [97.5]})
    fake_head.answers["explain"] = {"stages": stages, "predictor": pd.DataFrame({"trial": range(25)})}
    printed = xnas("explain", archive.unfinished, "--root", archive.root)
    lines = printed.out.split("\n")
    assert printed.code == 0 and lines.index("predictor") < lines.index("stages")
    assert "… 5 more rows: --kind predictor" in lines and "evolved  97.5" in lines
    found = json.loads(xnas("explain", archive.unfinished, "--json", "--root", archive.root).out)
    assert len(found["predictor"]) == 25 and found["stages"] == [{"stage": "evolved", "best": 97.5}]
    assert xnas("explain", archive.unfinished, "--motifs", "--root", archive.root).code == 2


@pytest.mark.parametrize("which", ["finished", "unfinished"])
def test_controllers_that_give_none(xnas, archive, fake_head, which):
    fake_head.answers["explain"] = ServiceError("gone")
    printed = xnas("explain", getattr(archive, which), "--motifs", "--root", archive.root)
    assert printed.code == 2 and printed.out == ""
    assert "has no motifs: its controller" in printed.err and "--controller nasbowl" in printed.err
    assert "at least 20 architectures" in printed.err and "Decision trees" not in printed.err


def test_too_few_outcomes(xnas, store, monkeypatch):
    root, finished, _ = store
    empty = Client(root).handle(finished).explanations("motifs")[:0]
    monkeypatch.setattr("xnas_ray.search_handle.SearchHandle.explanations", lambda *_: empty)
    printed = xnas("explain", finished, "--root", root)
    assert printed.code == 2 and "no part that varies is in enough" in printed.err


def test_a_search_that_does_not_exist(xnas, tmp_path: Path):
    assert xnas("explain", "01JDXXXX", "--root", tmp_path).code == 2


# ---- any table -------------------------------------------------------------------------------------------------------


def test_any_table_is_shown_as_it_is(xnas, store, tmp_path):
    root, finished, _ = store
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    given = pd.DataFrame({"method": ["magnitude", "[b]"], "supernets": [3, 1], "accuracy_std": [0.25, float("nan")]})
    with StoreWriter.open(copy, take_over=True) as writer:
        writer.append_explanation("derived_methods", finished, given)
    printed = xnas("explain", finished, "--kind", "derived_methods", "--root", copy)
    lines = [line.split() for line in printed.out.splitlines()]
    assert lines == [["method", "supernets", "accuracy_std"], ["magnitude", "3", "0.25"], ["[b]", "1"]]
    rows = json.loads(xnas("explain", finished, "--kind", "derived_methods", "--json", "--root", copy).out)
    assert rows[0] == {"method": "magnitude", "supernets": 3, "accuracy_std": 0.25} and rows[1]["accuracy_std"] is None
    refused = xnas("explain", finished, "--kind", "derived_methods", "--model", "--root", copy)
    assert refused.code == 2 and "--model and --kind are different things" in refused.err
    unknown = xnas("explain", finished, "--kind", "nothing", "--root", root)
    assert unknown.code == 2 and "motifs" in unknown.err
