"""All explanations of a search beside each other: planted truths are stated, and noise is not."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pandas as pd
import pytest

from xnas_ray.report.joint import joint_info, operation_motifs
from xnas_ray.report.joint_questions import about_trials
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.report.supernet_beside import supernet_beside
from xnas_ray.report.trial_tables import COLUMNS
from xnas_ray.store import StoreWriter

from .joint_search import AIMS, PLANTED, SPACE, layers, outcomes, pairs, planted, said, strengths, tree


@pytest.fixture(scope="module")
def found(made):
    """What is said of the planted search."""
    material = planted(made)
    return joint_info(material, SPACE.choices, material)


def verdicts(found, about):
    return {finding.asked: finding.verdict for finding in found.findings if finding.about == about}


def test_motifs_that_help_accuracy_harm_introspectability(found):
    own = verdicts(found, "motifs")
    assert own["Are motifs that are better for val_accuracy better for introspectability?"] == "disagree"
    assert own["Are motifs that are better for val_accuracy better for nbdt_gap?"] == "undecided"
    [best] = [verdict for asked, verdict in own.items() if asked.startswith("Is the best") and "introspect" in asked]
    assert best == "disagree"


def test_a_supernet_over_four_operations_is_not_tested(found):
    own = [one for one in found.findings if one.about == "influence"]
    assert len(own) == 7 and {one.verdict for one in own} == {"undecided"}
    assert all(math.isnan(one.p) and one.value > 0 and "too few operations to test" in one.statement for one in own)
    alone = [one for one in own if "by themselves" in one.asked]
    assert len(alone) == 3 and all(one.n == 3 for one in alone)
    assert found.methods == ("magnitude", "influential_magnitude") and found.supernet[1] == "made"


def test_a_supernet_that_learnt_the_opposite_has_the_other_sign(made):
    material = planted(made, supernet=False)
    wrong = strengths({name: -value for name, value in PLANTED["val_accuracy"].items()}, noise=0.1)
    found = joint_info(material, SPACE.choices, made([], tables={"strengths": wrong}))
    own = [one for one in found.findings if one.about == "influence" and "themselves" not in one.asked]
    assert len(own) == 2 and all(one.value < -0.5 for one in own)


def test_objectives_that_are_at_odds_are_told(found):
    own = verdicts(found, "trials")
    assert own["Do architectures with better val_accuracy have better introspectability?"] == "disagree"
    assert sum(verdict == "undecided" for verdict in own.values()) == 2


def test_longer_training_that_is_good_for_two_objectives_is_no_tie_between_them(made):
    draw = np.random.default_rng(0)
    rows = []
    for number in range(60):
        longer = 10.0 * (number % 3 == 0)
        metrics = {aim["name"]: longer * (1 if aim["maximize"] else -1) + draw.normal() for aim in AIMS}
        rows.append({"fidelity": 8 if longer else 2, "metrics": metrics})
    questions = about_trials(made(rows, objectives=AIMS))
    assert [q.n for q in questions] == [40] * 3 and all(abs(q.value) < 0.35 for q in questions)


def test_the_tree_and_the_layers_are_those_of_the_winner(found, made):
    rows = outcomes(60, PLANTED, noise=1.0)
    winner = max(range(60), key=lambda i: rows[i]["metrics"]["val_accuracy"])
    assert found.winner == winner
    own = layers(60)
    best = own[own["trial"] == winner].sort_values("score", ascending=False)
    assert [layer.layer for layer in found.layers] == best["layer"].tolist()
    assert [d.name for d in found.decisions] == ["thing", "animal", "vehicle", "dog / fox", "bus / van"]
    [finding] = [one for one in found.findings if one.about == "tree"]
    assert finding.value > 0.8 and finding.n == 6 and f"trial {winner}" in finding.asked


def test_of_equal_trials_the_winner_is_on_the_front(made):
    rows = outcomes(30, PLANTED, noise=1.0)
    best = {"val_accuracy": 99.0, "introspectability": 1.0, "nbdt_gap": 1.0}
    rows[4]["metrics"], rows[9]["metrics"] = best, best | {"nbdt_gap": 0.5}
    assert joint_info(made(rows, objectives=AIMS, tables=said(rows))).winner == 9


def test_motifs_and_operations_have_their_numbers(found):
    assert found.architectures == 60 and found.objectives == tuple(aim["name"] for aim in AIMS)
    first = [motif.effects[0] for motif in found.motifs]
    assert first == sorted(first, reverse=True)
    one = next(motif for motif in found.motifs if motif.text == "nor_conv_3x3" and motif.layer == 0)
    assert one.effects[0] > 1 and one.effects[1] < -1 and one.lows[0] < one.differences[0] < one.highs[0]
    by_name = {operation.name: operation for operation in found.operations}
    assert next(iter(by_name)) == "nor_conv_3x3"
    conv = by_name["nor_conv_3x3"]
    assert conv.motif_effect == one.effects[0] and conv.main_effect == pytest.approx(3.8, abs=0.6)
    assert conv.standings == pytest.approx((1.0, 1.0), abs=0.1) and by_name["avg_pool_3x3"].standings[0] < 0.2


def test_noise_decides_nothing(made):
    """At least nine of ten pages of searches whose outcomes, strengths, layers and distances mean nothing."""
    decided = 0
    for seed in range(10):
        rows = outcomes(40, {}, noise=1.0, seed=seed)
        best = max(range(40), key=lambda i: rows[i]["metrics"]["val_accuracy"])
        draw = np.random.default_rng(seed)
        beside = pairs(best)
        beside["distance"] = draw.uniform(size=len(beside))
        tables = said(rows) | {"decision_tree": tree(best), "introspectability_pairs": beside}
        random = strengths({str(i): 0.0 for i in range(3)}, noise=1.0)
        random["strength"] = np.where(random["strength"].isna(), np.nan, draw.normal(size=len(random)))
        tables |= {"introspectability_layers": layers(40), "strengths": random}
        material = made(rows, objectives=AIMS, tables=tables)
        found = joint_info(material, SPACE.choices, material)
        assert len(found.findings) >= 10
        decided += any(finding.verdict != "undecided" for finding in found.findings)
    assert decided <= 1


def test_what_is_not_there_is_not_asked(made):
    rows = outcomes(30, PLANTED, noise=1.0)
    alone = joint_info(made(rows, objectives=AIMS, tables=said(rows)))
    assert {finding.about for finding in alone.findings} == {"motifs", "trials", "influence"}
    assert alone.supernet == alone.methods == alone.layers == alone.decisions == ()
    one = joint_info(made(rows, objectives=AIMS[:1], tables=said(rows)), SPACE.choices)
    assert {finding.about for finding in one.findings} == {"influence"} and one.objectives == ("val_accuracy",)
    assert joint_info(made(rows[:5], objectives=AIMS, tables=said(rows[:5]))) is None
    assert joint_info(made([])) is None


def test_tables_of_a_controller_with_such_names_are_shown_as_they_are(made):
    rows = outcomes(30, PLANTED, noise=1.0)
    own = {kind: pd.DataFrame({"mine": [1.0]}) for kind in COLUMNS}
    material = made(rows, objectives=AIMS, tables=own)
    assert joint_info(material) is None
    page = report_payload([Searched(material)], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    assert {table["kind"] for table in page["searches"][0]["tables"]} == set(COLUMNS)


def test_trials_that_failed_do_not_disturb(made):
    rows = outcomes(30, PLANTED, noise=1.0)
    tables = said(rows)
    found = joint_info(made([*rows, {"genotype": rows[0]["genotype"]}], objectives=AIMS, tables=tables), SPACE.choices)
    assert [f.n for f in found.findings if f.about == "trials"] == [30, 30, 30]


def test_operations_that_are_no_motifs_are_missing(made):
    rows = outcomes(30, PLANTED, noise=1.0)
    material = made(rows, objectives=AIMS, tables=said(rows))
    motifs = operation_motifs(material, "val_accuracy")
    assert {"nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"} >= set(motifs) and "nor_conv_3x3" in motifs
    [skip] = [
        one for one in joint_info(material, SPACE.choices, planted(made)).operations if one.name == "skip_connect"
    ]
    assert math.isnan(skip.motif_effect) and np.isfinite(skip.main_effect) and skip.standings[0] > 0


def test_the_payload_has_it_as_strict_json(made):
    material = planted(made)
    searched = Searched(material, SPACE.graphs, SPACE.choices, supernet=material)
    page = report_payload([searched], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    one = json.loads(json.dumps(page, allow_nan=False))["searches"][0]
    assert (
        one["joint"]["findings"][0]["verdict"] == "disagree" and one["joint"]["operations"][0]["name"] == "nor_conv_3x3"
    )
    assert one["tables"] == [], "what a section shows is no loose table"
    assert one["motifs"]["panels"], "motifs of the first objective, where the controller has none of its own"
    bare = report_payload([Searched(made([]))], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    assert bare["searches"][0]["joint"] is None


def test_the_supernet_is_found_by_task_and_space(made, archive, tmp_path, played_search):
    own = made([], tables={"strengths": strengths({})}, search_id="OWN")
    other = made([], search_id="OTHER")
    assert supernet_beside(archive.root, own, [other]) is own
    assert supernet_beside(archive.root, other, [other, own]) is own
    assert supernet_beside(archive.root, other, [other]) is None
    elsewhere = made([], tables={"strengths": strengths({})}, search_id="ELSE")
    elsewhere.card["space"] = "darts"
    assert supernet_beside(archive.root, other, [elsewhere]) is None

    root, ids = tmp_path / "store", [f"01HF7YAT000123456789ABCDE{letter}" for letter in "XYZ"]
    with StoreWriter.open(root) as writer:
        for search_id in ids:
            played_search(writer, archive.task, search_id, {"budget": {"trials": 4}}).trials(4)
            if search_id != ids[0]:
                writer.append_explanation("strengths", search_id, strengths({}))
    from xnas_ray.report.material import read_material

    material = read_material(root, ids[0])
    assert supernet_beside(root, material, [material]).search_id in ids[1:]
    material.card["task"] = "another"
    assert supernet_beside(root, material, [material]) is None
