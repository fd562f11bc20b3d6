"""The best and the worst motifs, drawn as small trees.

As in Optuna a drawing is two functions: ``motif_info`` computes what is shown, ``motif_figure`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas_ray.explain.drawing import (
    BAD_COLOUR,
    GOOD_COLOUR,
    LEGEND_INCHES,
    NODE_POINTS,
    arrow,
    frame,
    legend,
    operation_colours,
)
from xnas_ray.explain.motifs import Motif, Tree, best_motifs, read_motifs, worst_motifs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_INCHES = (2.2, 2.1)
_LEAST_WIDTH_INCHES = 6.6
_NEARLY_ALL = 0.9995


@dataclass(frozen=True, slots=True)
class Node:
    """A node in a drawing: its operation, its place, and the node it hangs from in a tree (its index)."""

    label: str
    x: float
    y: float
    parent: int | None = None


def tree_layout(tree: Tree) -> tuple[Node, ...]:
    """Places of a tree's nodes: the root on top at y = 0, every level 1 lower, leaves 1 apart, parents in the middle.

    Nodes are in the order of a walk from the root, so a parent comes before its children.
    """
    nodes: list[Node] = []
    leaves = 0

    def place(part: Tree, depth: int, parent: int | None) -> float:
        nonlocal leaves
        index, (label, children) = len(nodes), part
        nodes.append(Node(label, 0.0, -float(depth), parent))
        places = [place(child, depth + 1, index) for child in children]
        if not places:
            places = [float(leaves)]
            leaves += 1
        x = (places[0] + places[-1]) / 2
        nodes[index] = Node(label, x, -float(depth), parent)
        return x

    place(tree, 0, None)
    return tuple(nodes)


@dataclass(frozen=True, slots=True)
class MotifPanel:
    """One motif as it is drawn: its nodes, and what is written above them."""

    motif: Motif
    nodes: tuple[Node, ...]
    title: str


@dataclass(frozen=True, slots=True)
class MotifInfo:
    """What a drawing of motifs shows.

    Attributes:
        best: good motifs, best first.
        worst: bad motifs, worst first.
        colours: of every operation that is drawn.
        title: what was predicted, from how many architectures.
    """

    best: tuple[MotifPanel, ...]
    worst: tuple[MotifPanel, ...]
    colours: Mapping[str, str]
    title: str


def motif_info(table: pd.DataFrame, number: int = 5) -> MotifInfo:
    """What to draw of a table of motifs: at most ``number`` of the best and of the worst.

    Raises:
        StoreError: this is no table of motifs.
    """
    best = tuple(_panel(motif, table) for motif in best_motifs(table, number))
    worst = tuple(_panel(motif, table) for motif in worst_motifs(table, number))
    drawn = {node.label for panel in (*best, *worst) for node in panel.nodes}
    return MotifInfo(best, worst, colours_of(table, drawn), _title(table))


def _panel(motif: Motif, table: pd.DataFrame) -> MotifPanel:
    known = "" if motif.posterior_std is None else f" ± {motif.posterior_std:.2g}"
    lines = [
        effect_text(motif, table) + known,
        f"[{motif.low:+.3g}, {motif.high:+.3g}]",
        f"in {motif.support} of {table['architectures'].iloc[0]}",
    ]
    if table["cell"].nunique() > 1:
        lines[2] += f", {motif.cell}"
    if motif.occurrence > 1:
        lines[2] += f", {motif.occurrence} times"
    return MotifPanel(motif, tree_layout(motif.tree), "\n".join(lines))


def effect_text(motif: Motif, table: pd.DataFrame) -> str:
    """The effect with its sign and unit."""
    unit = table["unit"].iloc[0]
    return f"{motif.effect:+.3g}" + (f" {unit}" if unit else "")


def _title(table: pd.DataFrame) -> str:
    if not len(table):
        return "no motifs: no subtree that varies has enough support"
    row = table.iloc[0]
    what = f"{row['metric']}: " if row["metric"] else ""
    share = row["wl_share"]
    explained = f"; explains {share:.0%} of the model's predictions" if share < _NEARLY_ALL else ""
    return f"{what}change by a further occurrence, [{row['level']:.0%} over architectures]{explained}"


def colours_of(table: pd.DataFrame, drawn: Iterable[str]) -> dict[str, str]:
    """Colours of the operations that are drawn; those of one table are the same in all its drawings."""
    known = {label for motif in read_motifs(table) for label in _labels(motif.tree)}
    colours = operation_colours(known, drawn)
    return {name: colours[name] for name in sorted(set(drawn))}


def _labels(tree: Tree) -> Iterable[str]:
    yield tree[0]
    for child in tree[1]:
        yield from _labels(child)


def motif_figure(info: MotifInfo) -> Figure:
    """Two rows of small trees, the best motifs above the worst, and the operations' colours below."""
    from matplotlib.figure import Figure

    rows = [(name, colour, panels) for name, colour, panels in _rows_of(info) if panels]
    columns = max((len(panels) for _, _, panels in rows), default=1)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(max(_LEAST_WIDTH_INCHES, width * columns), height * max(1, len(rows)) + 2 * LEGEND_INCHES))
    figure.suptitle(info.title, fontsize=9)
    grid = figure.add_gridspec(max(1, len(rows)), columns)
    for i, (name, colour, panels) in enumerate(rows):
        for j, panel in enumerate(panels):
            axes = figure.add_subplot(grid[i, j])
            _draw_tree(axes, panel, info.colours, colour)
            if j == 0:
                axes.text(
                    -0.08, 0.5, name, transform=axes.transAxes, rotation=90, va="center", ha="right", color=colour
                )
    legend(figure, info.colours)
    return figure


def _rows_of(info: MotifInfo) -> list[tuple[str, str, tuple[MotifPanel, ...]]]:
    return [("best", GOOD_COLOUR, info.best), ("worst", BAD_COLOUR, info.worst)]


def _draw_tree(axes: Axes, panel: MotifPanel, colours: Mapping[str, str], edge_colour: str) -> None:
    axes.set_title(panel.title, fontsize=7.5)
    for node in panel.nodes:
        if node.parent is not None:
            start = panel.nodes[node.parent]
            arrow(axes, (start.x, start.y), (node.x, node.y), edge_colour, 1.2)
    axes.scatter(
        [node.x for node in panel.nodes],
        [node.y for node in panel.nodes],
        s=NODE_POINTS,
        c=[colours[node.label] for node in panel.nodes],
        edgecolors=edge_colour,
        linewidths=1.2,
        zorder=2,
    )
    frame(axes, [(node.x, node.y) for node in panel.nodes])
