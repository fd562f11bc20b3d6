"""What ``xnas explain ID TRIAL --tree`` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from xnas_ray.commands.console import MAX_WIDTH, say, say_drawn, table
from xnas_ray.commands.tree_known import TRAVERSALS, TreeKnown

if TYPE_CHECKING:
    import pandas as pd

SHOWN_NODES = 40
"""Most nodes that are printed: those down to some depth, and most classes; ``--json`` and ``--out`` have all."""

ENDS = 3
"""Classes at which those of another task end most often."""


def say_tree(found: TreeKnown, number: int) -> None:
    """Print a tree, its ambiguous samples, examples of its nodes, and what another task says of them.

    Args:
        found: what is known of it.
        number: ambiguous samples at most.
    """
    from xnas_ray.explain.tree_table import upper_nodes

    shown = upper_nodes(found.tree, SHOWN_NODES)
    rows = [
        (
            f"{'  ' * int(row['depth'])}{row['name']}",
            int(row["node"]),
            int(row["visits"]),
            _percent(row["share"]),
            _percent(row["right"]),
            "" if row["classes"] == 1 else _short(row["entropy"]),
        )
        for row in shown.to_dict("records")
    ]
    say_drawn(table(("decision", "node", "samples", "share", "right", "entropy"), rows, width=MAX_WIDTH))
    if len(shown) < len(found.tree):
        say(f"… {len(found.tree) - len(shown)} nodes below: --json or --out FOLDER")
    if found.samples is None:
        say(f"\n{found.missing}")
    else:
        _say_ambiguous(found, number)
        _say_similar(found, shown)
    if TRAVERSALS in found.tables:
        _say_traversals(found)
        if found.untested:
            say(f"\n{found.untested}")
        else:
            _say_meanings(found)


def _say_ambiguous(found: TreeKnown, number: int) -> None:
    ambiguous = found.tables["ambiguous"]
    assert ambiguous is not None
    if not len(ambiguous):
        say("\nno sample is ambiguous: every way has one decision")
        return
    say("\nmost ambiguous: the largest path entropy, in nats")
    rows = [
        (*(row[name] for name in ("sample", "target", "network", "hard")), f"{row['path_entropy']:.3f}", row["doubt"])
        for row in ambiguous.head(number).to_dict("records")
    ]
    say_drawn(table(("sample", "label", "network", "tree", "entropy", "least certain at"), rows, width=MAX_WIDTH))


def _say_similar(found: TreeKnown, shown: pd.DataFrame) -> None:
    similar = found.tables["similar"]
    assert similar is not None
    say("\nmost like a node: label (sample), * of a class that is not below it")
    examples: dict[int, list[str]] = {}
    for row in similar.to_dict("records"):
        text = f"{row['target']} ({row['sample']}){'' if row['own'] else '*'}"
        examples.setdefault(int(row["node"]), []).append(text)
    # Names stand in the tree above: a column of them would cut the examples.
    rows = [(node, ", ".join(examples.get(node, ()))) for node in map(int, shown["node"])]
    say_drawn(table(("node", "examples"), rows, width=MAX_WIDTH))


def _say_traversals(found: TreeKnown) -> None:
    frame = found.tables[TRAVERSALS]
    assert frame is not None
    say(f"\nwhere classes of another task end: {found.source}")
    ends: dict[str, list[tuple[float, str]]] = {}
    for row in frame[frame["leaf"]].to_dict("records"):
        ends.setdefault(row["class"], []).append((row["share"], row["name"]))
    rows = [
        (name, ", ".join(f"{leaf} {share:.0%}" for share, leaf in sorted(some, reverse=True)[:ENDS]))
        for name, some in list(ends.items())[:SHOWN_NODES]
    ]
    say_drawn(table(("class", "ends"), rows, width=MAX_WIDTH))
    if len(ends) > SHOWN_NODES:
        say(f"… {len(ends) - SHOWN_NODES} classes more: --json or --out FOLDER")


def _say_meanings(found: TreeKnown) -> None:
    superclasses, children = found.tables["superclasses"], found.tables["node_meaning"]
    assert superclasses is not None and children is not None
    say("\nsuperclasses of unseen classes")
    facts = ("node", "hypothesis", "classes", "samples")
    shares = ("network", "network_within", "mean_logit", "tree", "most")
    rows = [
        (*(row[name] for name in facts), *(_percent(row[name]) for name in shares))
        for row in superclasses.to_dict("records")
    ]
    titles = ("node", "hypothesis", "classes", "samples", "network", "within", "mean", "tree", "most")
    say_drawn(table(titles, rows, width=MAX_WIDTH))
    say("\nwhat the children stand for")
    rows = [
        (
            *(row[name] for name in ("node", "child", "hypothesis", "samples")),
            _percent(row["agreement"]),
            f"{_percent(row['low'])} to {_percent(row['high'])}",
            _percent(row["chance"]),
        )
        for row in children.to_dict("records")
    ]
    say_drawn(
        table(("node", "child", "hypothesis", "samples", "agree", "95% interval", "chance"), rows, width=MAX_WIDTH)
    )


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.1%}"


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
