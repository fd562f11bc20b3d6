"""The field's text of two cells, ``Genotype(normal=[('sep_conv_3x3', 0), …], …)``: written, and read without eval."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from xnas_ray.errors import GenotypeError

Term = tuple[str, int]
"""(operation, input): inputs 0 and 1 are the cell's, the others its nodes, from 2."""

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
MAX_CHARACTERS = 2_000
MAX_NODES = 100
_EXAMPLE = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), …], normal_concat=range(2, 6), reduce=[…], …)"


def format_cells(normal: Sequence[Term], reduction: Sequence[Term]) -> str:
    """The text of a normal and a reduction cell, two terms a node, all nodes joined."""
    shown = []
    for name, terms in (("normal", normal), ("reduce", reduction)):
        inner = ", ".join(f"({operation!r}, {source})" for operation, source in terms)
        shown.append(f"{name}=[{inner}], {name}_concat=range(2, {2 + len(terms) // 2})")
    return f"Genotype({', '.join(shown)})"


def parse_cells(text: str, nodes: int, operations: Sequence[str]) -> tuple[list[Term], list[Term]]:
    """The terms of the normal and the reduction cell.

    The text is parsed as Python and read as a tree: names, calls and anything but plain texts and numbers are refused,
    except ``Genotype(...)`` itself and ``range(...)`` for the nodes that are joined.

    Args:
        text: fields by name in any order, or by position in the order of ``FIELDS``.
        nodes: how many nodes each cell has, all of which must be joined.
        operations: valid names.

    Raises:
        GenotypeError: naming the field and what is wrong with it.
    """
    fields = _fields(text)
    found = []
    for name in ("normal", "reduce"):
        terms = [_term(item, name, operations) for item in _items(fields[name], name)]
        if len(terms) != 2 * nodes:
            raise _malformed(f"{name} has {len(terms)} operations, a cell has {nodes} nodes with two each.")
        joined = _joined(fields[f"{name}_concat"], f"{name}_concat")
        if sorted(joined) != list(range(2, 2 + nodes)):
            raise _malformed(f"{name}_concat is {joined}, a cell of this space joins its nodes 2 to {1 + nodes}.")
        found.append(terms)
    return found[0], found[1]


def _fields(text: str) -> dict[str, ast.expr]:
    """What each field of the call is given."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise _malformed(f"an architecture is a text of at most {MAX_CHARACTERS:,} characters.")
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _malformed(f"{_short(text)} cannot be read: {type(error).__name__}.") from None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise _malformed(f"{_short(text)} is no Genotype(...).")
    given = dict(zip(FIELDS, call.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    if sorted(given) != sorted(FIELDS) or len(call.args) + len(call.keywords) != len(FIELDS):
        raise _malformed(f"it must have each of {', '.join(FIELDS)} once.")
    return given


def _items(value: ast.expr, name: str) -> list[ast.expr]:
    if not isinstance(value, (ast.List, ast.Tuple)):
        raise _malformed(f"{name} must be a list.")
    return value.elts


def _term(item: ast.expr, name: str, operations: Sequence[str]) -> Term:
    """One ``('sep_conv_3x3', 0)``."""
    parts = [part.value for part in _items(item, f"each part of {name}") if isinstance(part, ast.Constant)]
    if len(parts) != 2 or not isinstance(parts[0], str) or type(parts[1]) is not int:
        raise _malformed(f"{name} has {_short(ast.unparse(item))}, it must be an operation and an input.")
    if parts[0] not in operations:
        raise GenotypeError(f"unknown operation in {name}.", field="architecture", got=parts[0], valid=operations)
    return parts[0], parts[1]


def _joined(value: ast.expr, name: str) -> list[int]:
    """Numbers of ``range(2, 6)``, or of a list."""
    called = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "range"
    items = value.args if isinstance(value, ast.Call) and called else _items(value, name)
    numbers = [item.value for item in items if isinstance(item, ast.Constant) and type(item.value) is int]
    if len(numbers) != len(items) or (called and not (len(numbers) == 2 and numbers[1] <= MAX_NODES)):
        raise _malformed(f"{name} is {_short(ast.unparse(value))}, it must be a list of nodes or range(2, last + 1).")
    return list(range(*numbers)) if called else numbers


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")


def _malformed(message: str) -> GenotypeError:
    return GenotypeError(message, field="architecture", fix=f"Write it like {_EXAMPLE}")
