"""How far the children of nodes take in the unseen classes that a hypothesis gives them.

As in Optuna a drawing is two functions: ``meaning_info`` computes what is shown, ``meaning_figure`` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas_ray.explain.drawing import GOOD_COLOUR, OTHER_COLOUR, PALE_COLOUR, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ROW_INCHES = 0.32
_CHARS = 30


@dataclass(frozen=True, slots=True)
class MeaningBar:
    """One child of a node: its agreement with the hypothesis, the interval, and chance."""

    label: str
    agreement: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, slots=True)
class MeaningInfo:
    """What a drawing of node meanings shows: bars from the top."""

    bars: tuple[MeaningBar, ...]
    title: str


def meaning_info(children: pd.DataFrame) -> MeaningInfo:
    """What to draw of a table of children (see ``node_meaning.Meanings``)."""
    bars = tuple(
        MeaningBar(
            f"{row['node']}: {shortened(str(row['hypothesis']), _CHARS)} ({row['samples']})",
            float(row["agreement"]),
            float(row["low"]),
            float(row["high"]),
            float(row["chance"]),
        )
        for row in children.to_dict("records")
    )
    return MeaningInfo(bars, "samples of unseen classes that go to the child of their superclass")


def meaning_figure(info: MeaningInfo) -> Figure:
    """A bar a child with its interval; a line where chance is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, _ROW_INCHES * len(info.bars) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(info.title, fontsize=9)
    for row, bar in enumerate(info.bars):
        axes.barh(row, bar.agreement, height=0.7, color=GOOD_COLOUR, alpha=0.5)
        axes.plot((bar.low, bar.high), (row, row), color=OTHER_COLOUR, linewidth=1.5)
        axes.plot((bar.chance, bar.chance), (row - 0.4, row + 0.4), color="black", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(info.bars)), [bar.label for bar in info.bars], fontsize=7, parse_math=False)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.set_xlabel("share that agrees, with its interval; chance is dashed", fontsize=8)
    axes.grid(axis="x", color=PALE_COLOUR, linewidth=0.4)
    axes.set_axisbelow(True)
    return figure
