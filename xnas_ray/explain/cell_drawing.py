"""An architecture's cells with their motifs marked.

As in Optuna a drawing is two functions: ``cell_info`` computes what is shown, ``cell_figure`` draws it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas_ray.explain.drawing import (
    BAD_COLOUR,
    GOOD_COLOUR,
    LEGEND_INCHES,
    NODE_POINTS,
    OTHER_COLOUR,
    PALE_COLOUR,
    Place,
    arrow,
    frame,
    legend,
    shortened,
)
from xnas_ray.explain.motif_drawing import colours_of, effect_text
from xnas_ray.explain.motifs import best_motifs, worst_motifs
from xnas_ray.explain.occurrences import Edge, Occurrences, explain_architecture
from xnas_ray.spaces.graphs import OP_NAME

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL_INCHES = (4.6, 2.6)
_COLUMNS = 2
_TITLE_CHARS = 110


def graph_layout(graph: nx.DiGraph) -> dict[Hashable, Place]:
    """Places of a cell's nodes: x is the longest path from an input, nodes of one x are spread around y = 0."""
    import networkx as nx

    places: dict[Hashable, Place] = {}
    for x, generation in enumerate(nx.topological_generations(graph)):
        order = sorted(generation, key=lambda node: (-_height(graph, node, places), str(node)))
        for i, node in enumerate(order):
            places[node] = (float(x), (len(order) - 1) / 2 - i)
    return places


def _height(graph: nx.DiGraph, node: Hashable, places: Mapping[Hashable, Place]) -> float:
    """The mean y of what leads to a node: nodes stay near it, so that edges cross less."""
    known = [places[source][1] for source in graph.predecessors(node)]
    return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class CellPanel:
    """One cell with one motif marked.

    Attributes:
        cell: name of the cell.
        places: node to (x, y).
        labels: node to operation.
        edges: of the cell.
        marked: nodes of the motif's occurrences; empty for a cell without any motif.
        marked_edges: edges of its occurrences.
        roots: nodes at which it begins.
        title: the motif and its average gradient.
        colour: of the marks.
    """

    cell: str
    places: Mapping[Hashable, Place]
    labels: Mapping[Hashable, str]
    edges: tuple[Edge, ...]
    marked: frozenset[Hashable]
    marked_edges: frozenset[Edge]
    roots: tuple[Hashable, ...]
    title: str
    colour: str


@dataclass(frozen=True, slots=True)
class CellInfo:
    """What a drawing of an architecture shows: its cells once for every motif that they have."""

    panels: tuple[CellPanel, ...]
    colours: Mapping[str, str]
    title: str


def cell_info(graphs: Mapping[str, nx.DiGraph], table: pd.DataFrame, number: int = 3, title: str = "") -> CellInfo:
    """What to draw of an architecture: its best and its worst motifs, at most ``number`` of each.

    A cell without any of them is shown once, unmarked.

    Args:
        graphs: of the architecture, one a cell.
        table: motifs, as ``motif_table`` makes it.
        number: of motifs of either mark.
        title: written above, for example the architecture.

    Raises:
        StoreError: this is no table of motifs.
    """
    good = explain_architecture(graphs, best_motifs(table))[:number]
    bad = explain_architecture(graphs, worst_motifs(table))[:number]
    panels = [_cell_panel(graphs[found.motif.cell], found, table, len(graphs) > 1) for found in (*good, *bad)]
    seen = {panel.cell for panel in panels}
    panels += [_plain_panel(cell, graph) for cell, graph in graphs.items() if cell not in seen]
    drawn = {label for panel in panels for label in panel.labels.values()}
    return CellInfo(tuple(panels), colours_of(table, drawn), title)


def _cell_panel(graph: nx.DiGraph, found: Occurrences, table: pd.DataFrame, name_cell: bool) -> CellPanel:
    motif = found.motif
    where = f"{motif.cell}: " if name_cell else ""
    return dataclasses.replace(
        _plain_panel(motif.cell, graph),
        marked=frozenset().union(*found.nodes),
        marked_edges=found.edges,
        roots=found.roots,
        title=f"{where}{effect_text(motif, table)}\n{shortened(motif.text)}",
        colour=GOOD_COLOUR if motif.effect > 0 else BAD_COLOUR,
    )


def _plain_panel(cell: str, graph: nx.DiGraph) -> CellPanel:
    labels = {node: str(label) for node, label in graph.nodes(data=OP_NAME)}
    return CellPanel(
        cell=cell,
        places=graph_layout(graph),
        labels=labels,
        edges=tuple(graph.edges),
        marked=frozenset(),
        marked_edges=frozenset(),
        roots=(),
        title=f"{cell}: no motif of either kind",
        colour=OTHER_COLOUR,
    )


def cell_figure(info: CellInfo) -> Figure:
    """The cells below each other in two columns, marked nodes and the edges between them in the motif's colour."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(1, len(info.panels)))
    rows = max(1, -(-len(info.panels) // columns))
    width, height = _CELL_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 2 * LEGEND_INCHES))
    if info.title:
        figure.suptitle(shortened(info.title, _TITLE_CHARS), fontsize=8)
    grid = figure.add_gridspec(rows, columns)
    for i, panel in enumerate(info.panels):
        _draw_cell(figure.add_subplot(grid[i // columns, i % columns]), panel, info.colours)
    legend(figure, info.colours)
    return figure


def _draw_cell(axes: Axes, panel: CellPanel, colours: Mapping[str, str]) -> None:
    axes.set_title(panel.title, fontsize=7, color=panel.colour)
    for source, target in panel.edges:
        colour, width = (panel.colour, 1.8) if (source, target) in panel.marked_edges else (PALE_COLOUR, 0.9)
        arrow(axes, panel.places[source], panel.places[target], colour, width)
    nodes = list(panel.places)
    axes.scatter(
        [panel.places[node][0] for node in nodes],
        [panel.places[node][1] for node in nodes],
        s=[1.6 * NODE_POINTS if node in panel.roots else NODE_POINTS for node in nodes],
        c=[colours[panel.labels[node]] for node in nodes],
        edgecolors=[panel.colour if node in panel.marked else PALE_COLOUR for node in nodes],
        linewidths=[2.2 if node in panel.marked else 0.8 for node in nodes],
        zorder=2,
    )
    frame(axes, list(panel.places.values()))
