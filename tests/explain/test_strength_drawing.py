"""Maps of strengths: every option has its place, whatever the methods have in common."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xnas_ray.errors import StoreError
from xnas_ray.explain.drawing import save_figure
from xnas_ray.explain.strength_drawing import COLUMNS, strength_figure, strength_info

NAN = float("nan")
ROWS = [
    ("magnitude", "a", "none", NAN, False),
    ("magnitude", "a", "skip", 0.4, False),
    ("magnitude", "a", "conv", 0.6, True),
    ("magnitude", "b", "none", NAN, False),
    ("magnitude", "b", "skip", 0.9, True),
    ("magnitude", "b", "conv", 0.1, False),
    ("widths", "width", "8", -0.5, False),
    ("widths", "width", "16", 0.25, True),
    ("widths", "depth", "2", 0.1, False),
]
TABLE = pd.DataFrame(ROWS, columns=list(COLUMNS))


def test_a_panel_a_method_and_a_place_an_option():
    first, second = strength_info(TABLE).panels
    assert (first.method, first.decisions, first.options) == ("magnitude", ("a", "b"), ("none", "skip", "conv"))
    assert np.array_equal(first.strengths, [[NAN, 0.4, 0.6], [NAN, 0.9, 0.1]], equal_nan=True)
    assert np.array_equal(first.chosen, [[False, False, True], [False, True, False]])
    assert second.options == ("8", "16", "2") and np.isnan(second.strengths[1, :2]).all()
    assert second.signed and not first.signed


def test_only_the_methods_that_are_asked_for():
    assert [panel.method for panel in strength_info(TABLE, ["widths"]).panels] == ["widths"]


def test_the_figure_frames_what_is_chosen(tmp_path):
    figure = strength_figure(strength_info(TABLE))
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["magnitude", "widths"]
    frames = [(p.get_x() + 0.5, p.get_y() + 0.5) for p in maps[0].patches]
    assert frames == [(2.0, 0.0), (1.0, 1.0)]
    assert [label.get_text() for label in maps[0].get_yticklabels()] == ["a", "b"]
    assert maps[0].images[0].get_clim() == (0.0, 0.9) and maps[1].images[0].get_clim() == (-0.5, 0.5)
    paths = save_figure(figure, tmp_path, "strengths")
    assert all(path.stat().st_size > 1000 for path in paths)


def test_nothing_is_drawn_of_nothing_and_another_table_is_refused():
    assert strength_figure(strength_info(TABLE.iloc[:0])).axes == []
    with pytest.raises(StoreError, match="no table of strengths: it lacks method, strength"):
        strength_info(TABLE.drop(columns=["method", "strength"]))
