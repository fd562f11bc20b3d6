"""What a report shows of a differentiable search."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xnas_ray.report import supernets
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.report.supernets import CURVES, DERIVED, DISCRETIZATION, METHODS, STRENGTHS, supernet_info

OPTIONS = {"normal/2<-0": ("none", "conv/1x1", "skip"), "edges": ("0", "1")}
ACCURACY = {"name": "val_accuracy", "maximize": True, "unit": "%"}


def record(epoch: int, p: dict[str, tuple[float, ...]], **scalars: float) -> dict[str, float]:
    """An epoch as ``supernets.base.SupernetSearch.run`` writes it."""
    found = {"epoch": float(epoch), **scalars}
    for decision, own in p.items():
        found[f"entropy/{decision}"] = -sum(x * math.log(x) for x in own)
        found.update({f"p/{decision}/{o}": x for o, x in zip(OPTIONS[decision], own, strict=True)})
    return found


def mixture(epoch: int) -> dict[str, tuple[float, ...]]:
    x = 0.1 * epoch
    return {"normal/2<-0": (0.2, 0.8 - x, x), "edges": (0.5, 0.5)}


def curves(supernet_count: int = 2, epochs: int = 3) -> pd.DataFrame:
    """As ``service.supernet_job`` writes them: the architecture's loss from the second epoch on."""
    rows = []
    for number in range(supernet_count):
        for epoch in range(1, epochs + 1):
            scalars = {"lr": 0.1, "train_loss": number + 1 / epoch, "train_accuracy": 10.0 * epoch, "tau": 5.0}
            if epoch > 1:
                scalars["architecture_loss"] = number + 2 / epoch
            told = record(epoch, mixture(epoch), **scalars, flops=100.0)
            rows += [(number, epoch, name, value) for name, value in told.items() if name != "epoch"]
    return pd.DataFrame(rows, columns=["supernet", "epoch", "name", "value"])


def read_off() -> pd.DataFrame:
    """Strengths of two methods over one supernet, as ``supernets.discretize.strengths_table`` gives them."""
    rows = []
    for method, taken, strongest in (("magnitude", "skip", 0.6), ("<b>influence</b>", "conv/1x1", -0.5)):
        for option, strength in zip(OPTIONS["normal/2<-0"], (np.nan, 0.3, strongest), strict=True):
            rows.append((method, "normal/2<-0", option, strength, option == taken, 0))
        rows += [(method, "edges", option, 0.5, False, 0) for option in OPTIONS["edges"]]
    return pd.DataFrame(rows, columns=["method", "decision", "option", "strength", "chosen", "supernet"])


def derived() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What ``controllers.supernet.SupernetController.explain`` says of two supernets, one of them not trained yet."""
    table = pd.DataFrame(
        {
            **{"supernet": [0, 1], "method": ["magnitude"] * 2, "architecture": ["|a|", "|b|"]},
            **{"evaluated_by": pd.array([0, None], dtype="Int64"), "val_accuracy": [91.5, np.nan]},
        }
    )
    rows = {"method": ["magnitude"], "supernets": [1], "val_accuracy_mean": [91.5], "val_accuracy_std": [np.nan]}
    return table, pd.DataFrame(rows)


def material(made, **tables: pd.DataFrame) -> Any:
    return made([{"metrics": {"val_accuracy": 91.5}}], objectives=[ACCURACY], tables=tables)


def test_curves_stand_beside_those_of_the_same_unit(made):
    info = supernet_info(material(made, supernet=curves()))
    axes = {(line.supernet, line.name): line.axis for line in info.lines}
    assert axes[0, "train_loss"] == axes[1, "architecture_loss"] == "loss"
    assert axes[0, "train_accuracy"] == "accuracy [%]" and axes[1, "flops"] == "expected FLOPs"
    [late] = [line for line in info.lines if (line.supernet, line.name) == (1, "architecture_loss")]
    assert late.epochs == (2, 3) and late.values == (2.0, 1 + 2 / 3)
    assert not any(line.name.startswith(("p/", "entropy/")) for line in info.lines)


def test_entropies_are_summed_up_over_the_choices(made):
    info = supernet_info(material(made, supernet=curves(1)))
    found = {line.name: line.values for line in info.lines if line.axis.startswith("entropy")}
    of_edge = [-sum(x * math.log(x) for x in mixture(epoch)["normal/2<-0"]) for epoch in (1, 2, 3)]
    half = math.log(2)
    assert found["mean entropy"] == pytest.approx([(e + half) / 2 for e in of_edge])
    assert found["min entropy"] == pytest.approx([min(e, half) for e in of_edge])
    assert found["max entropy"] == pytest.approx([max(e, half) for e in of_edge])


def test_probabilities_keep_choices_whose_names_have_slashes(made):
    [first, second] = supernet_info(material(made, supernet=curves())).probabilities
    assert (first.supernet, second.supernet) == (0, 1) and first.epochs == (1, 2, 3)
    assert dict(zip(first.decisions, first.options, strict=True)) == OPTIONS
    expected = [[x for own in mixture(epoch).values() for x in own] for epoch in (1, 2, 3)]
    np.testing.assert_allclose(first.values.T, expected, atol=1e-12)


def test_of_very_many_probabilities_some_epochs_are_kept(made, monkeypatch):
    monkeypatch.setattr(supernets, "MAX_PROBABILITIES", 30)
    [first, second] = supernet_info(material(made, supernet=curves(2, epochs=7))).probabilities
    assert first.epochs == second.epochs == (1, 4, 7), "30 numbers, 10 options in all"
    assert first.values.shape == (5, 3) and first.values[2].tolist() == [0.1, 0.4, 0.7]


def test_strengths_and_what_was_taken(made):
    [magnitude, influence] = supernet_info(material(made, strengths=read_off())).strengths
    assert (magnitude.method, magnitude.decisions) == ("magnitude", tuple(OPTIONS))
    assert magnitude.options == tuple(OPTIONS.values()) and magnitude.chosen == (2, None) and influence.chosen[0] == 1
    assert math.isnan(magnitude.values[0][0]) and influence.values[0][1:] == (0.3, -0.5)


def test_derived_architectures_know_their_trials_once_there_are_any(made):
    table, methods = derived()
    info = supernet_info(material(made, derived=table, derived_methods=methods))
    assert [(one.supernet, one.trial, one.architecture) for one in info.derived] == [(0, 0, "|a|"), (1, None, "|b|")]
    assert info.derived[0].values == (91.5,) and math.isnan(info.derived[1].values[0])
    [summary] = info.methods
    assert (summary.supernets, summary.means) == (1, (91.5,)) and math.isnan(summary.stds[0])
    assert info.lines == info.probabilities == info.strengths == ()


def test_a_search_without_supernets_has_none(made):
    other = pd.DataFrame({"method": ["a"], "score": [1.0]})
    assert supernet_info(material(made)) is None
    assert supernet_info(material(made, strengths=other)) is None, "a table of somebody else's with that name"
    assert supernet_info(material(made, supernet=curves(0))) is None


def test_in_the_report_what_is_drawn_is_no_table_too(made):
    table, methods = derived()
    given = {CURVES: curves(), STRENGTHS: read_off(), DERIVED: table, METHODS: methods}
    raw = pd.DataFrame({"supernet": [0], "method": ["magnitude"], "genotype": [[1, 2]]})
    shown = Searched(material(made, **given, **{DISCRETIZATION: raw, "surrogate": raw}))
    payload = report_payload([shown], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    [found] = json.loads(json.dumps(payload, allow_nan=False))["searches"]
    assert [one["kind"] for one in found["tables"]] == ["surrogate"]
    own = found["supernets"]
    assert own["strengths"][1]["method"] == "<b>influence</b>" and own["strengths"][1]["values"][0] == [None, 0.3, -0.5]
    assert own["derived"][1]["trial"] is None and own["methods"][0]["stds"] == [None]
    assert own["probabilities"][0]["values"][2] == [0.1, 0.2, 0.3]
    early = Searched(material(made, supernet=curves(), discretization=raw))
    payload = report_payload([early], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    assert [one["kind"] for one in payload["searches"][0]["tables"]] == [DISCRETIZATION]
