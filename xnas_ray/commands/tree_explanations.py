"""What ``xnas explain ID TRIAL --tree`` does: it prints a trial's decision tree, draws it and writes its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import note, say, say_json
from xnas_ray.commands.tree_known import TREES, About, TreeKnown, known_tree
from xnas_ray.commands.tree_printed import say_tree
from xnas_ray.errors import ExplanationError, SpecError, StoreError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xnas_ray.search_handle import SearchHandle


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
        raise SpecError(
            "--hypothesis and --data are about classes of another task.",
            field="--unseen",
            fix="Name it: --unseen TASK.",
        )
    found = known_tree(handle, trial, about)
    trials = handle.client.store.trials(handle.id).set_index("trial")["architecture"]
    architecture = str(trials.get(trial, ""))
    if as_json:
        shown = {name: None if one is None else one.to_dict("records") for name, one in found.tables.items()}
        say_json({"trial": trial, "architecture": architecture, **shown})
    else:
        say(f"trial {trial}: {architecture}\n")
        say_tree(found, number)
    if out is not None:
        _write(found, out, f"trial {trial}: {architecture}")


def _write(found: TreeKnown, out: Path, title: str) -> None:
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


def _figures(found: TreeKnown, title: str) -> dict[str, Figure]:
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
