"""Commands about what can be searched: validate, spaces, controllers, tasks, table."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from xnas_ray.commands.application import app, command
from xnas_ray.commands.console import note, say, say_json, say_table
from xnas_ray.commands.options import AsJson, SpecFile, spec_source

Pattern = Annotated[str, typer.Argument(metavar="PATTERN", help="A shell pattern such as 'nas*'.", show_default=False)]


# ---- validate -------------------------------------------------------------------------------------------------------


@command(examples=["xnas validate spec.toml", "xnas validate --task digits --trials 64 --json"], with_spec=True)
def validate(spec: SpecFile = None, as_json: AsJson = False, *, overrides: dict[str, Any]) -> None:
    """Check a specification without running it.

    Every name is looked up, the task's files are imported, its data are loaded for their shapes, and a controller is
    constructed. What is printed is TOML that reproduces the search; a missing seed is drawn.
    """
    from xnas_ray.service.resolve import resolve
    from xnas_ray.spec_forms import as_spec
    from xnas_ray.tasks.bundle import bundle_task
    from xnas_ray.tasks.finding import find_task

    checked = as_spec(spec_source(spec, overrides), overrides)
    with tempfile.TemporaryDirectory(prefix="xnas-validate-") as folder:
        bundle = bundle_task(find_task(checked.task), folder)
        search = resolve(Path(folder), checked, bundle.hash)
        resolved, size = search.spec.to_json(), search.space.size
        named = {**search.task.problem.recipe, **checked.recipe}
        resolved["recipe"] |= {"teacher": named.get("teacher", "")}  # not its copy, which goes with the folder
    if as_json:
        say_json({"spec": resolved, "task_hash": bundle.hash, "genotypes": size})
        return
    for name, value in flat(resolved):
        say(f"{name} = {value}")
    note(f"valid: task {bundle.name} ({bundle.hash}), {size:,} genotypes")


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as dotted TOML keys and values; nulls and empty tables are left out."""
    from xnas_ray.spec import toml_value

    found: list[tuple[str, str]] = []
    for name, inner in value.items():
        key = prefix + (name if name.replace("_", "a").replace("-", "a").isalnum() else json.dumps(name))
        if isinstance(inner, dict):
            found += flat(inner, f"{key}.")
        elif inner is not None:
            found.append((key, toml_value(inner)))
    return found


# ---- lists ----------------------------------------------------------------------------------------------------------


@command(examples=["xnas spaces", "xnas spaces 'nas*'"])
def spaces(pattern: Pattern = "*", as_json: AsJson = False) -> None:
    """List the registered search spaces."""
    from xnas_ray.spaces.registry import SPACES

    rows = []
    for name in SPACES.names(pattern):
        kind = SPACES.get(name)
        rows.append(
            {"name": name, "genotypes": _size(kind), "parameters": _parameters(kind, ()), "description": _doc(kind)}
        )
    _list(rows, as_json)


def _size(kind: Any) -> int | None:
    """Number of genotypes with default parameters; None where the space needs some."""
    try:
        return int(kind().size)
    except TypeError:
        return None


@command(examples=["xnas controllers"])
def controllers(pattern: Pattern = "*", as_json: AsJson = False) -> None:
    """List the registered controllers and their parameters."""
    from xnas_ray.controllers.registry import CONTROLLERS

    rows = []
    for name in CONTROLLERS.names(pattern):
        kind = CONTROLLERS.get(name)
        rows.append({"name": name, "parameters": _parameters(kind, ("seed", "horizon")), "description": _doc(kind)})
    _list(rows, as_json)


@command(examples=["xnas tasks"])
def tasks(pattern: Pattern = "*", as_json: AsJson = False) -> None:
    """List the tasks: those in ./experiments and shipped ones."""
    import fnmatch

    from xnas_ray.tasks.finding import list_tasks

    found = list_tasks()
    rows = [
        {"name": name, "folder": str(found[name]), "description": _module_doc(found[name] / "problem.py")}
        for name in fnmatch.filter(found, pattern)
    ]
    _list(rows, as_json)


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        say_json(rows)
    elif rows:
        say_table(list(rows[0]), [list(row.values()) for row in rows])
    else:
        say("none")


def _parameters(kind: Any, given: Iterable[str]) -> str:
    """Keyword parameters of a constructor with their defaults, without those that the service gives."""
    named = [p for p in inspect.signature(kind).parameters.values() if p.kind == p.KEYWORD_ONLY and p.name not in given]
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in named)


def _doc(kind: Any) -> str:
    return _first_line(inspect.getdoc(kind))


def _module_doc(path: Path) -> str:
    """First line of a file's docstring; the file is not run."""
    import ast

    try:
        return _first_line(ast.get_docstring(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return "(problem.py cannot be read)"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


# ---- table ----------------------------------------------------------------------------------------------------------

table_app = typer.Typer(rich_markup_mode=None, help="Benchmark tables: trials without training.")
app.add_typer(table_app, name="table")


@command(
    "import",
    group=table_app,
    examples=[
        "xnas table import NAS-Bench-201-v1_1-096897.pth --out nasbench201.parquet",
        "xnas table import nasbench_only108.tfrecord --kind nasbench101 --out nasbench101.parquet",
    ],
)
def table_import(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The benchmark's official file or folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The Parquet table to write.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="NAME", help="nasbench201, natsbench or nasbench101; default: told by its name."
        ),
    ] = None,
) -> None:
    """Convert a benchmark's official files into one table.

    Pickles in them are read as plain data only; the table is a Parquet file.
    """
    from xnas_ray.benchmarks.importers import import_table

    report = import_table(source, kind, out)
    say(str(report.out))
    missing = f", {report.incomplete} of them incomplete" if report.incomplete else ""
    note(f"{report.kind}: {report.rows:,} architectures{missing}, {len(report.columns)} columns")
