"""The command ``xnas similarities``: how alike the classes of a data set are. It needs no service and no store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xnas_ray.commands.application import command, parse_assignment
from xnas_ray.commands.console import MAX_WIDTH, clean, nearby, note, say, say_drawn, say_json, table
from xnas_ray.commands.options import AsJson
from xnas_ray.errors import SpecError

if TYPE_CHECKING:
    from xnas_ray.explain.similarities import Similarities
    from xnas_ray.explain.wordnet import WordNet

_SHOWN = 30
"""Most pairs that are printed; ``--json`` and ``--out`` have all."""


@command(
    examples=[
        "xnas similarities beagle tabby n02691156 crane:5",
        "xnas similarities bird=crane:5 machine=crane:4 --measure wup --out weights.csv",
        "xnas similarities --task cifar10 --drawing tree.svg",
        "xnas similarities --task cifar10 --measure wup --out weights.csv",
    ]
)
def similarities(
    classes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CLASS",
            help="A wnid (n02084071), a noun, or a noun with its sense (crane:5); NAME=CLASS calls it NAME.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="The classes of this task.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="KEY=VALUE", help="What the task's load_data() is asked for; repeatable."),
    ] = None,
    measure: Annotated[
        str, typer.Option("--measure", metavar="NAME", help="What --out writes: path, lch or wup.")
    ] = "path",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write weights there: .csv, .parquet or .npy.")
    ] = None,
    drawing: Annotated[
        Path | None, typer.Option("--drawing", metavar="FILE", help="Draw what they are kinds of, as SVG and PNG.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how alike classes are, by WordNet.

    Of every pair: the steps between them in the graph of their hypernyms, and the similarities path, lch (Leacock &
    Chodorow) and wup (Wu & Palmer). The weights are for the objective introspectability_weighted.
    """
    from xnas_ray.explain.similarities import MEASURES, class_similarities, write_matrix
    from xnas_ray.explain.wordnet import find_wordnet

    if measure not in MEASURES:
        raise SpecError(f"there is no measure {measure!r} for weights.", field="--measure", got=measure, valid=MEASURES)
    if (task is None) == (not classes):
        raise SpecError("give classes or a task.", field="CLASS", fix="Such as beagle tabby, or --task cifar10.")
    given, names = _classes_of(task, data or []) if task is not None else _named(classes or [])
    if len(given) < 2:
        raise SpecError("a pair needs two classes.", field="CLASS", fix="Give another one.")
    wordnet = find_wordnet()
    found = class_similarities(wordnet, given, names)
    if as_json:
        _say_json(found)
    else:
        _say(found)
    if out is not None:
        write_matrix(out, found.matrices[measure], found.names)
        note(f"weights ({measure}): {nearby(out.resolve())}")
    if drawing is not None:
        _draw(wordnet, found, drawing)


def _named(texts: list[str]) -> tuple[list[str], list[str]]:
    """What WordNet is asked for, and what it is called."""
    parts = [text.rpartition("=") for text in texts]
    return [what for _, _, what in parts], [name or what for name, _, what in parts]


def _classes_of(task: str, asked: list[str]) -> tuple[list[str], list[str]]:
    """What WordNet is asked for, and what the task calls its classes."""
    from xnas_ray.tasks.loading import load_task

    data = load_task(task).load_data(**dict(parse_assignment(text, "--data") for text in asked))
    if data.classes is None:
        raise SpecError(f"task {task!r} is a regression.", field="--task", fix="Name a task with classes.")
    return list(data.wnids or data.classes), list(data.classes)


def _say(found: Similarities) -> None:
    pairs = found.pairs
    if len(pairs) > _SHOWN:
        say(f"the {_SHOWN} most alike of {len(pairs):,} pairs")
        pairs = pairs.sort_values("path", ascending=False, kind="stable").head(_SHOWN)
    rows = (
        (clean(r.first), clean(r.second), int(r.distance), float(r.path), float(r.lch), float(r.wup))
        for r in pairs.itertuples(index=False)
    )
    say_drawn(table(("first", "second", "distance", "path", "lch", "wup"), rows, width=MAX_WIDTH))
    for method in ("pearson", "spearman"):
        matrix = found.correlations(method)
        say(f"\n{method.title()} correlation over the pairs")
        titles = ("", *matrix.columns)
        say_drawn(table(titles, [(n, *(f"{v:.3f}" for v in matrix.loc[n])) for n in matrix.index]))


def _say_json(found: Similarities) -> None:
    say_json(
        {
            "classes": [{"name": n, "wnid": s.wnid} for n, s in zip(found.names, found.synsets, strict=True)],
            "pairs": found.pairs.to_dict("records"),
            **{method: found.correlations(method).to_dict() for method in ("pearson", "spearman")},
        }
    )


def _draw(wordnet: WordNet, found: Similarities, path: Path) -> None:
    from xnas_ray.explain.drawing import save_figure
    from xnas_ray.explain.hypernym_drawing import hypernym_figure, hypernym_info

    figure = hypernym_figure(hypernym_info(wordnet, found.synsets, found.names))
    drawn = save_figure(figure, path.resolve().parent, path.stem)
    note("drawing: " + " and ".join(str(nearby(file)) for file in drawn))
