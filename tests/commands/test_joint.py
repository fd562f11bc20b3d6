"""``xnas explain ID --joint``, and motifs of searches whose controllers learn none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xnas_ray.client import Client
from xnas_ray.store import StoreWriter

SEARCH = "01HF7YAT000123456789ABCDEX"


@pytest.fixture(scope="module")
def store(tmp_path_factory, archive, played_search) -> Path:
    """A finished search of 30 trials that NSGA-II proposed."""
    root = tmp_path_factory.mktemp("evolved") / "store"
    controller = {"name": "nsga2", "params": {"population": 8}}
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, SEARCH, {"controller": controller, "budget": {"trials": 30}})
        search.trials(30)
        for kind, table in search.opened.explain().items():
            writer.append_explanation(kind, SEARCH, table)
        search.state("finished", "budget.trials is reached")
    return root


def test_findings_are_printed_with_their_numbers(xnas, store):
    printed = xnas("explain", SEARCH, "--joint", "--root", store)
    assert printed.code == 0 and printed.err == ""
    lines = printed.out.splitlines()
    found = Client(store).handle(SEARCH).joint()
    decided = sum(one["verdict"] != "undecided" for one in found["findings"])
    assert lines[0].startswith(f"{decided} of {len(found['findings'])} questions decided: p < .05 after")
    for finding in found["findings"]:
        mark = {"agree": "+", "disagree": "-", "undecided": "?"}[finding["verdict"]]
        at = lines.index(f"{mark} {finding['asked']}")
        assert lines[at + 1].strip() == finding["statement"]
    assert "best motifs for val_accuracy, of 30 architectures" in lines
    assert any(line.startswith("operations, for val_accuracy") for line in lines)
    default = xnas("explain", SEARCH, "--root", store).out
    assert default.startswith(printed.out) and "\nhypervolume\n" in default, "without motifs of a controller"
    assert "motif_scores" not in default, "tables that are too wide for a terminal are what this sums up"


def test_json_has_everything(xnas, store):
    found = json.loads(xnas("explain", SEARCH, "--joint", "--json", "--root", store).out)
    assert found == Client(store).handle(SEARCH).joint()
    assert found["objectives"] == ["val_accuracy", "params"] and len(found["operations"]) >= 3


def test_motifs_of_the_first_objective_stand_in_for_those_of_a_controller(xnas, store):
    printed = xnas("explain", SEARCH, "--motifs", "--root", store)
    assert printed.code == 0 and printed.out.startswith("motifs of val_accuracy from 30 architectures")
    best = Client(store).handle(SEARCH).best(1)[0]["trial"]
    of_trial = xnas("explain", SEARCH, best, "--root", store)
    assert of_trial.code == 0 and of_trial.out.startswith(f"trial {best}: |") and "\ngood" in of_trial.out


def test_too_few_trials_are_said(xnas, archive, tmp_path):
    printed = xnas("explain", archive.finished, "--joint", "--root", archive.root)
    assert (
        printed.code == 2
        and "too few architectures" in printed.err
        and "from 20 that differ on" in printed.err
        and "xnas extend" in printed.err
    )
    page = tmp_path / "page.html"
    printed = xnas("report", archive.finished, "--joint", "--root", archive.root, "--out", page)
    assert (
        printed.code == 2
        and "too few architectures" in printed.err
        and "from 20 that differ on" in printed.err
        and not page.exists()
    )


def test_it_is_asked_for_alone(xnas, store):
    for other in ("--motifs", "--model", "--kind=motifs", "--tree", "--unseen=mnist"):
        printed = xnas("explain", SEARCH, "--joint", other, "--root", store)
        assert printed.code == 2 and "are different things" in printed.err and printed.out == ""
    printed = xnas("explain", SEARCH, 3, "--joint", "--root", store)
    assert printed.code == 2 and "TRIAL: --joint is of a whole search" in printed.err
    printed = xnas("explain", SEARCH, "--joint", "--out", "x", "--root", store)
    assert printed.code == 2 and "`xnas report ID --joint`" in printed.err
