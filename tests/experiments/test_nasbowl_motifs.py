"""Motif validation, on the project's own table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nasbowl"


@pytest.fixture
def validation(script):
    return script("motif_validation")


def test_the_whole_effect_keeps_its_promise_more_often(validation, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(validation, "VALIDATION", 400)
    validation.main(["--tables", "digits", "--repetitions", "2", "--out", str(tmp_path / "figures.parquet")])
    frame = pd.read_parquet(tmp_path / "figures.parquet")
    assert len(frame) == 2 * 2 * 2 * 2 and frame["motifs"].min() > 10
    means = frame.groupby("by")[["kept", "rank"]].mean()
    assert (means.loc["whole"] > means.loc["ag"]).all() and means.loc["whole", "kept"] > 0.7
    assert np.isfinite(frame[list(validation.MEASURES)]).all().all()
    assert capsys.readouterr().out.count("subtree") == 4


def test_tables_that_are_not_there_are_left_out(validation, monkeypatch, capsys):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    with pytest.raises(SystemExit, match="no table is there"):
        validation.main(["--tables", "cifar10"])
    assert "cifar10 is left out" in capsys.readouterr().err
