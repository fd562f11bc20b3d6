"""Bars of node meanings: a bar a child, its interval and chance."""

from __future__ import annotations

import pandas as pd

from xnas_ray.explain.meaning_drawing import meaning_figure, meaning_info


def test_bars_of_meanings():
    rows = [(0, "animal", 30, 0.9, 0.8, 0.95, 0.5), (0, "vehicle", 20, 0.4, 0.2, 0.6, 0.5)]
    table = pd.DataFrame(rows, columns=["node", "hypothesis", "samples", "agreement", "low", "high", "chance"])
    info = meaning_info(table)
    assert [bar.agreement for bar in info.bars] == table["agreement"].tolist()
    assert [bar.label for bar in info.bars] == ["0: animal (30)", "0: vehicle (20)"]
    figure = meaning_figure(info)
    assert [patch.get_width() for patch in figure.axes[0].patches] == table["agreement"].tolist()
    assert len(figure.axes[0].lines) == 2 * len(table), "an interval and chance for every bar"
