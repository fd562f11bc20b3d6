"""The tree of what classes are kinds of.

As in Optuna a drawing is two functions: ``hypernym_info`` computes what is shown, ``hypernym_figure`` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas_ray.explain.drawing import GOOD_COLOUR, OTHER_COLOUR, PALE_COLOUR, Place, shortened
from xnas_ray.explain.wordnet import Synset, WordNet

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.figure import Figure

_COLUMN_INCHES, _ROW_INCHES = 1.5, 0.26
_LABEL_CHARS = 22


@dataclass(frozen=True, slots=True)
class HypernymInfo:
    """What a drawing of classes and their hypernyms shows.

    Attributes:
        places: wnid to (column from the root, row from the top).
        labels: wnid to the class's name, or to the hypernym's usual word.
        classes: wnids of the classes.
        edges: (hypernym, hyponym, steps between them): what lies between has no other hyponym here.
    """

    places: Mapping[str, Place]
    labels: Mapping[str, str]
    classes: frozenset[str]
    edges: tuple[tuple[str, str, int], ...]


def hypernym_info(wordnet: WordNet, synsets: Sequence[Synset], names: Sequence[str]) -> HypernymInfo:
    """What to draw of classes: themselves, and the hypernyms in which their ways to the root meet.

    Args:
        wordnet: gives the hypernyms.
        synsets: of the classes.
        names: of the classes, in the same order; a class that is named by its wnid is shown by its usual word.
    """
    import networkx as nx

    graph = nx.DiGraph()
    for synset in synsets:
        for above in wordnet.ancestors(synset.wnid):
            graph.add_node(above)
            graph.add_edges_from((parent, above, {"steps": 1}) for parent in wordnet.synsets[above].hypernyms)
    named = zip(synsets, names, strict=True)
    classes = {synset.wnid: synset.name if name == synset.wnid else str(name) for synset, name in named}
    for wnid in [w for w in graph if w not in classes]:
        _leave_out(graph, wnid)
    labels = {wnid: classes.get(wnid, wordnet.synsets[wnid].name) for wnid in graph}
    edges = tuple(sorted((above, below, steps) for above, below, steps in graph.edges(data="steps")))
    return HypernymInfo(_placed(graph, labels), labels, frozenset(classes), edges)


def _leave_out(graph: nx.DiGraph, wnid: str) -> None:
    """Remove a hypernym that only leads on: its hyponym hangs below what it hung below."""
    above, below = list(graph.predecessors(wnid)), list(graph.successors(wnid))
    if len(below) != 1 or len(above) > 1:
        return
    for parent in above:
        steps = graph.edges[parent, wnid]["steps"] + graph.edges[wnid, below[0]]["steps"]
        if graph.has_edge(parent, below[0]):
            steps = min(steps, graph.edges[parent, below[0]]["steps"])
        graph.add_edge(parent, below[0], steps=steps)
    graph.remove_node(wnid)


def _placed(graph: nx.DiGraph, labels: Mapping[str, str]) -> dict[str, Place]:
    """Columns by the longest way from a root; what has no hyponym gets a row, the others the middle of theirs."""
    import networkx as nx

    column = {wnid: x for x, generation in enumerate(nx.topological_generations(graph)) for wnid in generation}
    rows: dict[str, float] = {}
    free = 0

    def visit(wnid: str) -> None:
        nonlocal free
        if wnid in rows:
            return
        below = sorted(graph.successors(wnid), key=lambda w: (labels[w], w))
        for hyponym in below:
            visit(hyponym)
        if below:
            rows[wnid] = sum(rows[hyponym] for hyponym in below) / len(below)
        else:
            rows[wnid] = float(free)
            free += 1

    for wnid in sorted((w for w in graph if graph.in_degree(w) == 0), key=lambda w: (labels[w], w)):
        visit(wnid)
    return {wnid: (float(column[wnid]), rows[wnid]) for wnid in graph}


def hypernym_figure(info: HypernymInfo) -> Figure:
    """The drawing: the root on the left, classes in green, the number of steps on edges that are longer than one."""
    from matplotlib.figure import Figure

    columns = max((x for x, _ in info.places.values()), default=0.0) + 1
    rows = max((y for _, y in info.places.values()), default=0.0) + 1
    figure = Figure(figsize=(_COLUMN_INCHES * (columns + 1), _ROW_INCHES * (rows + 2)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for above, below, steps in info.edges:
        (x0, y0), (x1, y1) = info.places[above], info.places[below]
        axes.plot((x0, x0 + 0.25, x1), (y0, y1, y1), color=PALE_COLOUR, linewidth=0.8, zorder=1)
        if steps > 1:
            axes.text(x1 - 0.08, y1 - 0.08, str(steps), fontsize=5, color=OTHER_COLOUR, ha="right", va="bottom")
    for wnid, (x, y) in info.places.items():
        colour = GOOD_COLOUR if wnid in info.classes else "#333333"
        axes.plot(x, y, marker="o", markersize=3, color=colour, zorder=2)
        label = shortened(info.labels[wnid], _LABEL_CHARS)
        axes.text(x + 0.06, y, label, fontsize=7, color=colour, va="center", bbox=_BEHIND, zorder=3)
    axes.set_xlim(-0.2, columns + 0.6)
    axes.set_ylim(rows, -1.0)
    axes.axis("off")
    return figure


_BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
