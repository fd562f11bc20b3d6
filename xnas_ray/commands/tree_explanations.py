"""What ``xnas explain ID TRIAL --tree`` prints, draws and writes of a trial's decision tree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.application import parse_assignment
from xnas_ray.commands.console import MAX_WIDTH, note, say, say_drawn, say_json, table
from xnas_ray.errors import ExplanationError, ServiceError, SpecError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from xnas_ray.search_handle import SearchHandle
    from xnas_ray.service.unseen import Unseen
    from xnas_ray.store.tree_samples import TreeSamples

TREES = "decision_tree"
"""Kind of the tables that are shown, and name of what is written."""

SHOWN_NODES = 40
"""Most nodes that are printed: those down to some depth, and most classes; ``--json`` and ``--out`` have all."""

TRAVERSALS = "unseen_traversals"
ENDS = 3
"""Classes at which those of another task end most often."""


@dataclass(frozen=True, slots=True)
class About:
    """What is tested besides: another task, what its data are asked for, and hypotheses about nodes."""

    task: str | None = None
    data: tuple[str, ...] = ()
    hypotheses: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.task or self.data or self.hypotheses)


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything that is known of a tree; tables that are not known are None.

    Attributes:
        tree: a row a node.
        samples: on their ways through it, None where they are not kept.
        missing: why they are not.
        tables: by name, in the order in which they are shown.
        source: where the data of the other task come from.
        untested: why no hypothesis was tested on them.
    """

    tree: pd.DataFrame
    samples: TreeSamples | None
    missing: str
    tables: dict[str, pd.DataFrame | None]
    source: str = ""
    untested: str = ""


def has_tree(handle: SearchHandle, trial: int) -> bool:
    """Whether the tree of a trial is stored."""
    try:
        return bool((handle.explanations(TREES)["trial"] == trial).any())
    except (ExplanationError, StoreError):
        return False


def explain_tree(
    handle: SearchHandle, trial: int | None, about: About, *, number: int, out: Path | None, as_json: bool
) -> None:
    """Show the tree of a trial, how often its branches are taken, its ambiguous samples and examples of its nodes.

    Args:
        handle: the search.
        trial: which one.
        about: what is tested on another task.
        number: ambiguous samples that are printed.
        out: where tables and figures are written.
        as_json: print JSON.

    Raises:
        ExplanationError: the search has no trees, no trial is named, or hypotheses are no such.
        StoreError: the trial has none.
    """
    if trial is None:
        raise ExplanationError(
            "a tree is that of one trial.", field="TRIAL", fix=f"`xnas best {handle.id}` lists the best ones."
        )
    if about and about.task is None:
        raise SpecError("there is nothing to test hypotheses on.", field="--unseen", fix="Name another task.")
    found = _find(handle, trial, about)
    trials = handle.client.store.trials(handle.id).set_index("trial")["architecture"]
    architecture = str(trials.get(trial, ""))
    if as_json:
        shown = {name: None if one is None else one.to_dict("records") for name, one in found.tables.items()}
        say_json({"trial": trial, "architecture": architecture, **shown})
    else:
        say(f"trial {trial}: {architecture}\n")
        _say(found, number)
    if out is not None:
        _write(found, out, f"trial {trial}: {architecture}")


def _find(handle: SearchHandle, trial: int, about: About) -> _Found:
    from xnas_ray.explain.tree_table import ambiguous_table, similar_table, tree_of_trial

    tree = tree_of_trial(handle.explanations(TREES), trial)
    samples, missing = _samples(handle, trial)
    tables: dict[str, pd.DataFrame | None] = {
        TREES: tree,
        "ambiguous": None if samples is None else ambiguous_table(tree, samples),
        "similar": None if samples is None else similar_table(tree, samples),
    }
    if about.task is None:
        return _Found(tree, samples, missing, tables)
    unseen, untested = _add_unseen(tables, handle, trial, about)
    return _Found(tree, samples, missing, tables, unseen.source, untested)


def _samples(handle: SearchHandle, trial: int) -> tuple[TreeSamples | None, str]:
    from xnas_ray.store.tree_samples import load_tree_samples

    try:
        return load_tree_samples(handle.client.folder, handle.id, trial), ""
    except (StoreError, ServiceError) as error:
        return None, str(error)


def _add_unseen(
    tables: dict[str, pd.DataFrame | None], handle: SearchHandle, trial: int, about: About
) -> tuple[Unseen, str]:
    """Add what is found on the other task; where WordNet has no hypothesis this says why."""
    from xnas_ray.explain.traversals import traversals
    from xnas_ray.service.unseen import named_hierarchy, unseen_meanings, unseen_outputs

    tree = tables[TREES]
    assert tree is not None
    asked = dict(parse_assignment(text, "--data") for text in about.data)
    unseen = unseen_outputs(handle.client.folder, handle.id, trial, str(about.task), asked)
    hierarchy, _ = named_hierarchy(tree, unseen)
    tables[TRAVERSALS] = traversals(hierarchy, unseen.logits, unseen.targets, unseen.classes)
    try:
        found = unseen_meanings(tree, unseen, about.hypotheses)
    except ExplanationError as error:
        if about.hypotheses:
            raise
        return unseen, str(error)
    tables |= {"superclasses": found.superclasses, "node_meaning": found.children, "unseen_classes": found.classes}
    return unseen, ""


# ---- in the terminal -------------------------------------------------------------------------------------------------


def _say(found: _Found, number: int) -> None:
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


def _say_ambiguous(found: _Found, number: int) -> None:
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


def _say_similar(found: _Found, shown: pd.DataFrame) -> None:
    similar = found.tables["similar"]
    assert similar is not None
    say("\nmost like a node: label (sample), * of a class that is not below it")
    examples: dict[int, list[str]] = {}
    for row in similar.to_dict("records"):
        text = f"{row['target']} ({row['sample']}){'' if row['own'] else '*'}"
        examples.setdefault(int(row["node"]), []).append(text)
    rows = [
        (int(row["node"]), row["name"], ", ".join(examples.get(int(row["node"]), ())))
        for row in shown.to_dict("records")
    ]
    say_drawn(table(("node", "name", "examples"), rows, width=MAX_WIDTH))


def _say_traversals(found: _Found) -> None:
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


def _say_meanings(found: _Found) -> None:
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


# ---- in files --------------------------------------------------------------------------------------------------------


def _write(found: _Found, out: Path, title: str) -> None:
    """Every table as CSV and Parquet, and the figures."""
    from xnas_ray.explain.drawing import save_figure

    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, one in found.tables.items():
            if one is not None:
                paths = out / f"{name}.csv", out / f"{name}.parquet"
                one.to_csv(paths[0], index=False)
                one.to_parquet(paths[1], index=False)
                written += paths
    except OSError as error:
        raise StoreError(f"cannot write {error.filename or out}: {error.strerror or error}.", field="--out") from error
    for name, figure in _figures(found, title).items():
        written += save_figure(figure, out, name)
    note("wrote " + ", ".join(map(str, written)))


def _figures(found: _Found, title: str) -> dict[str, Figure]:
    from xnas_ray.explain.meaning_drawing import meaning_figure, meaning_info
    from xnas_ray.explain.sample_drawing import ambiguous_info, sample_figure, similar_info
    from xnas_ray.explain.tree_drawing import tree_figure, tree_info

    tree, samples = found.tree, found.samples
    figures: dict[str, Any] = {TREES: tree_figure(tree_info(tree, samples, title=title))}
    if samples is not None and samples.has_images:
        figures["ambiguous"] = sample_figure(ambiguous_info(tree, samples))
        figures["similar"] = sample_figure(similar_info(tree, samples))
    children = found.tables.get("node_meaning")
    if children is not None:
        figures["node_meaning"] = meaning_figure(meaning_info(children))
    return figures
