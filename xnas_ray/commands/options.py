"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xnas_ray.errors import SpecError

FINISHED, PAUSED = "finished", "paused"
"""Values of ``messages.SearchState``, whose module takes longer to import than all of the command line."""

Root = Annotated[
    Path | None,
    typer.Option(
        "--root", metavar="PATH", help="The store. Default: the environment variable XNAS_STORE, else ./results."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SearchId = Annotated[
    str, typer.Argument(metavar="ID", help="A search: its id, the first characters of it, or 'latest'.")
]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Give up after that long.")]
SpecFile = Annotated[
    Path | None,
    typer.Argument(metavar="SPEC.toml", help="The search; without a file the flags say it all."),
]


def spec_source(spec: Path | None, overrides: Mapping[str, Any]) -> Any:
    """What the specification is read from: a file, or the flags alone.

    Raises:
        SpecError: neither a file nor a task is given.
    """
    if spec is None and "task" not in overrides:
        raise SpecError("give a TOML file, or at least --task.", field="SPEC", fix="`xnas tasks` lists the tasks.")
    return {} if spec is None else spec
