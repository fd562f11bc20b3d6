"""What trials say by themselves: at the end of any search, again for old ones, and never at the search's cost."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from pathlib import Path

import pytest

from xnas_ray.errors import ExplanationError
from xnas_ray.explain import objective_motifs
from xnas_ray.report.trial_tables import COLUMNS
from xnas_ray.service.archive import stored_card
from xnas_ray.service.explanations import derived_explanations
from xnas_ray.service.host import ControllerHost
from xnas_ray.service.report_data import report_data
from xnas_ray.store import StoreWriter, load_explanations, load_trials

SEARCH, FEW = "01HF7YAT000123456789ABCDEX", "01HF7YAT000123456789ABCDEY"
KINDS = set(COLUMNS)
OWN = {"hypervolume"}
"""What NSGA-II says."""
EVOLUTION = {"name": "nsga2", "params": {"population": 8}}


@pytest.fixture(scope="module")
def store(tmp_path_factory, archive, played_search) -> Path:
    """A finished search of 30 trials that NSGA-II proposed, without explanations, and one of 10."""
    root = tmp_path_factory.mktemp("evolved") / "store"
    with StoreWriter.open(root) as writer:
        for search_id, trials in ((SEARCH, 30), (FEW, 10)):
            search = played_search(
                writer, archive.task, search_id, {"controller": EVOLUTION, "budget": {"trials": trials}}
            )
            search.trials(trials, failing={3: "no"})
            search.state("finished", "budget.trials is reached")
    return root


def explained(root: Path, search_id: str) -> dict:
    host = ControllerHost(str(root))
    host.open(search_id, stored_card(root, search_id))
    return host.explain(search_id)


def test_a_controller_that_learns_no_motifs_has_those_of_its_trials(store):
    tables = explained(store, SEARCH)
    assert set(tables) == KINDS | OWN
    motifs = tables["objective_motifs"]
    assert set(motifs["metric"]) == {"val_accuracy", "params"} and (motifs["architectures"] == 29).all()
    assert set(tables["operation_effects"]["metric"]) == {"val_accuracy", "params"}
    done = load_trials(store, SEARCH).query("status == 'completed'")["trial"]
    assert set(tables["motif_scores"]["first_trial"]) == set(done), "the trial that failed says nothing"


def test_those_of_an_extended_search_replace_the_earlier_ones(store, tmp_path):
    """Of many architectures other ones are looked at when there are more; scores of two models do not compare."""
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    earlier = explained(store, SEARCH)
    later = {kind: table.iloc[-3:].reset_index(drop=True) for kind, table in earlier.items()}
    with StoreWriter.open(copy, take_over=True) as writer:
        for tables in (earlier, later):
            for kind in KINDS:
                writer.append_explanation(kind, SEARCH, tables[kind])
            writer.commit()
    for kind in KINDS:
        assert len(load_explanations(copy, kind, SEARCH)) == len(later[kind]), kind


def test_they_can_be_stored_and_read(store, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    tables = explained(store, SEARCH)
    with StoreWriter.open(copy, take_over=True) as writer:
        for kind, table in tables.items():
            writer.append_explanation(kind, SEARCH, table)
    from xnas_ray.client import Client

    for kind, table in tables.items():
        again = Client(copy).handle(SEARCH).explanations(kind)
        assert len(again) == len(table) and set(table) <= set(again)


def test_an_old_search_is_explained_from_its_rows_in_the_same_way(store):
    tables, again = explained(store, SEARCH), derived_explanations(store, SEARCH)
    assert set(tables) == set(again) and all(table.equals(again[kind]) for kind, table in tables.items())


def test_the_report_of_an_old_search_has_them_too(store):
    found = json.loads(gzip.decompress(report_data(store, [SEARCH])))["searches"][0]
    assert found["joint"]["architectures"] == 29 and found["joint"]["findings"] and found["motifs"]["panels"]
    assert not KINDS & {table["kind"] for table in found["tables"]}
    few = json.loads(gzip.decompress(report_data(store, [FEW])))["searches"][0]
    assert few["joint"] is None and few["motifs"] is None


def test_the_report_of_a_search_that_goes_on_is_of_the_trials_so_far(store, tmp_path, archive, played_search):
    root = tmp_path / "store"
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, SEARCH, {"controller": EVOLUTION, "budget": {"trials": 40}})
        search.trials(25)
        early = search.opened.explain()["operation_effects"]
        writer.append_explanation("operation_effects", SEARCH, early.assign(effect=0.0))  # of an earlier end
    found = json.loads(gzip.decompress(report_data(root, [SEARCH])))["searches"][0]
    assert found["state"] == "running" and found["joint"]["architectures"] == 25
    assert any(operation["main_effect"] for operation in found["joint"]["operations"])


def test_few_trials_say_nothing(store):
    assert set(explained(store, FEW)) == OWN


def test_what_cannot_be_explained_costs_its_table_alone(store, monkeypatch, caplog):
    def broken(*given, **more):
        raise ValueError("no kernel")

    monkeypatch.setattr(objective_motifs, "objective_motifs", broken)
    with caplog.at_level(logging.WARNING):
        assert set(explained(store, SEARCH)) == {"operation_effects"} | OWN
    assert "no kernel" in caplog.text


def test_a_space_that_raises_costs_no_search(store, monkeypatch, caplog):
    monkeypatch.setattr("xnas_ray.explain.measured_architectures.measured_architectures", lambda *given: 1 / 0)
    with caplog.at_level(logging.WARNING):
        assert set(explained(store, SEARCH)) == OWN
    assert "ZeroDivisionError" in caplog.text


def test_what_a_controller_says_comes_first(store, monkeypatch):
    import pandas as pd

    from xnas_ray.controllers.nsga2 import NSGA2

    own = pd.DataFrame({"choice": ["mine"]})
    monkeypatch.setattr(NSGA2, "explain", lambda self: {"operation_effects": own})
    assert explained(store, SEARCH)["operation_effects"] is own


def test_a_kind_that_is_not_there_names_those_that_are(store):
    from xnas_ray.client import Client

    with pytest.raises(ExplanationError) as caught:
        Client(store).handle(SEARCH).explanations("nothing")
    assert set(caught.value.valid) == KINDS | OWN
