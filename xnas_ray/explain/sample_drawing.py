"""Samples of a decision tree with their images: the most ambiguous ones, and the examples of its nodes.

As in Optuna a drawing is two functions: ``ambiguous_info`` and ``similar_info`` compute what is shown,
``sample_figure`` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.explain.drawing import BAD_COLOUR, OTHER_COLOUR, shortened
from xnas_ray.explain.tree_table import ambiguous_table, similar_table, upper_nodes
from xnas_ray.store.tree_samples import AMBIGUOUS, SIMILAR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from xnas_ray.store.tree_samples import TreeSamples

MOST_NODES = 32
"""Nodes whose examples are drawn."""

_COLUMNS = 5
_PANEL_INCHES, _SMALL_INCHES = (1.5, 1.75), (0.75, 0.95)
_CHARS, _NAME_CHARS = 26, 14


@dataclass(frozen=True, slots=True)
class SamplePanel:
    """One sample as it is drawn.

    Attributes:
        image: uint8 ``H x W x C``.
        text: lines below it.
        marked: whether it has a red frame.
    """

    image: np.ndarray
    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """What a drawing of samples shows.

    Attributes:
        rows: names of the rows, empty where they have none, and their samples.
        title: of the drawing.
    """

    rows: tuple[tuple[str, tuple[SamplePanel, ...]], ...]
    title: str


def ambiguous_info(tree: pd.DataFrame, samples: TreeSamples) -> SampleInfo:
    """The samples with the largest path entropy; a red frame around those that the tree gets wrong.

    Args:
        tree: see ``tree_table.tree_of_trial``.
        samples: of its tree, with images.
    """
    table = ambiguous_table(tree, samples)
    images = samples.images[samples.group == AMBIGUOUS]
    panels = [
        SamplePanel(image, _facts(row), row["hard"] != row["target"])
        for image, row in zip(images, table.to_dict("records"), strict=True)
    ]
    rows = [("", tuple(panels[i : i + _COLUMNS])) for i in range(0, len(panels), _COLUMNS)]
    return SampleInfo(tuple(rows), "largest path entropy: label, hard inference, the least certain decision")


def _facts(row: Mapping[str, Any]) -> str:
    target, hard = (shortened(row[name], _NAME_CHARS) for name in ("target", "hard"))
    doubt = shortened(row["doubt"], _CHARS)
    return f"{target}; tree: {hard}\nat {doubt}\npath entropy {row['path_entropy']:.2f}"


def similar_info(tree: pd.DataFrame, samples: TreeSamples, *, most: int = MOST_NODES) -> SampleInfo:
    """The maximum-similarity examples, a row a node; a red frame around those of classes that are not below it.

    Args:
        tree: see ``tree_table.tree_of_trial``.
        samples: of its tree, with images.
        most: nodes; of a larger tree those near the root.
    """
    table = similar_table(tree, samples)
    similar = np.flatnonzero(samples.group == SIMILAR)
    images = samples.images[similar[np.argsort(samples.node[similar], kind="stable")]]
    rows: dict[int, list[SamplePanel]] = {}
    for image, row in zip(images, table.to_dict("records"), strict=True):
        panel = SamplePanel(image, shortened(str(row["target"]), _NAME_CHARS), not row["own"])
        rows.setdefault(int(row["node"]), []).append(panel)
    shown = [node for node in upper_nodes(tree, most)["node"].tolist() if node in rows]
    names = tree["name"].tolist()
    return SampleInfo(
        tuple((str(names[node]), tuple(rows[node])) for node in shown), "samples whose features are most like a node"
    )


def sample_figure(info: SampleInfo) -> Figure:
    """Images in rows, what is known of them below."""
    from matplotlib.figure import Figure

    columns = max([1, *(len(panels) for _, panels in info.rows)])
    named = any(name for name, _ in info.rows)
    width, height = _SMALL_INCHES if named else _PANEL_INCHES
    size = (max(4.5, width * columns + (1.6 if named else 0.0)), height * max(1, len(info.rows)) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(info.title, fontsize=9)
    if not info.rows:
        return figure
    grid = figure.subplots(len(info.rows), columns, squeeze=False)
    for places, (name, panels) in zip(grid, info.rows, strict=True):
        _draw_row(places, panels)
        if name:
            places[0].set_ylabel(
                shortened(name, _CHARS), fontsize=7, rotation=0, ha="right", va="center", parse_math=False
            )
    return figure


def _draw_row(places: Sequence[object], panels: Sequence[SamplePanel]) -> None:
    from matplotlib.axes import Axes

    for place, axes in enumerate(places):
        assert isinstance(axes, Axes)
        axes.set_xticks([])
        axes.set_yticks([])
        if place >= len(panels):
            axes.axis("off")
            continue
        panel = panels[place]
        colour = panel.image.shape[2] == 3
        axes.imshow(panel.image if colour else panel.image[..., 0], cmap=None if colour else "gray", vmin=0, vmax=255)
        axes.set_xlabel(panel.text, fontsize=6.5, parse_math=False)
        for spine in axes.spines.values():
            spine.set_color(BAD_COLOUR if panel.marked else OTHER_COLOUR)
            spine.set_linewidth(2.0 if panel.marked else 0.5)
