"""Macro-architectures of FBNetV2's spaces: the paper's tables, and rows of the same form read from parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xnas_ray.errors import SpecError

MOST = 1000
"""Options of one choice."""

Range = float | Sequence[float]
"""One value, or (lowest, highest, step)."""

RowSpec = tuple[Range, Range, int, int]
"""Expansion, width, number of layers, stride of the first: a row of the paper's tables."""


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro-architecture.

    Attributes:
        stem: channels of the first convolution.
        rows: layers, in groups that choose from the same options.
        head: channels before the average.
        resolutions: options of the height and width of the images.
    """

    stem: int
    rows: tuple[RowSpec, ...]
    head: int
    resolutions: tuple[int, ...]


_COMMON = (0.75, 4.5, 0.75)

MACROS: Mapping[str, Macro] = {
    "F": Macro(
        stem=16,
        rows=(
            (1, (12, 16, 4), 1, 1),
            (_COMMON, (16, 24, 4), 1, 2),
            (_COMMON, (16, 24, 4), 2, 1),
            (_COMMON, (16, 40, 8), 1, 2),
            (_COMMON, (16, 40, 8), 2, 1),
            (_COMMON, (48, 80, 8), 1, 2),
            (_COMMON, (48, 80, 8), 2, 1),
            (_COMMON, (72, 112, 8), 3, 1),
            (_COMMON, (112, 184, 8), 1, 2),
            (_COMMON, (112, 184, 8), 3, 1),
        ),
        head=1984,
        resolutions=(128, 160, 192, 224),
    ),
    "L": Macro(
        stem=16,
        rows=(
            (1, (12, 16, 4), 1, 1),
            ((0.75, 3.25, 0.5), (16, 28, 4), 1, 2),
            ((0.75, 3.25, 0.5), (16, 28, 4), 2, 1),
            ((0.75, 3.25, 0.5), (16, 40, 8), 1, 2),
            ((0.75, 3.25, 0.5), (16, 40, 8), 2, 1),
            ((0.75, 3.75, 0.5), (48, 96, 8), 1, 2),
            ((0.75, 3.75, 0.5), (48, 96, 8), 2, 1),
            (_COMMON, (72, 128, 8), 4, 1),
            (_COMMON, (112, 216, 8), 1, 2),
            (_COMMON, (112, 216, 8), 3, 1),
        ),
        head=1984,
        resolutions=(128, 160, 192, 224, 256),
    ),
    "P": Macro(
        stem=32,
        rows=(
            (1, (16, 28, 4), 1, 1),
            (_COMMON, (16, 40, 4), 1, 2),
            (_COMMON, (16, 40, 4), 2, 1),
            (_COMMON, (16, 48, 8), 1, 2),
            (_COMMON, (16, 48, 8), 2, 1),
            (_COMMON, (48, 96, 8), 1, 2),
            (_COMMON, (48, 96, 8), 2, 1),
            (_COMMON, (72, 128, 8), 4, 1),
            (_COMMON, (112, 216, 8), 1, 2),
            (_COMMON, (112, 216, 8), 3, 1),
            (_COMMON, (112, 216, 8), 1, 1),
        ),
        head=1280,
        resolutions=(128, 160, 192, 224, 256, 288),
    ),
}
"""Tables 3.8, 3.7 and 3.9. The paper gives the largest resolution of each and no list: ours are the multiples of 32
from that of FBNetV2-F1 on. The stem of P is printed with 32 filters and its result with 16 channels: 32 is taken."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Options of one layer.

    Attributes:
        expansions: multiples of the channels that it reads.
        widths: channels that it gives, ascending.
        stride: 1 or 2.
    """

    expansions: tuple[float, ...]
    widths: tuple[int, ...]
    stride: int


# ---- parameters ------------------------------------------------------------------------------------------------------


def read_layers(rows: Sequence[Sequence[Any]]) -> tuple[Layer, ...]:
    """The layers of rows ``[expansion, width, layers, stride]``; the stride is that of the first layer of a row.

    Raises:
        SpecError: the list is empty, or a row is malformed; it is named by its place.
    """
    return tuple(layer for i, row in enumerate(_several(rows, "rows")) for layer in _row(row, f"rows.{i}"))


def read_resolutions(resolutions: Sequence[int]) -> tuple[int, ...]:
    """Options of the resolution.

    Raises:
        SpecError: the list is empty, does not rise, or has an entry that is no whole number above 0.
    """
    found = tuple(whole(one, "resolutions") for one in _several(resolutions, "resolutions"))
    if list(found) != sorted(set(found)):
        raise SpecError("must rise from one to the next.", field="space.params.resolutions")
    return found


def whole(value: Any, field: str) -> int:
    """A whole number of at least 1.

    Raises:
        SpecError: it is none; ``space.params.<field>`` is named.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"must be a whole number of at least 1, got {value!r}.", field=f"space.params.{field}")
    return value


def one_or_two(value: Any, field: str) -> int:
    """A stride.

    Raises:
        SpecError: it is another one; ``space.params.<field>`` is named.
    """
    if isinstance(value, bool) or value not in (1, 2):
        raise SpecError(f"the stride must be 1 or 2, got {value!r}.", field=f"space.params.{field}")
    return int(value)


def _several(value: Any, field: str) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise SpecError(f"must be a list with at least one entry, got {value!r}.", field=f"space.params.{field}")
    return value


def _row(row: Any, field: str) -> list[Layer]:
    if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 4:
        raise SpecError("must be [expansion, width, layers, stride].", field=f"space.params.{field}")
    expansions = _options(row[0], field)
    widths = tuple(whole(int(w) if w == int(w) else w, field) for w in _options(row[1], field))
    first, repeats = one_or_two(row[3], field), whole(row[2], field)
    return [Layer(expansions, widths, first if not repeat else 1) for repeat in range(repeats)]


def _options(value: Any, field: str) -> tuple[float, ...]:
    """The values of a range, its end included."""
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value, 1)
    numbers = len(parts) == 3 and all(isinstance(p, int | float) and not isinstance(p, bool) for p in parts)
    if not numbers or not 0 < parts[0] <= parts[1] or parts[2] <= 0 or not (parts[1] - parts[0]) / parts[2] < MOST:
        raise SpecError(
            f"{value!r} is no range.",
            field=f"space.params.{field}",
            fix=f"Write one number, or [lowest, highest, step], all above 0, of at most {MOST} values.",
        )
    lowest, highest, step = parts
    return tuple(float(lowest + step * i) for i in range(int((highest - lowest) / step + 1e-9) + 1))
