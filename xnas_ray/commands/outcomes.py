"""Commands that read and keep what was measured: results, best, export, verify, gc. None needs a running service."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import (
    byte_size,
    clean,
    duration,
    is_terminal,
    jsonable,
    note,
    say,
    say_json,
    say_table,
)
from xnas_ray.commands.options import AsJson, Root, SearchId
from xnas_ray.commands.searches import client_of, handle_of
from xnas_ray.errors import StoreError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle

FORMATS = ("table", "csv", "json", "parquet")
MAX_CELL = 100


# ---- results --------------------------------------------------------------------------------------------------------


@command(
    examples=[
        "xnas results latest --sort objective",
        "xnas results latest --front",
        "xnas results 01JD --out trials.parquet",
        "xnas results 01JD --format csv --sort flops > trials.csv",
    ]
)
def results(
    search_id: SearchId,
    root: Root = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(FORMATS), help="Default: what --out ends with, else a table."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a file.")] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="NAME", help="'objective' (best first), a metric or a column."),
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="Only the trials on the Pareto front of all of them.")] = False,
) -> None:
    """Print or write the finished trials of a search.

    With several objectives a star marks the Pareto front: of the feasible trials so far no other one is at least as
    good in all objectives and better in one. Generation and parents are shown where the controller has them; else the
    trial's number, which counts the proposals, says where it stands.
    """
    chosen = _format(format_name, out)
    handle = handle_of(root, search_id)
    objectives = objectives_of(handle)
    frame = _sorted(handle.results(front=front), sort, objectives)
    if out is not None:
        _write(frame, chosen, out)
        note(f"wrote {len(frame)} trials to {out}")
    elif chosen == "table":
        titles, rows = _table(frame, objectives)
        optional = [name for name in ("generation", "parents") if name in titles]
        say_table(titles, rows, limit=MAX_CELL, optional=optional)
    elif chosen == "json":
        say_json(frame.to_dict("records"))
    else:
        _printable(frame).to_csv(sys.stdout, index=False)


def objectives_of(handle: SearchHandle) -> list[dict[str, Any]]:
    """Objectives of a search: ``name``, ``maximize``, ``unit``."""
    return list(handle.card()["objectives"])


def _format(name: str | None, out: Path | None) -> str:
    if name is None:
        name = out.suffix.removeprefix(".") if out is not None else "table"
        if name not in FORMATS[1:] and out is not None:
            raise UnknownNameError(f"{out.name} does not tell its format.", field="--format", valid=FORMATS[1:])
    if name not in FORMATS:
        raise UnknownNameError("there is no such format.", field="--format", got=name, valid=FORMATS)
    if name == "parquet" and out is None:
        raise StoreError("Parquet is not for the terminal.", field="--out", fix="Name a file with --out.")
    if name == "table" and out is not None:
        raise StoreError("a table is for the terminal.", field="--format", valid=FORMATS[1:])
    return name


def _sorted(frame: pd.DataFrame, by: str | None, objectives: list[dict[str, Any]]) -> pd.DataFrame:
    """Sorted by a column or metric; objectives best first, everything else ascending, missing values last."""
    if by is None:
        return frame
    name = objectives[0]["name"] if by == "objective" else by
    column = next((c for c in (f"metric_{name}", name) if c in frame.columns), None)
    if column is None:
        metrics = [c.removeprefix("metric_") for c in frame.columns if c.startswith("metric_")]
        raise UnknownNameError(
            "there is no such metric or column.", field="--sort", got=by, valid=["objective", *metrics, *frame.columns]
        )
    descending = any(o["name"] == name and o["maximize"] for o in objectives)
    return frame.sort_values(column, ascending=not descending, kind="stable", na_position="last", ignore_index=True)


def _table(frame: pd.DataFrame, objectives: list[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    measured = [o["name"] for o in objectives if f"metric_{o['name']}" in frame.columns]
    columns: dict[str, list[object]] = {
        "trial": [int(number) for number in frame["trial"]],
        "status": list(frame["status"]),
        **{name: [float(value) for value in frame[f"metric_{name}"]] for name in measured},
    }
    if len(objectives) > 1:
        columns["front"] = ["*" if on else "" for on in frame["front"]]
    if frame["generation"].notna().any():
        columns["generation"] = frame["generation"].astype(object).where(frame["generation"].notna(), "").tolist()
    if any(frame["parents"]):
        columns["parents"] = [", ".join(map(str, parents)) for parents in frame["parents"]]
    columns["time"] = [duration(seconds) for seconds in frame["duration_s"]]
    columns["architecture"] = list(frame["architecture"])
    columns["failure"] = [_why_failed(row) for row in frame[["failure_kind", "failure_message"]].to_dict("records")]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _why_failed(row: dict[str, Any]) -> str:
    if not isinstance(row["failure_kind"], str):
        return ""
    return f"{row['failure_kind']}: {row['failure_message'] or ''}"


def _printable(frame: pd.DataFrame) -> pd.DataFrame:
    """Lists as JSON; on a terminal, texts that cannot control it."""
    frame = _flat(frame)
    if not is_terminal():
        return frame
    return frame.map(lambda cell: clean(cell) if isinstance(cell, str) else cell)


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Lists of numbers as JSON text, for formats that have none."""
    return frame.assign(**{name: [str(list(numbers)) for numbers in frame[name]] for name in ("genotype", "parents")})


def _write(frame: pd.DataFrame, chosen: str, out: Path) -> None:
    import json

    try:
        if chosen == "csv":
            _flat(frame).to_csv(out, index=False)
        elif chosen == "json":
            out.write_text(json.dumps(jsonable(frame.to_dict("records")), indent=2) + "\n", encoding="utf-8")
        else:
            lists = {name: [list(numbers) for numbers in frame[name]] for name in ("genotype", "parents")}
            frame.assign(**lists).to_parquet(out, index=False)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}.", field="--out") from error


def duckdb_query(root: Path, search_id: str, objective: dict[str, Any]) -> str:
    """SQL that shows the best trials of a search; each once, also while compaction has rows in two files."""
    parts = f"{root}/trials/search_id={search_id}/*.parquet".replace("'", "''")
    metric = f'"metric_{objective["name"]}"'
    order = "desc" if objective["maximize"] else "asc"
    return (
        f"select distinct trial, {metric}, architecture from read_parquet('{parts}', union_by_name = true) "
        f"where status = 'completed' order by 2 {order} limit 5"
    )


def duckdb_line(root: Path, search_id: str, objective: dict[str, Any]) -> str:
    """The same as a shell command."""
    return f"duckdb -c {shlex.quote(duckdb_query(root, search_id, objective))}"


# ---- best -----------------------------------------------------------------------------------------------------------


@command(examples=["xnas best latest", "xnas best 01JD -n 20 --json"])
def best(
    search_id: SearchId,
    root: Root = None,
    number: Annotated[int, typer.Option("-n", "--number", min=1, metavar="N", help="How many.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the best trials.

    Completed ones that satisfy the constraints, best first by the first objective. With several objectives a star
    marks the trials on the Pareto front: no other one is at least as good in all of them and better in one.
    """
    handle = handle_of(root, search_id)
    found = handle.best(number)
    if as_json:
        say_json(found)
    elif found:
        say_best(found)
    else:
        say("no completed trial that satisfies the constraints yet")


def say_best(found: list[dict[str, Any]]) -> None:
    """Print trials as ``SearchHandle.best`` gives them."""
    names = list(found[0]["objectives"])
    front = ["front"] if len(names) > 1 else []
    rows = [
        [
            one["trial"],
            *(float(one["objectives"][name]) for name in names),
            *(["*" if one["front"] else ""] if front else []),
            duration(one["duration_s"]),
            "kept" if one["weights"] else "",
            one["architecture"],
        ]
        for one in found
    ]
    say_table(["trial", *names, *front, "time", "weights", "architecture"], rows, limit=MAX_CELL)


# ---- export ---------------------------------------------------------------------------------------------------------


@command(examples=["xnas export latest 17 --out winner", "python winner/load.py"])
def export(
    search_id: SearchId,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Number of the trial, as `xnas best` shows it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A folder that does not exist yet.")],
    root: Root = None,
) -> None:
    """Write a trial's architecture, weights and a loader.

    architecture.json and recipe.json say what it is and how it was trained, weights.pt is the state dictionary if the
    search kept it, and load.py rebuilds the network: from load import load_network.
    """
    handle = handle_of(root, search_id)
    folder = handle.export(trial, out)
    say("\n".join(str(path) for path in sorted(folder.iterdir())))
    if not (folder / "weights.pt").exists():
        note("the weights of this trial were not kept: load.py builds the untrained network")


# ---- verify ---------------------------------------------------------------------------------------------------------


@command("verify", examples=["xnas verify latest"])
def verify_command(search_id: SearchId, root: Root = None, as_json: AsJson = False) -> None:
    """Derive every proposal of a search again from its rows.

    Exit code 1 when one differs from what was recorded.
    """
    found = handle_of(root, search_id).verify()
    mismatch = found["mismatch"]
    if as_json:
        say_json(found)
    elif mismatch is None:
        say(f"{found['equal']} proposals derived again from {found['tells']} outcomes: all equal")
    else:
        differs = f"trial {mismatch['trial']} differs in {mismatch['field']}"
        say(f"{found['equal']} of {found['asked']} proposals are equal; {differs}")
        say(f"  recorded: {mismatch['recorded']}\n  derived:  {mismatch['derived']}")
    if mismatch is not None:
        raise typer.Exit(1)


# ---- gc -------------------------------------------------------------------------------------------------------------


@command(examples=["xnas gc", "xnas gc --yes"])
def gc(
    root: Root = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    logs: Annotated[
        float, typer.Option("--logs", min=0, metavar="MIB", help="Keep so many MiB of logs of ended searches.")
    ] = 256,
    as_json: AsJson = False,
) -> None:
    """List, or remove, what the store no longer needs.

    That is: artifacts of ended searches that their keep_weights and keep_activations do not want, their logs where
    there are many, temporary files of writers that ended, task bundles that no search uses, and files that compaction
    replaced. No result is ever removed.
    """
    from xnas_ray.service.leftovers import find_leftovers, remove

    folder = client_of(root).folder
    found = find_leftovers(folder, logs_bytes=int(logs * 2**20))
    problems = remove(folder, found) if yes else []
    total = sum(one.bytes for one in found)
    if as_json:
        listed = [{"path": str(one.path), "bytes": one.bytes, "reason": one.reason} for one in found]
        say_json({"leftovers": listed, "bytes": total, "removed": yes, "problems": problems})
    else:
        rows = [(byte_size(one.bytes), one.reason, one.path.relative_to(folder)) for one in found]
        if rows:
            say_table(("size", "reason", "path"), rows)
        say(f"{len(found)} leftovers, {byte_size(total)}" + (" removed" if yes else ""))
        if found and not yes:
            note("remove them with: xnas gc --yes")
    for problem in problems:
        note(f"not removed: {problem}")
    if problems:
        raise typer.Exit(1)
