"""A decision tree and how often its branches are taken.

As in Optuna a drawing is two functions: ``tree_info`` computes what is shown, ``tree_figure`` draws it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.explain.drawing import GOOD_COLOUR, OTHER_COLOUR, shortened
from xnas_ray.explain.tree_table import children_of, upper_nodes
from xnas_ray.store.tree_samples import SIMILAR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xnas_ray.store.tree_samples import TreeSamples

MOST_NODES = 160
"""A tree with more is drawn down to some depth."""

_COLUMN_INCHES, _ROW_INCHES = 1.7, 0.42
_WIDEST_POINTS, _THINNEST_POINTS = 9.0, 0.4
_LABEL_CHARS, _TITLE_CHARS = 36, 160
_CHAR_COLUMNS = 0.037
_IMAGE_ROWS = 0.8


@dataclass(frozen=True, slots=True)
class TreeMark:
    """A node as it is drawn.

    Attributes:
        node: its number.
        x: column, decisions from the root.
        y: row, from the top.
        label: its name, and how many classes are below where these are not drawn.
        share: of all samples that come by.
        right: share of the samples of its classes that come by, NaN where there are none.
        entropy: mean of its decisions in nats, NaN where none comes by.
        parent: the node before, None of the root.
        end: whether nothing below it is drawn.
        images: examples of a node at the end, the most similar first: uint8 ``H x W x C``.
    """

    node: int
    x: float
    y: float
    label: str
    share: float
    right: float
    entropy: float
    parent: int | None
    end: bool
    images: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True, slots=True)
class TreeInfo:
    """What a drawing of a tree shows.

    Attributes:
        marks: nodes, each before what is below it.
        left_out: nodes below those that are drawn.
        title: of the drawing.
    """

    marks: tuple[TreeMark, ...]
    left_out: int
    title: str


def tree_info(
    tree: pd.DataFrame, samples: TreeSamples | None = None, *, title: str = "", most: int = MOST_NODES
) -> TreeInfo:
    """What to draw of a tree: leaves one below the other, every other node in the middle of its children.

    Args:
        tree: see ``tree_table.tree_of_trial``.
        samples: of its tree; their examples stand beside the nodes at the end.
        title: of the drawing.
        most: nodes; a larger tree is cut at some depth.
    """
    shown = upper_nodes(tree, most)
    kept = set(shown["node"].tolist())
    children = {node: below for node, below in children_of(tree).items() if below[0] in kept}
    ends = [node for node in shown["node"].tolist() if node not in children]
    rows = {node: float(row) for row, node in enumerate(ends)}
    for node in sorted(children, reverse=True):  # children have larger numbers
        below = [rows[child] for child in children[node]]
        rows[node] = (below[0] + below[-1]) / 2
    marks = []
    for record in shown.to_dict("records"):
        node, classes = int(record["node"]), int(record["classes"])
        end = node not in children
        name = str(record["name"])
        marks.append(
            TreeMark(
                node=node,
                x=float(record["depth"]),
                y=rows[node],
                label=f"{name} ({classes} classes)" if end and classes > 1 and "classes)" not in name else name,
                share=float(record["share"]),
                right=float(record["right"]),
                entropy=float(record["entropy"]),
                parent=int(record["parent"]) if node else None,
                end=end,
                images=_examples(samples, node) if end else (),
            )
        )
    return TreeInfo(tuple(marks), len(tree) - len(shown), title)


def _examples(samples: TreeSamples | None, node: int) -> tuple[np.ndarray, ...]:
    if samples is None or not samples.has_images:
        return ()
    return tuple(samples.images[(samples.group == SIMILAR) & (samples.node == node)])


def tree_figure(info: TreeInfo) -> Figure:
    """The root on the left; lines are as wide as many samples take them, with the share written on them."""
    from matplotlib.figure import Figure

    rows = 1 + sum(mark.end for mark in info.marks)
    depth = max(mark.x for mark in info.marks)
    figure = Figure(figsize=(_COLUMN_INCHES * (depth + 2.4), _ROW_INCHES * (rows + 1)))
    axes = figure.add_axes((0.01, 0.0, 0.98, 1.0))
    axes.set_xlim(-0.15, depth + 2.2)
    axes.set_ylim(rows - 0.2, -1.4)
    axes.axis("off")
    below = f"\n{info.left_out} nodes below are left out" if info.left_out else ""
    axes.text(-0.1, -1.1, shortened(info.title, _TITLE_CHARS) + below, fontsize=9, va="center", parse_math=False)
    places = {mark.node: mark for mark in info.marks}
    for mark in info.marks:
        if mark.parent is not None:
            _draw_branch(axes, places[mark.parent], mark)
    right = max(mark.x + _CHAR_COLUMNS * (4 + min(_LABEL_CHARS, len(mark.label))) for mark in info.marks if mark.end)
    for mark in info.marks:
        _draw_node(axes, mark)
        _draw_images(axes, mark, right)
    return figure


def _draw_branch(axes: Axes, above: TreeMark, mark: TreeMark) -> None:
    width = _THINNEST_POINTS + _WIDEST_POINTS * mark.share
    line: dict[str, Any] = {"color": GOOD_COLOUR, "alpha": 0.35, "linewidth": width, "solid_joinstyle": "round"}
    axes.plot((above.x, above.x + 0.3, mark.x), (above.y, mark.y, mark.y), zorder=1, **line)
    axes.text(mark.x - 0.08, mark.y + 0.24, f"{mark.share:.1%}", fontsize=5.5, color=OTHER_COLOUR, ha="right")


def _draw_node(axes: Axes, mark: TreeMark) -> None:
    axes.plot(mark.x, mark.y, marker="o", markersize=3, color="#333333", zorder=2)
    label = shortened(mark.label, _LABEL_CHARS)
    axes.text(mark.x + 0.06, mark.y - 0.02, label, fontsize=7, va="center", parse_math=False, bbox=_BEHIND, zorder=3)
    if not mark.end and math.isfinite(mark.entropy):
        grey: dict[str, Any] = {"fontsize": 5, "color": OTHER_COLOUR, "bbox": _BEHIND}
        axes.text(mark.x + 0.06, mark.y + 0.36, f"{mark.entropy:.2f} nats", zorder=3, **grey)


def _draw_images(axes: Axes, mark: TreeMark, right: float) -> None:
    """Examples in columns that all nodes share, from ``right`` on."""
    for place, image in enumerate(mark.images):
        wide = _IMAGE_ROWS * _ROW_INCHES / _COLUMN_INCHES * image.shape[1] / image.shape[0]
        left = right + place * (wide + 0.03)
        axes.imshow(
            np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image,
            extent=(left, left + wide, mark.y + _IMAGE_ROWS / 2, mark.y - _IMAGE_ROWS / 2),
            aspect="auto",
            interpolation="nearest",
            zorder=3,
        )


_BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
