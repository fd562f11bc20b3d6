"""Checks of what a specification gives a controller: ``controller.params`` are anybody's TOML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xnas_ray.errors import SpecError

FIELD = "controller.params"


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least ``least``.

    Raises:
        SpecError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"must be a whole number of at least {least}, got {value!r}.", field=f"{FIELD}.{name}")
    return value


def positive(name: str, value: Any) -> float:
    """A finite number above 0.

    Raises:
        SpecError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise SpecError(f"must be a number above 0, got {value!r}.", field=f"{FIELD}.{name}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or false.

    Raises:
        SpecError: it is neither.
    """
    if not isinstance(value, bool):
        raise SpecError(f"must be true or false, got {value!r}.", field=f"{FIELD}.{name}")
    return value


def one_of(name: str, value: Any, valid: Sequence[str]) -> str:
    """One of some words.

    Raises:
        SpecError: it is none of them.
    """
    if value not in valid:
        raise SpecError(f"there is no {value!r}.", field=f"{FIELD}.{name}", got=value, valid=valid)
    return str(value)
