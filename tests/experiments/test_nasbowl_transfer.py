"""The transfer experiment: its wrong sources, its figures, and one small run on the project's own table."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from xnas_ray.controllers.base import Source
from xnas_ray.spaces.nasbench201 import NASBench201

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nasbowl"
NAME = "val_accuracy"
SOURCE = Source("s", ((0,), (1,), (2,), (3,)), tuple({NAME: value} for value in (1.0, 2.0, 3.0, 7.0)))


@pytest.fixture
def transfer(script) -> ModuleType:
    return script("transfer")


def values(source: Source) -> list[float]:
    return [metrics[NAME] for metrics in source.metrics]


def test_wrong_sources(transfer: ModuleType) -> None:
    space = NASBench201()
    turned, dealt = transfer.negated(SOURCE, space, 0), transfer.dealt(SOURCE, space, 0)
    assert turned.genotypes == SOURCE.genotypes
    assert values(turned) == [7.0, 6.0, 5.0, 1.0]
    assert values(dealt) == values(SOURCE)
    assert len(set(dealt.genotypes)) == 4 and all(space.is_valid(genotype) for genotype in dealt.genotypes)
    assert transfer.dealt(SOURCE, space, 0) == dealt


def test_queries_to_a_regret(transfer: ModuleType) -> None:
    frame = pd.DataFrame(
        [("prior", 0, 1, 0.5), ("prior", 0, 2, 0.1), ("prior", 0, 3, 0.0), *(("none", 0, q, 0.2) for q in (1, 2, 3))],
        columns=["start", "seed", "query", "regret"],
    )
    needed = transfer.queries_to(frame)
    assert needed["prior", 0] == 2
    assert needed["none", 0] == 4


def test_a_search_that_learnt_from_its_own_table_is_there_at_once(transfer: ModuleType, capsys) -> None:
    table = transfer.load_table("digits")
    frame = transfer.curves(table, table, ["none", "prior"], [0], queries=12, source_queries=40)
    assert len(frame) == 2 * 12
    assert (frame.groupby("start")["regret"].diff().dropna() <= 0).all()
    at_five = frame[frame["query"] == 5].set_index("start")["regret"]
    assert at_five["prior"] < at_five["none"]
    transfer.report(frame)
    printed = capsys.readouterr().out
    assert "digits -> digits, 1 seeds" in printed and "prior" in printed
