"""The command that makes the report: ``xnas report``. It needs no running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import byte_size, note, say
from xnas_ray.commands.options import Root
from xnas_ray.commands.searches import client_of


@command(
    examples=[
        "xnas report latest",
        "xnas report latest --out report.html --open",
        "xnas report 01JD 01JE 01JF --out compared.html",
        "xnas report latest --joint",
    ]
)
def report(
    search_ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Searches: ids, the first characters of them, or 'latest'."),
    ],
    root: Root = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: xnas_report_ID.html in this folder.")
    ] = None,
    joint: Annotated[
        bool, typer.Option("--joint", help="Only what made the architectures good: see docs/joint_explanations.md.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
) -> None:
    """Write the report of one or several searches.

    It is one HTML file, with several searches beside each other, and opens without a network: the Pareto front, best
    architectures, hypervolume, introspectability, motifs, lineage, workers and failures, and everything about each
    trial. A running service shows the same live: see docs/report.md.
    """
    client = client_of(root)
    path = client.report(search_ids, out, joint=joint)
    say(str(path))
    note(f"{byte_size(path.stat().st_size)}; it opens in any browser, without a network")
    if open_it:
        _show(path)


def _show(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.absolute().as_uri()):
        note("no browser could be started: open the file yourself")
