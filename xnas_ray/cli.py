"""``xnas``: the command line. Each command lives in ``xnas_ray.commands``; here they meet and errors end."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer import TyperException

import xnas_ray
from xnas_ray.commands.application import app
from xnas_ray.commands.console import reset_debug, set_debug, show_error
from xnas_ray.errors import XnasError

OK, UNEXPECTED, WRONG_INPUT = 0, 1, 2
# The order in which help lists their commands.
for _family in (
    "run",
    "searches",
    "outcomes",
    "finalize",
    "design",
    "explanations",
    "similarities",
    "latency_table",
    "report",
    "logs",
    "plugins",
    "doctor",
    "slurm",
):
    importlib.import_module(f"xnas_ray.commands.{_family}")


_UsageError: type[TyperException] = typer.BadParameter.__mro__[1]
"""What every mistake in a command line is; typer makes only this subclass of it public."""


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"xnas-ray {xnas_ray.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    set_debug(debug)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code: 0, 1 for what nobody expected, 2 for wrong input.

    Errors are one or a few lines on standard error, without a traceback unless ``--debug`` is given.
    """
    reset_debug()
    try:
        code = typer.main.get_command(app)(args=list(arguments) or ["--help"], prog_name="xnas", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except XnasError as error:
        show_error(error)
        return WRONG_INPUT
    except _UsageError as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "xnas")
        show_error(error, text=error.format_message(), hint=f"See: {command} --help")
        return WRONG_INPUT
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # whoever read the output has enough; let the final flush succeed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED
    except Exception as error:
        show_error(error, hint="This was not expected: run the command again with --debug to see where it happened.")
        return UNEXPECTED


def main() -> None:
    """Entry point of ``xnas``."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(execute(sys.argv[1:]))
