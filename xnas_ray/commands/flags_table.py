"""Writes ``xnas_ray/spec_flags.py``: ``python -m xnas_ray.commands.flags_table``.

The table is static so that ``xnas --help`` need not import pydantic; a test compares it with the specification.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "spec_flags.py"
LEFT_OUT = ("schema_version",)  # says how a file is to be read; a flag has nothing to say about that
WHOLE_PARTS = ("space", "controller")  # --space NAME stands for --space.name NAME

_HEAD = '''"""Every setting of a search as a flag; written by ``python -m xnas_ray.commands.flags_table``."""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """One setting.

    Attributes:
        name: dotted name; ``--<name>`` is its flag.
        alias: a shorter flag and keyword, ``""`` when there is none.
        kind: its type in words.
        help: what it means.
    """

    name: str
    alias: str
    kind: str
    help: str


SPEC_FLAGS: tuple[Flag, ...] = (
'''


def render() -> str:
    """The text of the module, as ruff formats it."""
    from xnas_ray.spec import spec_fields

    rows = [(name, kind, text) for name, kind, _, text in spec_fields() if name not in LEFT_OUT]
    uses = Counter(_last(name) for name, _, _ in rows)
    lines = [_HEAD]
    for name, kind, text in rows:
        entry = (name, _alias(name, uses), kind, text)
        lines.append("    Flag(\n" + "".join(f"        {_quoted(value)},\n" for value in entry) + "    ),\n")
    return "".join([*lines, ")\n"])


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _alias(name: str, uses: Counter[str]) -> str:
    part, _, last = name.rpartition(".")
    if part in WHOLE_PARTS and last == "name":
        return part
    return last if part and uses[last] == 1 else ""


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
