"""How strongly a supernet speaks for each option of each decision, as maps, a panel a method.

As in Optuna a drawing is two functions: ``strength_info`` computes what is shown, ``strength_figure`` draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import StoreError
from xnas_ray.explain.drawing import OTHER_COLOUR, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("method", "decision", "option", "strength", "chosen")
"""Of a table of strengths (``supernets.discretize.strengths_table``)."""

_COLUMN_INCHES, _ROW_INCHES = 0.55, 0.26
_MARGIN_INCHES = 1.3
_LABEL_CHARS = 18


@dataclass(frozen=True, slots=True)
class StrengthPanel:
    """The map of one method.

    Attributes:
        method: its name.
        decisions: one a row.
        options: one a column.
        strengths: decisions x options, NaN for what was left out or does not exist.
        chosen: decisions x options, whether the architecture has it.
        signed: whether some strengths are below 0, so that 0 is in the middle of the colours.
    """

    method: str
    decisions: tuple[str, ...]
    options: tuple[str, ...]
    strengths: np.ndarray
    chosen: np.ndarray
    signed: bool


@dataclass(frozen=True, slots=True)
class StrengthInfo:
    """What a drawing of strengths shows.

    Attributes:
        panels: one a method, in the order of the table.
    """

    panels: tuple[StrengthPanel, ...]


def strength_info(table: pd.DataFrame, methods: Sequence[str] | None = None) -> StrengthInfo:
    """What to draw of a table of strengths; of some methods alone where they are named.

    Raises:
        StoreError: this is no table of strengths.
    """
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise StoreError(f"this is no table of strengths: it lacks {', '.join(missing)}.", field="table", valid=COLUMNS)
    names = list(dict.fromkeys(table["method"])) if methods is None else list(methods)
    return StrengthInfo(tuple(_panel(name, table[table["method"] == name]) for name in names))


def _panel(method: str, table: pd.DataFrame) -> StrengthPanel:
    rows = {name: i for i, name in enumerate(dict.fromkeys(map(str, table["decision"])))}
    columns = {name: i for i, name in enumerate(dict.fromkeys(map(str, table["option"])))}
    strengths = np.full((len(rows), len(columns)), np.nan)
    chosen = np.zeros(strengths.shape, dtype=bool)
    places = ([rows[str(d)] for d in table["decision"]], [columns[str(o)] for o in table["option"]])
    strengths[places] = table["strength"].to_numpy(dtype=float)
    chosen[places] = table["chosen"].to_numpy(dtype=bool)
    return StrengthPanel(
        method, tuple(rows), tuple(columns), strengths, chosen, bool(np.nanmin(strengths, initial=0) < 0)
    )


def strength_figure(info: StrengthInfo) -> Figure:
    """Maps side by side: dark is strong, grey was left out, a frame marks what the architecture has."""
    from matplotlib.figure import Figure

    widths = [_COLUMN_INCHES * len(panel.options) for panel in info.panels]
    rows = max((len(panel.decisions) for panel in info.panels), default=1)
    size = (sum(widths) + _MARGIN_INCHES * (len(widths) + 0.5), _ROW_INCHES * rows + 2 * _MARGIN_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    if not info.panels:
        return figure
    for axes, panel in zip(
        figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0], info.panels, strict=True
    ):
        _draw(axes, panel)
    return figure


def _draw(axes: Axes, panel: StrengthPanel) -> None:
    from matplotlib.patches import Rectangle

    found = panel.strengths[np.isfinite(panel.strengths)]
    largest = float(np.abs(found).max(initial=0.0)) or 1.0
    colours: dict[str, Any] = (
        {"cmap": "PRGn", "vmin": -largest, "vmax": largest}
        if panel.signed
        else {"cmap": "Greens", "vmin": 0.0, "vmax": largest}
    )
    axes.set_facecolor("#dddddd")
    image = axes.imshow(np.ma.masked_invalid(panel.strengths), aspect="auto", **colours)
    axes.figure.colorbar(image, ax=axes, fraction=0.08, pad=0.04).ax.tick_params(labelsize=6)
    for row, column in np.argwhere(panel.chosen):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.6))
    axes.set_title(panel.method, fontsize=9)
    labels = [shortened(name, _LABEL_CHARS) for name in panel.options]
    axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(panel.decisions)), [shortened(d, _LABEL_CHARS) for d in panel.decisions], fontsize=7)
    axes.tick_params(length=0, colors=OTHER_COLOUR)
