"""Writes the tables of settings in ``spec.md``: ``python docs/make_spec_table.py``.

The tables are made from ``SearchSpec`` and ``Recipe``; ``tests/test_docs.py`` compares the page with them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

from xnas_ray.spec import SearchSpec, spec_fields
from xnas_ray.training.recipe import Recipe

PAGE = Path(__file__).with_name("spec.md")
REQUIRED = ("task",)
BEGIN, END = "<!-- {name}: written by docs/make_spec_table.py -->", "<!-- end of {name} -->"
_ATTRIBUTE = re.compile(r"^(\w+): (.+)$")


def settings_table() -> str:
    """Every setting of a search: name, type, default and meaning."""
    whole = SearchSpec.from_mapping({"task": "digits"}).to_json()
    rows = [
        (f"`{name}`", _kind(kind), "required" if name in REQUIRED else _default(whole, name), description)
        for name, kind, _, description in spec_fields()
    ]
    return _table(("setting", "type", "default", "meaning"), rows)


def recipe_table() -> str:
    """Every setting of a recipe: name, default and meaning, the latter from the class's docstring."""
    meanings = _attributes(inspect.getdoc(Recipe) or "")
    rows = [
        (f"`{f.name}`", _toml(f.default), meanings[f.name].replace("``", "`").rstrip("."))
        for f in dataclasses.fields(Recipe)
    ]
    return _table(("setting", "default", "meaning"), rows)


TABLES = {"settings": settings_table, "recipe": recipe_table}


def render(page: str) -> str:
    """The page with both tables as they should be.

    Raises:
        ValueError: the page lacks the comments between which a table stands.
    """
    for name, make in TABLES.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} has no place for the table {name!r}: {begin} … {end}")
        page = f"{before}{begin}\n\n{make()}\n{end}{after}"
    return page


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _kind(kind: str) -> str:
    return ", ".join(f"`{word}`" for word in kind.split("|")) if "|" in kind else kind


def _default(whole: dict[str, Any], dotted: str) -> str:
    """The value of a specification that says nothing but its task; empty where that is nothing."""
    value: Any = whole
    for step in dotted.split("."):
        value = value.get(step) if value is not None else None
    return "" if value in (None, "", [], {}) else _toml(value)


def _toml(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _attributes(docstring: str) -> dict[str, str]:
    """Names and texts of the section ``Attributes``."""
    section = re.split(r"\n\n\w+:\n", docstring.partition("Attributes:\n")[2])[0]
    found: dict[str, str] = {}
    for line in inspect.cleandoc(section).splitlines():
        started = _ATTRIBUTE.match(line)
        if started:
            found[started[1]] = started[2]
        else:
            found[next(reversed(found))] += " " + line.strip()
    return {name: text.replace("``", "`").rstrip(".") for name, text in found.items()}


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
