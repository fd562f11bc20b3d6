"""The Slurm parameters as flags of commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xnas_ray.slurm.parameters import describe

SHORT = {"nodes": "-N", "partition": "-p", "reservation": "-r", "reservation_nodes": "-n"}
"""Letters of some parameters; -t, -s, -r and -n are those of XNAS' own submit_job.sh."""

_METAVARS = {"text": "TEXT", "whole number": "N", "number": "NUMBER", "list": "TEXT"}


def with_parameters(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator: give a command one flag for every Slurm parameter; they arrive as the keyword ``given``."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "given"]
    flags = {f"slurm_{name}": name for name, *_ in describe()}

    @functools.wraps(function)
    def called(**values: Any) -> None:
        given = {name: values.pop(parameter) for parameter, name in flags.items()}
        function(**values, given=given)

    options = [_option(name, kind, text) for name, kind, _, text in describe()]
    last = [p for p in own if p.name == "overrides"]  # the decorator of commands looks for it
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p for p in own if p.name != "overrides"] + options + last
    )
    return called


def _option(name: str, kind: str, text: str) -> inspect.Parameter:
    flag = "--" + name.replace("_", "-")
    names = (flag, *filter(None, (SHORT.get(name),)))
    if kind == "true|false":
        switch = f"{flag}/--no-{name.replace('_', '-')}"
        annotation: Any = Annotated[bool | None, typer.Option(switch, help=text, show_default=False)]
    elif kind == "list":
        annotation = Annotated[list[str] | None, typer.Option(*names, metavar="TEXT", help=f"{text}; repeatable")]
    else:  # as text: the parameters themselves check it and name the field
        annotation = Annotated[str | None, typer.Option(*names, metavar=_METAVARS[kind], help=text)]
    return inspect.Parameter(f"slurm_{name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
