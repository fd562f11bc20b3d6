"""``xnas finalize``: the last training of what a search found, and its figures on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.children import Children
from xnas_ray.commands.console import note, say, say_json, say_table
from xnas_ray.commands.options import AsJson, Root, SearchId
from xnas_ray.commands.searches import handle_of
from xnas_ray.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle

SUMMARY = "finalists.csv"


@command(
    examples=[
        "xnas finalize latest",
        "xnas finalize 01JD --seeds 5 --epochs 200 --out front",
        "xnas finalize 01JD --trials 3,17 --gpus 4",
        "xnas finalize 01JD --distill-from-largest --out winners",
    ]
)
def finalize(
    search_id: SearchId,
    root: Root = None,
    trials: Annotated[
        str | None, typer.Option("--trials", metavar="N,N,…", help="Which. Default: the Pareto front, or the best.")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, metavar="N", help="At most the best N, by the first objective.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="Trainings of each.")] = 3,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, metavar="N", help="Default: the task's, or the search's schedule.")
    ] = None,
    cpus: Annotated[float | None, typer.Option("--cpus", metavar="NUMBER", help="CPUs of one worker.")] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus", metavar="NUMBER", help="GPUs of one training; above 1 they share batches.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, metavar="N", help="Trainings at once.")] = None,
    distil: Annotated[
        bool,
        typer.Option("--distill-from-largest", help="Then train all once more, taught by the one with the most FLOPs."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write the table and every trained network there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the best of a search anew and test them.

    Each architecture is trained with several seeds on the train and the validation split together, and measured on the
    test split after its last epoch. This is a search of its own: it can be stopped and resumed by the same command, and
    the same command once more prints what it found. Without a running service one is started here.

    With --distill-from-largest a second search follows: the same trainings, but that all also imitate what the largest
    of them, by FLOPs, has learnt in the first one; itself included. Labels alone and taught are shown side by side.
    """
    from xnas_ray.service.distilled import check_untaught

    handle = handle_of(root, search_id)
    given = {"cpus": cpus, "gpus": gpus, "workers": workers}
    resources = {name: value for name, value in given.items() if value is not None}
    spec, key = handle.finalists_spec(
        trials=None if trials is None else _numbers(trials),
        top=top,
        seeds=seeds,
        epochs=epochs,
        untaught=distil,
        **resources,
    )
    if distil:
        check_untaught(handle.card())
    if not handle.client.store.ended(handle.id):
        note(f"search {handle.id} has not ended: these are its finalists so far")
    if out is not None:
        from xnas_ray.service.export import prepare_folder

        prepare_folder(out)
    with Children(handle) as children:
        found = children.train(spec, key)
        students = children.train(*found.distilled_spec(**resources)) if distil else None
    frame = found.finalists() if students is None else students.finalists(beside=found)
    if out is not None:
        _write(frame, out, {"": found} if students is None else {"": found, "-distilled": students})
    if as_json:
        also = {} if students is None else {"distilled_search_id": students.id}
        say_json({"search_id": found.id, **also, "finalists": frame.to_dict("records")})
    else:
        taught = "" if students is None else f"; distilled from the one marked * by search {students.id}"
        say(f"finalists of {handle.id}, trained by search {found.id}{taught}")
        say_table(*_table(frame, handle.card()["objectives"]), limit=100)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SpecError(f"{text!r} is no list of trials.", field="--trials", fix="Write it like 3,17.") from None


# ---- what is shown --------------------------------------------------------------------------------------------------


def _table(frame: pd.DataFrame, objectives: list[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Objectives as the search measured them, then what the trainings gave, on labels and taught: mean and spread."""
    from xnas_ray.objectives.names import measured_name
    from xnas_ray.service.distilled import STUDENTS

    searched = [o["name"] for o in objectives]
    fixed = {"flops", "params", "latency_table_ms"}
    tested = [name for name in (measured_name(one, "test") for one in searched) if name not in fixed]
    tested = [one for name in tested for one in (name, STUDENTS + name) if one in frame.columns]
    groups = ["", STUDENTS] if f"{STUDENTS}seeds" in frame.columns else [""]
    rows = [
        [
            f"{int(row['trial'])}{'*' if row.get('teacher') else ''}",
            *(float(row[f"searched_{name}"]) for name in searched),
            *(_spread(row[name], row[f"{name}_std"]) for name in tested),
            " + ".join(str(int(row[f"{group}seeds"])) for group in groups),
            sum(int(row[f"{group}failed"]) for group in groups) or "",
            row["architecture"],
        ]
        for row in frame.to_dict("records")
    ]
    titles = [*(f"searched {name}" for name in searched), *(name.replace(STUDENTS, "distilled ") for name in tested)]
    return ["trial", *titles, "seeds", "failed", "architecture"], rows


def _spread(mean: float, deviation: float) -> str:
    if mean != mean:
        return ""
    return f"{mean:.4g}" if deviation != deviation else f"{mean:.4g} ± {deviation:.2g}"


def _write(frame: pd.DataFrame, out: Path, searches: Mapping[str, SearchHandle]) -> None:
    """The table, and a folder a trained network (see ``xnas export``), its name ending in the key of its search."""
    import json

    frame.to_csv(out / SUMMARY, index=False)
    for ending, found in searches.items():
        for row in found.results().to_dict("records"):
            if row["status"] == "completed":
                name = f"trial-{json.loads(row['origin'])['finalist']}-seed-{int(row['replicate'])}{ending}"
                found.export(int(row["trial"]), out / name)
    note(f"wrote {out}")
