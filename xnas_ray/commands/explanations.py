"""The command that says why: ``xnas explain``. It needs no running service, but asks one about a search that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import say
from xnas_ray.commands.explanation_tables import explain_kind, explain_kinds
from xnas_ray.commands.joint import say_joint
from xnas_ray.commands.motifs import EFFECTS, MOTIFS, effects_on_first, explain_motifs
from xnas_ray.commands.options import AsJson, Root, SearchId
from xnas_ray.commands.search_model import explain_model
from xnas_ray.commands.searches import handle_of
from xnas_ray.commands.tree_explanations import explain_tree
from xnas_ray.commands.tree_known import About, trials_with_trees
from xnas_ray.errors import ExplanationError

if TYPE_CHECKING:
    from xnas_ray.search_handle import SearchHandle

WHOLE = {
    "--joint": "its figures are in `xnas report ID --joint`",
    "--model": "it has no picture",
    "--kind": "a table has no picture",
}
"""What is of a whole search, and why it is not drawn."""


@command(
    examples=[
        "xnas explain latest",
        "xnas explain latest --motifs --out figures",
        "xnas explain latest 17 --motifs",
        "xnas explain latest --joint",
        "xnas explain latest --model",
        "xnas explain latest --kind introspectability_layers --json",
        "xnas explain latest 17 --tree --out figures",
        "xnas explain latest 17 --unseen cifar100",
        "xnas explain latest 17 --unseen mnist --hypothesis 0=1+7,0+6+8",
    ]
)
def explain(
    search_id: SearchId,
    trial: Annotated[
        int | None, typer.Argument(metavar="TRIAL", help="The trial that --motifs or --tree is about.")
    ] = None,
    motifs: Annotated[
        bool, typer.Option("--motifs", help="Parts of architectures that help or harm; with TRIAL those that it has.")
    ] = False,
    joint: Annotated[
        bool,
        typer.Option("--joint", help="Whether motifs, introspectability, influence and decision trees agree."),
    ] = False,
    model: Annotated[
        bool,
        typer.Option("--model", help="How well the search's model predicts, and what it took from other searches."),
    ] = False,
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="A stored table as it is, such as strengths.")
    ] = "",
    tree: Annotated[bool, typer.Option("--tree", help="The decision tree of TRIAL.")] = False,
    unseen: Annotated[
        str | None,
        typer.Option("--unseen", metavar="TASK", help="--tree, and what its nodes stand for on classes of this task."),
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
            help="What a node's children stand for: words of WordNet or classes of --unseen, joined by +; repeatable.",
        ),
    ] = None,
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, metavar="N", help="Most rows of each sort that are printed.")
    ] = 5,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Also draw motifs or the tree, as SVG and PNG; its tables too."),
    ] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Show why architectures are good.

    Ask for one of --motifs, --joint, --model, --kind and --tree. Without any you see the motifs that the search's
    controller has learnt; where it learns none, every table there is, or with TRIAL its decision tree.

    Motifs are small trees of operations. The change is what a further occurrence is worth according to the search's
    model, +- its uncertainty; the interval is over the architectures that have the motif.

    A decision tree says what a network decides first and what next, and which samples are ambiguous to it. Searches
    have them with an objective such as nbdt_gap.
    """
    about = About(unseen, tuple(data or ()), tuple(hypothesis or ()))
    views = {
        "--motifs": motifs,
        "--joint": joint,
        "--model": model,
        "--kind": bool(kind),
        "--tree": tree or bool(about),
    }
    asked = _only([name for name, given in views.items() if given], trial, out)
    handle = handle_of(root, search_id)
    if asked == "--tree":
        explain_tree(handle, trial, about, number=number, out=out, as_json=as_json)
    elif asked == "--kind":
        explain_kind(handle, kind, as_json)
    elif asked == "--joint":
        say_joint(handle, number, as_json)
    elif asked == "--model":
        explain_model(handle, as_json)
    else:
        _explain_motifs(handle, trial, asked, number, out, as_json)


def _only(asked: list[str], trial: int | None, out: Path | None) -> str:
    """The one thing that is asked for, ``""`` without any; refuses two, and what does not go with it."""
    if len(asked) > 1:
        raise ExplanationError(f"{' and '.join(asked)} are different things.", fix="Ask for one of them at a time.")
    one = asked[0] if asked else ""
    if one in WHOLE and trial is not None:
        raise ExplanationError(f"{one} is of a whole search.", field="TRIAL", fix="Leave it out.")
    if one in WHOLE and out is not None:
        raise ExplanationError(f"{one} is not drawn: {WHOLE[one]}.", field="--out", fix="Leave it out.")
    return one


def _explain_motifs(
    handle: SearchHandle, trial: int | None, asked: str, number: int, out: Path | None, as_json: bool
) -> None:
    """Motifs, or what a search without a model of them has instead if they were not asked for by name."""
    try:
        found = handle.explanations(MOTIFS)
    except ExplanationError as error:
        if trial is not None and not asked and trial in trials_with_trees(handle):
            return explain_tree(handle, trial, About(), number=number, out=out, as_json=as_json)
        if trial is None and not asked and out is None and error.valid:
            explain_kinds(handle, error.valid, number, as_json)
            return None if as_json else _mention_trees(handle)
        if EFFECTS not in error.valid:
            raise _no_motifs(handle) from error
        found = effects_on_first(handle)
    return explain_motifs(handle, trial, found, number=number, out=out, as_json=as_json)


def _mention_trees(handle: SearchHandle) -> None:
    line = _tree_line(handle)
    if line:
        say(f"\ndecision trees of its trials: {line}")


def _tree_line(handle: SearchHandle) -> str:
    """The command that shows a tree of the search, of its best trial where it has one; ``""`` without any."""
    trees = trials_with_trees(handle)
    best = [one["trial"] for one in handle.best(1) if one["trial"] in trees]
    return f"xnas explain {handle.id} {best[0] if best else min(trees)}" if trees else ""


def _no_motifs(handle: SearchHandle) -> ExplanationError:
    from xnas_ray.explain.operation_effects import LEAST

    controller = handle.card()["spec"]["controller"]["name"]
    line = _tree_line(handle)
    return ExplanationError(
        f"search {handle.id} has no motifs: its controller {controller!r} learns none, and its trials tell of them "
        f"only where at least {LEAST} architectures that differ have every objective.",
        fix="Extend it (`xnas extend`), or search with --controller nasbowl; with --reuse completed that takes these "
        f"results over.{f' Decision trees: `{line}`.' if line else ''}",
    )
