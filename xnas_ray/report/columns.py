"""Values of tables and dataclasses as JSON that is short and strict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

DIGITS = 9
"""Significant digits of numbers."""


class SharedTexts:
    """Texts that many rows have, each once.

    Attributes:
        texts: in the order in which they were met.
    """

    def __init__(self) -> None:
        """Hold none yet."""
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def number(self, text: object) -> int:
        """The place of a text in ``texts``; what is none counts as empty."""
        written = text if isinstance(text, str) else ""
        if written not in self._known:
            self._known[written] = len(self.texts)
            self.texts.append(written)
        return self._known[written]


def number(value: float, digits: int = DIGITS) -> float | int | None:
    """A number with so many significant digits, whole ones without a point; None for what JSON cannot say."""
    if not math.isfinite(value):
        return None
    short = float(f"{float(value):.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def numbers(values: Iterable[float], digits: int = DIGITS) -> list[float | int | None]:
    """The numbers of a column (see ``number``)."""
    return [number(float(value), digits) for value in values]


def plain(value: Any) -> Any:
    """A value of a table or a dataclass as JSON."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return None if str(value) in ("NaT", "<NA>") else str(value)
