"""The application ``xnas``, and the decorator by which a function becomes one of its commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from xnas_ray.commands.console import set_debug
from xnas_ray.errors import SpecError
from xnas_ray.spec_flags import SPEC_FLAGS, Flag

app = typer.Typer(
    name="xnas",
    help="A queue of neural-architecture searches that explain themselves, on Ray and Slurm.",
    epilog="xnas COMMAND --help explains a command, with examples.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, the value as in TOML; repeatable."),
]

_SET = "set_"
_METAVARS = {"text": "TEXT", "whole number": "N", "number": "NUMBER", "list": "TEXT", "table": "KEY=VALUE"}


def command(
    name: str | None = None, *, examples: Sequence[str] = (), with_spec: bool = False, group: typer.Typer = app
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: register a function as a command with ``--debug`` and examples in its help.

    Args:
        name: of the command, by default the function's.
        examples: command lines.
        with_spec: also give it one flag for every setting of a search and ``--set``; what was given arrives as the
            keyword ``overrides``, dotted names to values.
        group: where; the application itself by default.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        given = inspect.signature(function, eval_str=True)
        parameters = [p for p in given.parameters.values() if not (with_spec and p.name == "overrides")]
        flags = {_parameter_name(flag): flag for flag in SPEC_FLAGS} if with_spec else {}
        if with_spec:
            parameters += [_option(name, _annotation(flag)) for name, flag in flags.items()] + [_option(_SET, _Set)]
        parameters.append(_option("debug", _Debug, default=False))

        @functools.wraps(function)
        def called(**values: Any) -> None:
            set_debug(values.pop("debug"))
            if with_spec:
                values["overrides"] = _overrides(
                    {flag.name: (flag, values.pop(name)) for name, flag in flags.items()}, values.pop(_SET) or []
                )
            function(**values)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        shown = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
        group.command(name, epilog=shown)(called)
        return function

    return register


def _option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


# ---- settings of a search as flags -----------------------------------------------------------------------------------


def _parameter_name(flag: Flag) -> str:
    return "spec_" + flag.name.replace(".", "_")


def _annotation(flag: Flag) -> Any:
    """The option of a setting; values stay text, so that the specification itself checks them and names the field."""
    names = dict.fromkeys(n for n in (flag.name, flag.alias, flag.alias.replace("_", "-")) if n)
    if not flag.alias:
        names[flag.name.replace("_", "-")] = None
    if flag.kind == "true|false":
        spelled = [f"--{n}/--no-{n}" for n in names]
        return Annotated[bool | None, typer.Option(*spelled, help=flag.help, show_default=False)]
    option = typer.Option(*(f"--{n}" for n in names), metavar=_METAVARS.get(flag.kind, flag.kind), help=_help(flag))
    repeatable = flag.kind in ("list", "table")
    return Annotated[list[str] | None, option] if repeatable else Annotated[str | None, option]


def _help(flag: Flag) -> str:
    return f"{flag.help}; repeatable" if flag.kind in ("list", "table") else flag.help


def _overrides(given: Mapping[str, tuple[Flag, Any]], assignments: Sequence[str]) -> dict[str, Any]:
    """Dotted names to values; ``--set`` comes before a flag of the same setting."""
    found = dict(parse_assignment(text, "--set") for text in assignments)
    for name, (flag, value) in given.items():
        if value is None or value == []:
            continue
        if flag.kind == "table":
            pairs = (parse_assignment(text, f"--{name}") for text in value)
            found |= {f"{name}.{key}": inner for key, inner in pairs}
        else:
            found[name] = value
    return found


def parse_assignment(text: str, flag: str) -> tuple[str, Any]:
    """``"budget.trials=64"`` as name and value; what is no TOML value is text.

    Raises:
        SpecError: there is no ``=``, or nothing before it.
    """
    import tomllib

    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SpecError(f"{text!r} is not KEY=VALUE.", field=flag, fix=f"Write it like {flag} name=value.")
    try:
        parsed = tomllib.loads(f"value = {written}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return key, written.strip()
    return key, parsed["value"] if len(parsed) == 1 else written.strip()
