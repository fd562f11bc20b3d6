"""The command that says why: ``xnas explain``. It needs no running service, but asks one about a search that runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import MAX_WIDTH, clean, nearby, note, say, say_drawn, say_json, say_table, table
from xnas_ray.commands.joint import say_joint
from xnas_ray.commands.options import AsJson, Root, SearchId
from xnas_ray.commands.searches import handle_of
from xnas_ray.commands.tree_explanations import About, explain_tree, has_tree
from xnas_ray.errors import ExplanationError
from xnas_ray.objectives.names import OBJECTIVE_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.explain.motifs import Motif
    from xnas_ray.search_handle import SearchHandle

MOTIFS = "motifs"
EFFECTS = "objective_motifs"
"""What the trials tell, whoever proposed them."""
SHOWN = 20
"""Rows of a table that is one of several."""
DERIVED_METHODS = "derived_methods"
STRENGTHS = "strengths"
SURROGATE = "surrogate"
TRANSFER = "transfer"
FIGURES = "figures"
"""Folder of a store for pictures."""

_NEARLY_ALL = 0.9995


@command(
    examples=[
        "xnas explain latest --motifs",
        "xnas explain latest --motifs --out figures",
        "xnas explain 01JD 17 --motifs --out figures",
        "xnas explain latest --joint",
        "xnas explain latest --model",
        "xnas explain latest --kind derived_methods",
        "xnas explain latest 17 --tree --out figures",
        "xnas explain latest 17 --unseen cifar100",
    ]
)
def explain(
    search_id: SearchId,
    trial: Annotated[
        int | None, typer.Argument(metavar="TRIAL", help="Show which motifs this trial's architecture has.")
    ] = None,
    root: Root = None,
    motifs: Annotated[
        bool,
        typer.Option("--motifs", help="Subtrees of architectures that help or harm (the default; else every table)."),
    ] = False,
    model: Annotated[
        bool,
        typer.Option("--model", help="How well the search's model predicts, and what it took from other searches."),
    ] = False,
    joint: Annotated[
        bool,
        typer.Option("--joint", help="Whether motifs, introspectability, influence and decision trees agree."),
    ] = False,
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="Any table of explanations as it is, such as strengths.")
    ] = "",
    tree: Annotated[
        bool, typer.Option("--tree", help="A trial's decision tree (the default where there are no motifs).")
    ] = False,
    unseen: Annotated[
        str | None,
        typer.Option("--unseen", metavar="TASK", help="Test what the tree's nodes stand for on classes of this task."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="KEY=VALUE", help="What load_data() of --unseen is asked for; repeatable."),
    ] = None,
    hypothesis: Annotated[
        list[str] | None,
        typer.Option(
            "--hypothesis",
            metavar="NODE=A,B",
            help="What the children of a node stand for: words of WordNet or classes, joined by +; repeatable.",
        ),
    ] = None,
    number: Annotated[int, typer.Option("-n", "--number", min=1, metavar="N", help="At most N of either sort.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Also draw them there, as SVG and PNG; of trees the tables too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show why architectures are good.

    Motifs are small trees of operations. The change is what a further occurrence is worth according to the search's
    model, +- its uncertainty; the interval is over the architectures that have the motif.

    A trial's decision tree, where the search has an objective of trees, says what its network decides first and what
    next, which samples are ambiguous to it, and with another task's classes what its nodes stand for.
    """
    handle = handle_of(root, search_id)
    about = About(unseen, tuple(data or ()), tuple(hypothesis or ()))
    if tree or about:
        if motifs or model or joint or kind:
            raise ExplanationError("--tree is of one trial.", fix="Ask for it alone.")
        return explain_tree(handle, trial, about, number=number, out=out, as_json=as_json)
    if kind:
        if motifs or model or joint or trial is not None or out is not None:
            raise ExplanationError("--kind is a whole table and has no picture.", fix="Ask for it alone.")
        return _explain_kind(handle, kind, as_json)
    if joint:
        if motifs or model or trial is not None or out is not None:
            raise ExplanationError(
                "--joint is of a whole search; its figures are in `xnas report`.", fix="Ask for it alone."
            )
        return say_joint(handle, number, as_json)
    if model:
        if motifs or trial is not None or out is not None:
            raise ExplanationError("--model is of a whole search and has no picture.", fix="Ask for it alone.")
        return _explain_model(handle, as_json)
    try:
        found = handle.explanations(MOTIFS)
    except ExplanationError as error:
        if trial is not None and not motifs and has_tree(handle, trial):
            return explain_tree(handle, trial, about, number=number, out=out, as_json=as_json)
        if not (motifs or trial is not None or out is not None) and error.valid:
            return _explain_kinds(handle, error.valid, number, as_json)
        if EFFECTS not in error.valid:
            raise
        found = _first_objective(handle)
    if not len(found):
        raise ExplanationError(
            f"search {handle.id} has no motifs: no part that varies is in enough of its architectures.",
            fix="Extend the search: `xnas extend`.",
        )
    if trial is None:
        _explain_search(handle, found, number, out, as_json)
    else:
        _explain_trial(handle, trial, found, number, out, as_json)


def _explain_search(handle: SearchHandle, found: pd.DataFrame, number: int, out: Path | None, as_json: bool) -> None:
    from xnas_ray.explain.motifs import best_motifs, worst_motifs

    if as_json:
        say_json(found.to_dict("records"))
    else:
        say(_headline(found))
        _say_motifs("good", best_motifs(found, number), found)
        _say_motifs("bad", worst_motifs(found, number), found)
    if out is not None:
        from xnas_ray.explain.drawing import save_figure
        from xnas_ray.explain.motif_drawing import motif_figure, motif_info

        _say_files(save_figure(motif_figure(motif_info(found, number)), out, MOTIFS))


def _explain_kind(handle: SearchHandle, kind: str, as_json: bool) -> None:
    found = handle.explanations(kind).drop(columns="search_id", errors="ignore")
    if as_json:
        say_json(_records(found))
        return
    _say_frame(found)


def _first_objective(handle: SearchHandle) -> pd.DataFrame:
    """The motifs that the trials tell for the first objective, where the controller learns none."""
    found = handle.explanations(EFFECTS)
    return found[found["metric"] == handle.card()["objectives"][0]["name"]]


def _explain_kinds(handle: SearchHandle, kinds: Sequence[str], number: int, as_json: bool) -> None:
    """Every table of a search whose controller learns no motifs: what it has to say, and what its trials say."""
    from xnas_ray.report.trial_tables import COLUMNS

    # Too wide for a terminal, where something else says what they come to.
    shown = kinds if as_json else [kind for kind in kinds if kind not in COLUMNS]
    found = {kind: handle.explanations(kind).drop(columns="search_id", errors="ignore") for kind in shown}
    if as_json:
        say_json({kind: _records(one) for kind, one in found.items()})
        return
    if set(COLUMNS) & set(kinds):
        say_joint(handle, number, as_json)
    for kind, one in found.items():
        say(f"\n{clean(kind)}")
        _say_frame(one.head(SHOWN))
        if len(one) > SHOWN:
            say(f"… {len(one) - SHOWN} more rows: --kind {clean(kind)}")


def _say_frame(found: pd.DataFrame) -> None:
    """Print a table, texts first, then counts, then numbers."""
    columns = sorted(found.columns, key=lambda name: (found[name].dtype.kind == "f", found[name].dtype.kind in "iu"))
    texts = [[_text(value) for value in row] for row in found[columns].itertuples(index=False)]
    say_table([clean(name) for name in columns], texts)


def _text(value: object) -> str:
    """A cell of a table: numbers short, what there is none of empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None or str(value) == "<NA>" else clean(str(value))


def _explain_model(handle: SearchHandle, as_json: bool) -> None:
    surrogate = handle.explanations(SURROGATE)
    taken = _table_if_any(handle, TRANSFER)
    if as_json:
        say_json({SURROGATE: _records(surrogate), TRANSFER: [] if taken is None else _records(taken)})
        return
    rows = surrogate.iloc[0]
    say(f"each outcome predicted from the other {rows['observations'] - 1}")
    columns = ("metric", "rank correlation", "in 90% interval", "kernel: WL", "depth", "noise")
    say_drawn(
        table(
            columns,
            [
                (
                    clean(row["metric"]),
                    f"{row['spearman']:.2f}",
                    f"{row['coverage_90']:.0%}",
                    f"{row['wl_share']:.0%}",
                    f"{row['depth']:.1f}",
                    f"{row['noise_ratio']:.2g}",
                )
                for row in _records(surrogate)
            ],
            width=MAX_WIDTH,
        )
    )
    if taken is not None:
        say("\nlearnt from other searches")
        say_drawn(
            table(
                ("metric", "search", "form", "weight", "rank correlation"),
                map(_taken, _records(taken)),
                width=MAX_WIDTH,
            )
        )


def _taken(row: dict[str, Any]) -> tuple[str, ...]:
    """Of a source: its weight is its share of the model's prior mean, as far as any source is trusted."""
    if row["form"] == MOTIFS:
        return clean(row["metric"]), clean(row["source"]), f"{row['motifs']} good motifs", "", ""
    weight = f"{row['weight']:.2f} x {row['trust']:.0%}"
    return clean(row["metric"]), clean(row["source"]), "prior", weight, f"{row['correlation']:.2f}"


def _table_if_any(handle: SearchHandle, kind: str) -> pd.DataFrame | None:
    try:
        return handle.explanations(kind)
    except ExplanationError:  # a search that learnt from no other has no such table
        return None


def _records(found: pd.DataFrame) -> list[dict[str, Any]]:
    return found.drop(columns=["search_id"], errors="ignore").to_dict("records")


def say_why(handle: SearchHandle, number: int) -> None:
    """Print why the best of a search that has ended are good, as far as it has stored that, and draw it into its store.

    Args:
        handle: the search.
        number: motifs of either sort that are shown.
    """
    from xnas_ray.service.archive import stored_explanations

    root = handle.client.root
    motifs = stored_explanations(root, handle.id, MOTIFS)
    if motifs is not None:
        _say_motif_tables(handle, motifs, number)
    methods = stored_explanations(root, handle.id, DERIVED_METHODS)
    if methods is not None:
        say("\nwhat was read off the supernets, by method")
        _say_frame(methods.drop(columns="search_id", errors="ignore"))
    strengths = stored_explanations(root, handle.id, STRENGTHS)
    if strengths is not None:
        _draw_strengths(handle, strengths)


def _draw_strengths(handle: SearchHandle, found: pd.DataFrame) -> None:
    """Draw how strongly every method speaks for every option, of every supernet."""
    from xnas_ray.explain.drawing import save_figure
    from xnas_ray.explain.strength_drawing import strength_figure, strength_info

    named = found.assign(method=[f"{m}, supernet {n}" for m, n in zip(found["method"], found["supernet"], strict=True)])
    drawn = save_figure(strength_figure(strength_info(named)), handle.client.root / FIGURES / handle.id, STRENGTHS)
    say("\npicture: " + " and ".join(str(nearby(path)) for path in drawn))


def _say_motif_tables(handle: SearchHandle, found: pd.DataFrame, number: int) -> None:
    from xnas_ray.explain.drawing import save_figure
    from xnas_ray.explain.motif_drawing import motif_figure, motif_info
    from xnas_ray.explain.motifs import best_motifs, worst_motifs

    say("\nwhy: " + _headline(found))
    _say_motifs("good", best_motifs(found, number), found)
    _say_motifs("bad", worst_motifs(found, number), found)
    folder = handle.client.root / FIGURES / handle.id
    drawn = save_figure(motif_figure(motif_info(found, number)), folder, MOTIFS)
    say("\npicture: " + " and ".join(str(nearby(path)) for path in drawn))


def _headline(found: pd.DataFrame) -> str:
    row = found.iloc[0]
    what = f" of {clean(row['metric'])}" if row["metric"] else ""
    known = OBJECTIVE_NAMES.get(row["metric"])
    unit = row["unit"] or (known.unit if known else "")
    unit = "percentage points" if unit == "%" else clean(unit)
    unit = f", changes in {unit}" if unit else ""
    line = f"motifs{what} from {row['architectures']} architectures{unit}"
    share = row["wl_share"]
    return line if share >= _NEARLY_ALL else f"{line}\nthey explain {share:.0%} of what the model predicts"


def _say_motifs(sort: str, motifs: Sequence[Motif], found: pd.DataFrame) -> None:
    several = found["cell"].nunique() > 1
    say(f"\n{sort}" if motifs else f"\n{sort}: none")
    columns = (
        "change",
        "+-",
        f"{found['level'].iloc[0]:.0%} interval",
        f"of {found['architectures'].iloc[0]}",
        *(["cell"] if several else []),
        "motif",
    )
    rows = [
        (
            f"{motif.effect:+.3g}",
            "" if motif.posterior_std is None else f"{motif.posterior_std:.2g}",
            f"{motif.low:+.3g} to {motif.high:+.3g}",
            motif.support,
            *([motif.cell] if several else []),
            motif.text,
        )
        for motif in motifs
    ]
    if rows:
        say_drawn(table(columns, rows, width=MAX_WIDTH))


def _explain_trial(
    handle: SearchHandle, trial: int, found: pd.DataFrame, number: int, out: Path | None, as_json: bool
) -> None:
    from xnas_ray.explain.motifs import best_motifs, worst_motifs
    from xnas_ray.explain.occurrences import explain_architecture

    architecture, graphs = handle.graphs(trial)
    present = explain_architecture(graphs, [*best_motifs(found), *worst_motifs(found)])
    if as_json:
        say_json([_plain(one.motif, one.roots, one.nodes) for one in present])
    else:
        say(f"trial {trial}: {architecture}")
        for sort in ("good", "bad"):
            _say_motifs(sort, [one.motif for one in present if one.motif.mark == sort][:number], found)
    if out is not None:
        from xnas_ray.explain.cell_drawing import cell_figure, cell_info
        from xnas_ray.explain.drawing import save_figure

        figure = cell_figure(cell_info(graphs, found, number, title=f"trial {trial}: {architecture}"))
        _say_files(save_figure(figure, out, f"trial_{trial}"))


def _plain(motif: Motif, roots: Sequence[Any], nodes: Sequence[frozenset[Any]]) -> dict[str, Any]:
    facts = {name: getattr(motif, name) for name in ("id", "cell", "layer", "occurrence", "text", "effect", "mark")}
    return {**facts, "roots": roots, "nodes": [sorted(some, key=str) for some in nodes]}


def _say_files(paths: Sequence[Path]) -> None:
    note("wrote " + " and ".join(map(str, paths)))
