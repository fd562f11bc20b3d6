"""What drawings of architectures have in common: colours of operations, edges, legends, files.

Nothing here needs a display.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import StoreError
from xnas_ray.spaces.graphs import INPUT, OUTPUT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD_COLOUR, BAD_COLOUR, OTHER_COLOUR, PALE_COLOUR = "#1b7837", "#b2182b", "#777777", "#bbbbbb"
NODE_POINTS = 190.0
"""Area of a node in square points."""

LEGEND_INCHES = 0.45

Place = tuple[float, float]

_ENDS = {INPUT: "#f2f2f2", OUTPUT: "#a6a6a6", "add": "#d9d9d9"}  # greys, for they are no operations
_PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00", "#bdb76b", "#9a7fd1")
_DPI = 150


def operation_colours(*operations: Iterable[str]) -> dict[str, str]:
    """A colour for every operation, group by group in alphabetic order; inputs, outputs and additions are grey."""
    colours: dict[str, str] = {}
    palette = itertools.cycle(_PALETTE)
    for name in dict.fromkeys(name for group in operations for name in sorted(group)):
        grey = next((colour for end, colour in _ENDS.items() if name.startswith(end)), None)
        colours[name] = grey or next(palette)
    return colours


def shortened(text: str, limit: int = 60) -> str:
    """The text, cut with an ellipsis where it is longer; what has no shape is written as Python escapes it.

    A control character in a name would make an SVG that no viewer opens.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def arrow(axes: Axes, start: Place, end: Place, colour: str, width: float) -> None:
    """An edge; one that passes over other columns is bent, so that it does not hide behind their nodes."""
    bend = 0.22 if abs(end[0] - start[0]) > 1.01 else 0.0
    style: dict[str, Any] = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 6, "shrinkB": 7}
    axes.annotate("", xy=end, xytext=start, arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"}, zorder=1)


def frame(axes: Axes, places: Sequence[Place]) -> None:
    """Limits with a margin, and no axes."""
    xs, ys = [x for x, _ in places] or [0.0], [y for _, y in places] or [0.0]
    axes.set_xlim(min(xs) - 0.6, max(xs) + 0.6)
    axes.set_ylim(min(ys) - 0.6, max(ys) + 0.6)
    axes.axis("off")


def legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """The operations' colours below everything, and margins that leave room for them and for titles."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=8, markerfacecolor=colour, markeredgecolor="#777777")
        for colour in colours.values()
    ]
    if marks:
        figure.legend(marks, list(colours), loc="lower center", ncols=min(6, len(marks)), fontsize=7.5, frameon=False)
    height = float(figure.get_figheight())
    figure.subplots_adjust(
        left=0.06, right=0.97, top=1 - 1.0 / height, bottom=LEGEND_INCHES / height, hspace=0.55, wspace=0.15
    )


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name.svg`` and ``name.png``; the same figure gives the same bytes.

    Raises:
        StoreError: the folder cannot be written.
    """
    import matplotlib

    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": "xnas", "svg.fonttype": "none"}):
            figure.savefig(paths[0], format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], format="png", dpi=_DPI, metadata={"Software": None})
    except OSError as error:
        raise StoreError(
            f"cannot write {error.filename or folder}: {error.strerror or error}.", field="--out"
        ) from error
    return paths
