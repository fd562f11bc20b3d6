"""What a report shows of a search by NARS."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xnas_ray.report.nars import nars_info
from xnas_ray.report.payload import Searched, report_payload

STAGES = ["round", "stage", "epochs", "told", "completed", "failed", "best", "trial"]
ACCURACY = {"name": "val_accuracy", "maximize": True, "unit": "%"}


def tables() -> dict[str, pd.DataFrame]:
    """As ``controllers.nars_explain`` writes them: two rounds and a batch of winners in which everything failed."""
    stages = [
        (0, "space_filling", 8, 0, 3, 1, 70.0, 1),
        (1, "predicted", 6, 4, 3, 0, 80.0, 5),
        (2, "evolved", 8, 7, 0, 2, np.nan, -1),
    ]
    predictor = [(4, 1, 60.0, 2.0, 65.0), (5, 1, 70.0, 1.0, 80.0), (6, 1, 72.0, 1.5, 75.0)]
    stopping = [(epoch, value, 3, 0.92, epoch == 6) for epoch, value in enumerate([0.1, 0.5, 0.8, 0.9, 0.9, 1.0], 1)]
    return {
        "stages": pd.DataFrame(
            stages, columns=["round", "stage", "epochs", "told", "completed", "failed", "best", "trial"]
        ),
        "predictor": pd.DataFrame(
            [(trial, number, "predicted", 6, *rest) for trial, number, *rest in predictor],
            columns=["trial", "round", "stage", "epoch", "predicted", "std", "observed"],
        ),
        "early_stopping": pd.DataFrame(stopping, columns=["epoch", "correlation", "curves", "threshold", "chosen"]),
    }


def material(made, **given: pd.DataFrame) -> Any:
    return made([{"metrics": {"val_accuracy": 91.5}}], objectives=[ACCURACY], tables=given)


def test_rounds_know_how_good_their_predictions_were(made):
    first, second, winners = nars_info(material(made, **tables())).rounds
    assert (first.number, first.stage, first.trial, first.best) == (0, "space_filling", 1, 70.0)
    assert math.isnan(first.spearman) and math.isnan(first.error), "nothing was predicted"
    assert (second.completed, second.told, second.epochs) == (3, 4, 6)
    assert second.spearman == pytest.approx(0.5) and second.error == pytest.approx((5 + 10 + 3) / 3)
    assert winners.trial is None and math.isnan(winners.best) and winners.failed == 2


def test_predictions_stand_beside_what_came_of_them(made):
    found = nars_info(material(made, **tables())).predictions
    assert found.trials == (4, 5, 6) and set(found.rounds) == {1} and set(found.epochs) == {6}
    assert (found.predicted, found.observed) == ((60.0, 70.0, 72.0), (65.0, 80.0, 75.0))
    assert found.stds == (2.0, 1.0, 1.5) and found.spearman == pytest.approx(0.5)
    few = tables()["predictor"].head(2)
    assert math.isnan(nars_info(material(made, stages=tables()["stages"], predictor=few)).predictions.spearman)


def test_the_epoch_at_which_trainings_stop(made):
    backwards = tables() | {"early_stopping": tables()["early_stopping"].iloc[::-1]}
    found = nars_info(material(made, **backwards)).stopping
    assert found.epochs == (1, 2, 3, 4, 5, 6) and found.correlations[1] == 0.5
    assert (found.curves, found.threshold, found.chosen) == (3, 0.92, 6)
    nobody = tables()["early_stopping"].assign(chosen=False)
    assert nars_info(material(made, stages=tables()["stages"], early_stopping=nobody)).stopping.chosen == 6


def test_what_is_not_known_yet_is_left_out(made):
    found = nars_info(material(made, stages=tables()["stages"]))
    assert len(found.rounds) == 3 and found.predictions is found.stopping is None


def test_a_search_without_rounds_has_none(made):
    other = pd.DataFrame({"stage": ["a"], "score": [1.0]})
    assert nars_info(material(made)) is None
    assert nars_info(material(made, stages=other)) is None, "a table of somebody else's with that name"
    assert nars_info(material(made, stages=tables()["stages"].head(0))) is None


def test_in_the_report_what_is_drawn_is_no_table_too(made):
    shown = Searched(material(made, **tables(), surrogate=pd.DataFrame({"metric": ["m"]})))
    payload = report_payload([shown], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    [found] = json.loads(json.dumps(payload, allow_nan=False))["searches"]
    assert [one["kind"] for one in found["tables"]] == ["predictor", "surrogate"], "predictions are of trials too"
    own = found["nars"]
    assert own["rounds"][2]["best"] is None and own["rounds"][1]["spearman"] == 0.5
    assert own["predictions"]["observed"] == [65, 80, 75] and own["stopping"]["chosen"] == 6
    [without] = report_payload(
        [Searched(material(made))], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    )["searches"]
    assert without["nars"] is None
