"""NAS-BOWL's search and speed experiments, on data that the project has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xnas_ray.spaces.nasbench201 import NASBench201

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nasbowl"


def test_regrets_of_variants_never_rise_and_are_shown(script, capsys, tmp_path):
    search = script("search")
    out = str(tmp_path / "curves.parquet")
    search.main(["digits", "--variants", "pool m", "paper", "--seeds", "2", "--queries", "16", "--out", out])
    shown = capsys.readouterr().out
    assert "digits, 2 seeds" in shown and "paper" in shown
    import pandas as pd

    frame = pd.read_parquet(tmp_path / "curves.parquet")
    assert len(frame) == 2 * 2 * 16
    for _, own in frame.groupby(["variant", "seed"]):
        assert (np.diff(own["regret"]) <= 0).all() and own["regret"].min() >= 0


def test_repeats_are_different_architectures_of_one_class(script):
    whole = NASBench201()
    every = script("search").EveryGenotype(whole)
    member = next(g for g in whole.genotypes() if whole.canonical(g) != g)
    assert every.canonical(member) == member
    assert every.key(member) != every.key(whole.canonical(member))
    assert every.size == 15_625


def test_speed_measures_proposals_and_the_reference(script):
    speed = script("speed")
    assert len(speed.proposals(20, repeats=2)) == 2
    assert speed.reference(8, pool=3) > 0
